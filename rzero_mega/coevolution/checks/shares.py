"""How much of a batch each way of exploiting the reward takes up: the report's numbers, whatever is switched on."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

import numpy as np

from rzero_mega.coevolution.checks import Checks
from rzero_mega.coevolution.checks.templates import repeated_templates
from rzero_mega.coevolution.near_duplicates import Copies
from rzero_mega.coevolution.records import VotedQuestion

PERCENTILES = (50, 90, 99)


def exploit_shares(
    asked: Sequence[VotedQuestion], copies: Copies, checks: Checks, earlier: Sequence[str] | None = None
) -> dict[str, float]:
    """Shares of the questions by name of the check, all between 0 and 1; nothing without questions.

    Besides the checks: `any` of them, `closed` for those that are on; `near_duplicate`, and `template` for questions
    that differ from another one of the batch in nothing but numbers; with `earlier` questions also `seen_before` and
    `template_seen`. Of all samples: `unanswered`, `cut_off`, and `singleton`, answers that no other sample gives. Means
    and percentiles that are no shares: `distinct_answers` per question and `question_chars_p50`, `_p90` and `_p99`.
    """
    if not asked:
        return {}
    names = [checks.found(item) for item in asked]
    texts = [item.question.text for item in asked]
    votes = [item.vote for item in asked]
    samples = sum(vote.samples for vote in votes)
    in_batch, before = repeated_templates(texts, earlier or ())
    from_earlier = {"seen_before": fmean(of is not None for of in copies.seen), "template_seen": fmean(before)}
    lengths = np.percentile([len(text) for text in texts], PERCENTILES)
    return {
        **{name: fmean(name in those for those in names) for name in checks.by_name},
        "any": fmean(bool(those) for those in names),
        "closed": fmean(checks.flaw(item) is not None for item in asked),
        "near_duplicate": fmean(of is not None for of in copies.repeated),
        "template": fmean(in_batch),
        **(from_earlier if earlier is not None else {}),
        "unanswered": sum(vote.samples - vote.answered for vote in votes) / samples,
        "cut_off": sum(vote.cut_off for vote in votes) / samples,
        "singleton": sum(count == 1 for vote in votes for _, count in vote.tally) / samples,
        "distinct_answers": fmean(len(vote.tally) for vote in votes),
        **{f"question_chars_p{p}": float(at) for p, at in zip(PERCENTILES, lengths, strict=True)},
    }
