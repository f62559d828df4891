"""Replay in the labels phase: which earlier questions are asked again, and what the votes on them come to."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

from rzero_mega.coevolution.checks import Checks
from rzero_mega.coevolution.plan import LabelsInputs
from rzero_mega.coevolution.records import (
    AnsweredQuestion,
    LabelledQuestion,
    ReplayedQuestion,
    TrainingQuestion,
    WrittenQuestion,
)
from rzero_mega.coevolution.replay import draw_replayed, reason_against_replay, reasons_against_replay, replay_pool
from rzero_mega.domains.registry import checks_of
from rzero_mega.evaluation.benchmarks import held_out_questions
from rzero_mega.phases.context import ActivePhase, RunContext

_log = logging.getLogger(__name__)

Audit = Callable[[AnsweredQuestion, str | None], LabelledQuestion]


def replayed_questions(
    ctx: RunContext, phase: ActivePhase, inputs: LabelsInputs, questions: Sequence[WrittenQuestion]
) -> list[TrainingQuestion]:
    """The earlier questions that are asked again beside these, with their labels. On rank 0 alone."""
    count = ctx.config.labels.replay.questions
    if not count:
        return []
    datasets = (ctx.records(source, TrainingQuestion) for source in inputs.earlier)
    pool = replay_pool(datasets, (question.text for question in questions))
    return draw_replayed(pool, count, phase.seed_key("replay"))


def curated_replay(
    ctx: RunContext,
    chosen: Sequence[TrainingQuestion],
    answered: Sequence[AnsweredQuestion],
    overlong: Callable[[str], bool],
    audit: Audit,
) -> list[ReplayedQuestion]:
    """What the votes on the chosen questions, which `answered` has in their order, say of their labels."""
    config, held_out = ctx.config.labels, held_out_questions(ctx.benchmarks)
    pairs = [(row.answer, item.vote.answer) for row, item in zip(chosen, answered, strict=True)]
    verdicts = iter(ctx.equal_answers([(label, answer) for label, answer in pairs if answer is not None]))
    same = [answer is not None and next(verdicts) for _, answer in pairs]
    found = []
    for row, item, equal in zip(chosen, answered, same, strict=True):
        reason = reason_against_replay(
            item, equal, config.replay.band, config.curation, checks_of(ctx.config), held_out, overlong
        )
        found.append(ReplayedQuestion(audit(item, reason), row.answer))
    return found


def replay_summary(replayed: Sequence[ReplayedQuestion], checks: Checks) -> dict[str, Any]:
    """For the phase's summary: how many were asked, kept, and dropped for each reason, and what that took.

    `label_accuracy` is that of the kept labels; `label_accuracy_all` that of the new plurality of all.
    """
    dropped = Counter(row.labelled.dropped for row in replayed if row.labelled.dropped is not None)
    known = [row.labelled for row in replayed if row.labelled.correct is not None]
    kept = [bool(row.correct) for row in known if row.kept]
    found = {
        "asked": len(replayed),
        "kept": sum(row.labelled.kept for row in replayed),
        "dropped": {reason: dropped[reason] for reason in reasons_against_replay(checks)},
        "p_hat_mean": fmean(row.labelled.answered.vote.share for row in replayed) if replayed else None,
        "label_accuracy": fmean(kept) if kept else None,
        "label_accuracy_all": fmean(bool(row.correct) for row in known) if known else None,
        "votes": sum(row.labelled.answered.vote.samples for row in replayed),
        "tokens": sum(row.labelled.answered.tokens for row in replayed),
    }
    reasons = ", ".join(f"{reason} {count}" for reason, count in dropped.items())
    _log.info("replay: %d of %d labels are still supported%s", found["kept"], len(replayed), reasons and f"; {reasons}")
    return found
