"""Which scored questions the Solver trains on: those whose answers' scores differ, which teach what is better."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from rzero_mega.coevolution.curation import ADVICE, complaint, contains_any, drop_templates, reasons_by_text
from rzero_mega.coevolution.near_duplicates import Copies
from rzero_mega.coevolution.scores import ScoredQuestion, one_scorer, spread
from rzero_mega.config.schema import CurationConfig
from rzero_mega.errors import UserError

REASONS = (
    "duplicate",
    "seen_before",
    "near_duplicate",
    "overlong",
    "unanswered",
    "scores_alike",
    "scores_apart",
    "question_text",
    "held_out",
    "template",
)
"""Why a question is dropped, in the order in which the reasons are looked for."""

_ADVICE = {
    **ADVICE,
    "unanswered": "see to prompts.solver, or raise labels.votes.sampling.max_new_tokens",
    "scores_alike": "lower labels.curation.low",
    "scores_apart": "raise labels.curation.high",
}


def curate_scored(
    scored: Sequence[ScoredQuestion],
    config: CurationConfig,
    held_out: Callable[[str], bool],
    copies: Copies,
    overlong: Callable[[str], bool],
) -> list[ScoredQuestion]:
    """The questions, each with what became of it: kept are those whose spread of scores lies in the band.

    `held_out` tells questions that the evaluation asks, `overlong` those that are too long to be answered or trained
    on, `copies` near-duplicates by position. Of questions that are the same but for whitespace only the first is looked
    at. UserError if fewer than `minimum_kept` are kept, or none. ValueError as `one_scorer`.
    """
    one_scorer(item.scorer for item in scored)
    texts = [item.question.text for item in scored]
    by_text = reasons_by_text(texts, config, copies, overlong)
    found = [reason or _by_itself(item, config, held_out) for reason, item in zip(by_text, scored, strict=True)]
    drop_templates(found, texts, config.maximum_per_template)
    kept = found.count(None)
    if kept < max(1, config.minimum_kept):
        raise UserError(too_few(kept, found, config))
    return [replace(item, dropped=reason) for item, reason in zip(scored, found, strict=True)]


def _by_itself(item: ScoredQuestion, config: CurationConfig, held_out: Callable[[str], bool]) -> str | None:
    differ = spread(item.scores)
    if item.unanswered == len(item.answers):
        return "unanswered"
    if differ < config.low:
        return "scores_alike"
    if differ > config.high:
        return "scores_apart"
    if contains_any(item.question.text, config.drop_questions_containing):
        return "question_text"
    return "held_out" if config.drop_held_out and held_out(item.question.text) else None


def too_few(kept: int, reasons: Sequence[str | None], config: CurationConfig) -> str:
    """What to say of it: why questions were dropped, most of them first, and what to do about each reason."""
    counts = Counter(reason for reason in reasons if reason is not None).most_common()
    shown = [f"{reason} {count} ({_ADVICE[reason]})" for reason, count in counts]
    return complaint(kept, len(reasons), "scored", shown, config)
