"""How different from each other the questions of a batch are: what collapse of the Challenger shows in first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rzero_mega.coevolution.bleu import TOKENIZERS
from rzero_mega.coevolution.question_key import question_key


def unique_share(questions: Sequence[str]) -> float:
    """Distinct questions per question, whitespace aside; 0 without questions."""
    distinct = {question_key(question) for question in questions}
    return len(distinct) / len(questions) if questions else 0.0


def distinct_ngrams(questions: Sequence[str], order: int = 2, tokenizer: str = "whitespace") -> float:
    """Distinct n-grams per n-gram over all questions (distinct-n, Li et al., arXiv 1510.03055); 0 without n-grams."""
    counts: Counter[tuple[str, ...]] = Counter()
    for question in questions:
        tokens = TOKENIZERS[tokenizer](question)
        counts.update(tuple(tokens[at : at + order]) for at in range(len(tokens) - order + 1))
    return len(counts) / counts.total() if counts else 0.0


def clusters_per_question(labels: Sequence[int]) -> float:
    """Clusters per question, from the labels of `repetition.cluster_labels`: 1 if all differ, 0 without questions."""
    return len(set(labels)) / len(labels) if labels else 0.0
