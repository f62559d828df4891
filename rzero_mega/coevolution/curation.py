"""Which labelled questions the Solver trains on: those it is unsure of (R-Zero, arXiv 2508.05004, section 3.3)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from rzero_mega.coevolution.checks import CHECKS, flaw
from rzero_mega.coevolution.checks.templates import template
from rzero_mega.coevolution.near_duplicates import Copies
from rzero_mega.coevolution.records import VotedQuestion
from rzero_mega.config.schema import ChecksConfig, CurationConfig
from rzero_mega.errors import UserError

REASONS = (
    "duplicate",
    "seen_before",
    "near_duplicate",
    "unanswered",
    *CHECKS,
    "below_band",
    "above_band",
    "question_text",
    "answer",
    "answer_text",
    "held_out",
    "template",
)
"""Why a question is dropped, in the order in which the reasons are looked for."""


@dataclass(frozen=True)
class Curation:
    """What is kept, in the order given, and how many were dropped for each of `REASONS`.

    `reasons` has one entry per question given: why it was dropped, None if it is kept.
    """

    kept: tuple[VotedQuestion, ...]
    dropped: dict[str, int]
    reasons: tuple[str | None, ...]


def curate(
    labelled: Sequence[VotedQuestion],
    config: CurationConfig,
    held_out: Callable[[str], bool] | None = None,
    checks: ChecksConfig | None = None,
    copies: Copies | None = None,
) -> Curation:
    """Keep the questions whose share p lies in [low, high], both ends included, and which nothing else speaks against.

    The band is compared in exact arithmetic, with the bounds as they are written in decimal: 3 of 10 lies in a band
    from 0.3. `held_out` tells questions that the evaluation asks. Of questions that are the same but for whitespace
    only the first is looked at, whatever becomes of it: to pick among several votes on one question is a bias. The same
    holds for near-duplicates; `copies` has them, by the position in `labelled`. `checks` are those of the Challenger's
    reward. None stands for no checks and no copies.

    Few kept questions are fine, the Solver's steps then go over them more often. Raises UserError if fewer than
    `minimum_kept` are left, or none.
    """
    band = Fraction(repr(float(config.low))), Fraction(repr(float(config.high)))
    checks = checks or ChecksConfig()
    seen: set[str] = set()
    templates: Counter[str] = Counter()
    kept: list[VotedQuestion] = []
    dropped = dict.fromkeys(REASONS, 0)
    reasons: list[str | None] = []
    for position, item in enumerate(labelled):
        key = " ".join(item.question.text.split())
        repeated = config.drop_duplicates and key in seen
        seen.add(key)
        reason = "duplicate" if repeated else _copied(position, copies, config)
        reason = reason or _reason(item, band, config, checks, held_out)
        if reason is None and config.maximum_per_template is not None:
            form = template(item.question.text)
            reason = "template" if templates[form] >= config.maximum_per_template else None
            templates[form] += reason is None
        reasons.append(reason)
        if reason is None:
            kept.append(item)
        else:
            dropped[reason] += 1
    _check_enough(len(kept), len(labelled), dropped, config)
    return Curation(tuple(kept), dropped, tuple(reasons))


def _copied(position: int, copies: Copies | None, config: CurationConfig) -> str | None:
    if copies is None:
        return None
    if config.near_duplicates.drop_seen and copies.seen[position] is not None:
        return "seen_before"
    if config.near_duplicates.drop and copies.repeated[position] is not None:
        return "near_duplicate"
    return None


def _reason(
    item: VotedQuestion,
    band: tuple[Fraction, Fraction],
    config: CurationConfig,
    checks: ChecksConfig,
    held_out: Callable[[str], bool] | None,
) -> str | None:
    vote, answer = item.vote, item.vote.answer
    if answer is None or vote.count == 0:
        return "unanswered"
    found = flaw(item, checks)
    if found is not None:
        return found
    share = Fraction(vote.count, vote.samples)
    if share < band[0]:
        return "below_band"
    if share > band[1]:
        return "above_band"
    if _contains(item.question.text, config.drop_questions_containing):
        return "question_text"
    if answer in config.drop_answers:
        return "answer"
    if _contains(answer, config.drop_answers_containing):
        return "answer_text"
    if config.drop_held_out and held_out is not None and held_out(item.question.text):
        return "held_out"
    return None


def _contains(text: str, fragments: Sequence[str]) -> bool:
    """Whether the text contains one of the fragments, whatever the case, as in the official code."""
    folded = text.casefold()
    return any(fragment.casefold() in folded for fragment in fragments)


def _check_enough(kept: int, of: int, dropped: dict[str, int], config: CurationConfig) -> None:
    needed = max(1, config.minimum_kept)
    if kept >= needed:
        return
    counts = ", ".join(f"{reason} {count}" for reason, count in dropped.items() if count) or "none"
    raise UserError(
        f"labels.curation.minimum_kept: {kept} of {of} labelled questions were kept and {needed} are needed "
        f"(dropped: {counts}); widen labels.curation.low and high, or raise questions.count"
    )
