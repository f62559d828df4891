"""Which labelled questions the Solver trains on: those it is unsure of (R-Zero, arXiv 2508.05004, section 3.3)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from fractions import Fraction

from rzero_mega.coevolution.band import ends_of
from rzero_mega.coevolution.checks import NO_CHECKS, Checks
from rzero_mega.coevolution.checks.templates import template
from rzero_mega.coevolution.near_duplicates import Copies
from rzero_mega.coevolution.panel import solver_share
from rzero_mega.coevolution.question_key import different
from rzero_mega.coevolution.records import VotedQuestion
from rzero_mega.coevolution.votes import Vote
from rzero_mega.config.schema import CurationConfig
from rzero_mega.errors import UserError

_BY_ITSELF = ("support", "below_band", "above_band", "question_text", "answer", "answer_text", "held_out")


ADVICE = {
    "duplicate": "see to a Challenger that repeats itself, or set labels.curation.drop_duplicates to false",
    "seen_before": "raise labels.curation.near_duplicates.threshold",
    "near_duplicate": "raise labels.curation.near_duplicates.threshold",
    "overlong": "raise learner.tokens_per_micro_batch, or lower solver.training.sampling.max_new_tokens",
    "support": "lower labels.curation.minimum_support",
    "below_band": "lower labels.curation.low",
    "above_band": "raise labels.curation.high",
    "question_text": "shorten labels.curation.drop_questions_containing",
    "answer": "shorten labels.curation.drop_answers",
    "answer_text": "shorten labels.curation.drop_answers_containing",
    "held_out": "they are those of evaluation.benchmarks",
    "no_truth": "set labels.label to votes: no exact answer to them can be computed",
    "rejected": "lower verifier.drop_below",
    "low_value": "raise labels.teaching.share, or lower labels.teaching.cost",
    "template": "raise labels.curation.maximum_per_template",
}
"""What to do about questions that are dropped for a reason. Of unanswered ones their votes tell, of flawed ones it is
the check's name."""

_NO_QUESTIONS = (
    "the Challenger has written no well-formed question; see to its prompt (prompts.challenger), "
    "questions.require_boxed, or responses that are cut off (questions.sampling.max_new_tokens), and remove "
    "the questions phase's folder to ask again"
)


def reasons_by_itself(checks: Checks) -> tuple[str, ...]:
    """What `reason_to_drop` says of a question, whatever else is asked."""
    return ("unanswered", *checks.by_name, *_BY_ITSELF)


def reasons(checks: Checks, verified: bool = False) -> tuple[str, ...]:
    """Why a question is dropped, in the order in which the reasons are looked for; `verified` by a Verifier, too."""
    before, after = ("duplicate", "seen_before", "near_duplicate", "overlong"), ("low_value", "template")
    by_verifier = ("rejected",) if verified else ()
    return (*before, *reasons_by_itself(checks), "no_truth", *by_verifier, *after)


@dataclass(frozen=True)
class Ranking:
    """In place of the band: what each label is expected to teach, and the share of the candidates that is kept."""

    values: Sequence[float]
    share: float


@dataclass(frozen=True)
class Curation:
    """What is kept, in the order given, and how many were dropped for each of `reasons`.

    `reasons` has one entry per question given: why it was dropped, None if it is kept.
    """

    kept: tuple[VotedQuestion, ...]
    dropped: dict[str, int]
    reasons: tuple[str | None, ...]


def curate(
    labelled: Sequence[VotedQuestion],
    config: CurationConfig,
    held_out: Callable[[str], bool] | None = None,
    checks: Checks = NO_CHECKS,
    copies: Copies | None = None,
    overlong: Callable[[str], bool] | None = None,
    computable: Callable[[str], bool] | None = None,
    ranking: Ranking | None = None,
    rejected: Container[int] | None = None,
) -> Curation:
    """Keep the questions whose share p lies in [low, high], both ends included, and which nothing else speaks against.

    The band is compared in exact arithmetic, with the bounds as they are written in decimal: 3 of 10 lies in a band
    from 0.3. `held_out` tells questions that the evaluation asks, `overlong` those that are too long to be answered or
    trained on, `computable` those whose exact answer is known where that is to be the label. Of questions that are the
    same but for whitespace only the first is looked at, whatever becomes of it: to pick among several votes on one
    question is a bias. The same holds for near-duplicates; `copies` has them, by the position in `labelled`. `checks`
    are those of the Challenger's reward, `rejected` has the positions of labels that a Verifier does not accept. None
    stands for no checks, no copies, no bound of length, any label, no Verifier. With a `ranking` no band is looked at,
    and of the questions that nothing else speaks against the first by value are kept.

    Few kept questions are fine, the Solver's steps then go over them more often. Raises UserError if fewer than
    `minimum_kept` are left, or none.
    """
    texts = [item.question.text for item in labelled]
    found = reasons_by_text(texts, config, copies, overlong)
    for position, item in enumerate(labelled):
        reason = found[position] or reason_to_drop(item, config, checks, held_out, banded=ranking is None)
        if reason is None and computable is not None and not computable(item.question.text):
            reason = "no_truth"
        if reason is None and rejected is not None and position in rejected:
            reason = "rejected"
        found[position] = reason
    if ranking is not None:
        _drop_low_values(found, ranking)
    drop_templates(found, texts, config.maximum_per_template)
    kept = [item for item, reason in zip(labelled, found, strict=True) if reason is None]
    dropped = {reason: found.count(reason) for reason in reasons(checks, verified=rejected is not None)}
    if len(kept) < max(1, config.minimum_kept):
        raise UserError(_too_few(len(kept), labelled, dropped, config, checks))
    return Curation(tuple(kept), dropped, tuple(found))


def _drop_low_values(reasons: list[str | None], ranking: Ranking) -> None:
    candidates = [position for position, reason in enumerate(reasons) if reason is None]
    best = sorted(candidates, key=lambda position: -ranking.values[position])
    wanted = set(best[: round(ranking.share * len(candidates))])
    for position in candidates:
        if position not in wanted or ranking.values[position] <= 0:
            reasons[position] = "low_value"


def reasons_by_text(
    texts: Sequence[str], config: CurationConfig, copies: Copies | None, overlong: Callable[[str], bool] | None
) -> list[str | None]:
    """Why each question is dropped whatever is answered: it repeats or resembles an earlier one, or is too long."""
    first = set(different(texts))
    found: list[str | None] = []
    for position, text in enumerate(texts):
        repeated = config.drop_duplicates and position not in first
        reason = "duplicate" if repeated else _resemblance(position, copies, config)
        if reason is None and overlong is not None and overlong(text):
            reason = "overlong"
        found.append(reason)
    return found


def drop_templates(reasons: list[str | None], texts: Sequence[str], most: int | None) -> None:
    """Of the questions that have no reason yet, give one to those after the first `most` of a template, if any."""
    if most is None:
        return
    kept: Counter[str] = Counter()
    for position, text in enumerate(texts):
        if reasons[position] is None:
            form = template(text)
            kept[form] += 1
            if kept[form] > most:
                reasons[position] = "template"


def _resemblance(position: int, copies: Copies | None, config: CurationConfig) -> str | None:
    if copies is None:
        return None
    if config.near_duplicates.drop_seen and copies.seen[position] is not None:
        return "seen_before"
    if config.near_duplicates.drop and copies.repeated[position] is not None:
        return "near_duplicate"
    return None


def _banded_share(vote: Vote, config: CurationConfig) -> Fraction:
    own = solver_share(vote) if config.band_of == "solver" else None
    return Fraction(vote.count, vote.samples) if own is None else own


def reason_to_drop(
    item: VotedQuestion,
    config: CurationConfig,
    checks: Checks,
    held_out: Callable[[str], bool] | None,
    banded: bool = True,
) -> str | None:
    """What speaks against a question by itself, whatever else is asked; `banded` says whether the band counts."""
    low, high = ends_of(config) if banded else (Fraction(0), Fraction(1))
    vote, answer = item.vote, item.vote.answer
    if answer is None or vote.count == 0:
        return "unanswered"
    found = checks.flaw(item)
    if found is not None:
        return found
    if any(source.count < config.minimum_support for source in vote.by_source):
        return "support"
    share = _banded_share(vote, config)
    if share < low:
        return "below_band"
    if share > high:
        return "above_band"
    if contains_any(item.question.text, config.drop_questions_containing):
        return "question_text"
    if answer in config.drop_answers:
        return "answer"
    if contains_any(answer, config.drop_answers_containing):
        return "answer_text"
    if config.drop_held_out and held_out is not None and held_out(item.question.text):
        return "held_out"
    return None


def contains_any(text: str, fragments: Sequence[str]) -> bool:
    """Whether the text contains one of the fragments, whatever the case, as in the official code."""
    folded = text.casefold()
    return any(fragment.casefold() in folded for fragment in fragments)


def _too_few(
    kept: int, labelled: Sequence[VotedQuestion], dropped: dict[str, int], config: CurationConfig, checks: Checks
) -> str:
    """What to say of it: why questions were dropped, most of them first, and what to do about each reason."""
    found = sorted((reason for reason in dropped if dropped[reason]), key=lambda reason: -dropped[reason])
    shown = [f"{reason} {dropped[reason]} ({_advice(reason, checks) or _unanswered(labelled)})" for reason in found]
    return complaint(kept, len(labelled), "labelled", shown, config)


def complaint(kept: int, of: int, what: str, dropped: Sequence[str], config: CurationConfig) -> str:
    """That too few of so many `what` questions are kept; `dropped` says for each reason how many, and what to do."""
    start = f"labels.curation.minimum_kept: {kept} of {of} {what} questions were kept and "
    start += f"{max(1, config.minimum_kept)} are needed"
    if not of:
        return f"{start}: {_NO_QUESTIONS}"
    return f"{start}; dropped: {', '.join(dropped)}" if dropped else f"{start}; more of them take questions.count"


def _advice(reason: str, checks: Checks) -> str | None:
    if reason not in checks.by_name:
        return ADVICE.get(reason)
    off = f", or set checks.{reason} to false" if hasattr(checks.config, reason) else ""
    return f"see to a Challenger that asks so{off}"


def _unanswered(labelled: Sequence[VotedQuestion]) -> str:
    votes = [item.vote for item in labelled if item.vote.answer is None]
    cut_off, samples = sum(vote.cut_off for vote in votes), sum(vote.samples for vote in votes)
    what = "raise labels.votes.sampling.max_new_tokens" if 2 * cut_off > samples else "see to prompts.solver"
    return f"{cut_off} of {samples} samples were cut off, others have no box: {what}; remove its folder to vote again"
