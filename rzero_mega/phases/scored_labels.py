"""Phase 3 where answers have scores: no question gets a label, and those are kept whose answers' scores differ."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from rzero_mega import spmd
from rzero_mega.atomic import write_jsonl
from rzero_mega.coevolution.near_duplicates import find_copies
from rzero_mega.coevolution.plan import LabelsInputs, Source
from rzero_mega.coevolution.records import Answers, WrittenQuestion
from rzero_mega.coevolution.scored_curation import REASONS, curate_scored
from rzero_mega.coevolution.scores import ScoredQuestion, UnlabelledQuestion, spread
from rzero_mega.domains.domain import ScoredAnswers
from rzero_mega.evaluation.benchmarks import held_out_questions
from rzero_mega.phases.budgets import longest_usable
from rzero_mega.phases.context import ActivePhase, RunContext
from rzero_mega.phases.critic_scoring import scorer_facts, scorer_of
from rzero_mega.phases.panel_rounds import PanelRounds
from rzero_mega.phases.rounds import costs
from rzero_mega.phases.scoring import Scorer, scored_questions
from rzero_mega.tracking.answer_scores import SCORES, AnswerScores
from rzero_mega.tracking.label_costs import VERDICT_SOURCE


def run(ctx: RunContext, phase: ActivePhase, inputs: LabelsInputs, domain: ScoredAnswers) -> None:
    """Have S_{i-1} answer the questions of Q_i part by part, then keep those whose spread of scores is in the band."""
    questions = ctx.records(inputs.questions, WrittenQuestion)
    panel = PanelRounds(ctx, phase, inputs, questions)
    panel.draw()
    longest = longest_usable(ctx.config, "solver", ctx.base)
    (answers,) = spmd.on_rank_0(panel.answers)
    scorer = scorer_of(ctx, domain, inputs.critic, journalled=phase)
    scored = scored_questions(scorer, domain, panel.asked, answers)
    spmd.on_rank_0(_finish, ctx, phase, scored, answers, inputs.earlier, longest, scorer)


def _finish(
    ctx: RunContext,
    phase: ActivePhase,
    scored: Sequence[ScoredQuestion],
    answers: Sequence[Answers],
    earlier_data: Iterable[Source],
    longest: int,
    scorer: Scorer,
) -> None:
    """From the scored answers of all parts to what is kept, in which no prompt has more than `longest` tokens."""
    config, tokenizer = ctx.config.labels.curation, ctx.config.challenger.reward.repetition.tokenizer
    earlier = [row.question for source in earlier_data for row in ctx.records(source, UnlabelledQuestion)]
    near, texts = config.near_duplicates, [item.question.text for item in scored]
    copies = find_copies(texts, earlier, near.threshold, near.shingle, tokenizer)

    def overlong(question: str) -> bool:
        return len(ctx.solver_prompt(question)) > longest

    curated = curate_scored(scored, config, held_out_questions(ctx.benchmarks), copies, overlong)
    found = {"solver": costs(answers), **({} if scorer.cost is None else {VERDICT_SOURCE: scorer.cost.as_json()})}
    tokens = sum(cost["tokens"] for cost in found.values())
    summary = {**_summary(curated), "label_tokens": tokens, "costs": found, **scorer_facts(scorer)}
    dataset = [UnlabelledQuestion(item.question.text) for item in curated if item.kept]
    write_jsonl(phase.directory.path / "scored.jsonl", (item.as_json() for item in curated))
    write_jsonl(phase.directory.path / "dataset.jsonl", (item.as_json() for item in dataset))
    phase.directory.finish({"dataset": Path("dataset.jsonl"), "scored": Path("scored.jsonl")}, summary)


def _summary(curated: Sequence[ScoredQuestion]) -> dict[str, Any]:
    """Means over all questions; hidden quality also over those that are kept."""
    samples, reasons = sum(len(item.answers) for item in curated), [item.dropped for item in curated]
    found = AnswerScores(
        score=fmean(fmean(item.scores) for item in curated),
        spread=fmean(spread(item.scores) for item in curated),
        quality=_mean(item.quality for item in curated),
        quality_kept=_mean(item.quality for item in curated if item.kept),
    )
    return {
        "scored": len(curated),
        "kept": sum(item.kept for item in curated),
        "dropped": {reason: reasons.count(reason) for reason in REASONS},
        SCORES: found.as_json(),
        "unanswered_rate": sum(item.unanswered for item in curated) / samples,
        "answer_length": sum(item.tokens for item in curated) / samples,
    }


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
