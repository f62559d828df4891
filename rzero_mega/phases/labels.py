"""Phase 3: the frozen Solver's majority becomes the label; questions outside the band are dropped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from rzero_mega import spmd
from rzero_mega.atomic import write_jsonl
from rzero_mega.coevolution.checks.shares import exploit_shares
from rzero_mega.coevolution.curation import curate
from rzero_mega.coevolution.near_duplicates import find_copies
from rzero_mega.coevolution.plan import LabelsInputs, Source
from rzero_mega.coevolution.records import (
    AnsweredQuestion,
    LabelledQuestion,
    TrainingQuestion,
    WrittenQuestion,
)
from rzero_mega.evaluation.audit import true_answer
from rzero_mega.evaluation.benchmarks import held_out_questions
from rzero_mega.evaluation.label_audit import exact_audit
from rzero_mega.grading import GradingPool
from rzero_mega.phases.budgets import engine_context, longest_trainable
from rzero_mega.phases.context import ActivePhase, RunContext
from rzero_mega.phases.panel_rounds import PanelRounds
from rzero_mega.phases.paraphrasing import shares as paraphrase_shares
from rzero_mega.weights.shape import read_shape


def run(ctx: RunContext, phase: ActivePhase, inputs: LabelsInputs) -> None:
    """Label the questions of Q_i by S_{i-1} and who else votes, part by part, then keep those in the band."""
    questions = ctx.records(inputs.questions, WrittenQuestion)
    panel = PanelRounds(ctx, phase, inputs, questions)
    panel.draw()
    # All models of a run are of the base's shape.
    context = engine_context(ctx.config, read_shape(ctx.base).max_positions)
    longest = min(longest_trainable(ctx.config, "solver"), context - 1)
    spmd.on_rank_0(_curate, ctx, phase, panel, questions, inputs.earlier, longest)


def _curate(
    ctx: RunContext,
    phase: ActivePhase,
    panel: PanelRounds,
    questions: Sequence[WrittenQuestion],
    earlier_data: Iterable[Source],
    longest: int,
) -> None:
    """From the answers of all parts to the data set, in which no prompt has more than `longest` tokens."""
    directory, config, checks = phase.directory, ctx.config.labels.curation, ctx.config.checks
    answered, costs = panel.count()
    earlier = [row.question for source in earlier_data for row in ctx.records(source, TrainingQuestion)]
    near, tokenizer = config.near_duplicates, ctx.config.challenger.reward.repetition.tokenizer
    texts = [question.question.text for question in answered]
    copies = find_copies(texts, earlier, near.threshold, near.shingle, tokenizer)

    def overlong(question: str) -> bool:
        return len(ctx.solver_prompt(question)) > longest

    # Where votes are the labels, nothing that is trained on depends on the truth: it is for the report.
    true_labels = ctx.config.labels.label == "truth"
    computable = _has_truth if true_labels else None
    curation = curate(answered, config, held_out_questions(ctx.benchmarks), checks, copies, overlong, computable)
    labelled = [_audited(*pair, ctx.grader) for pair in zip(answered, curation.reasons, strict=True)]
    labels = [(item, item.truth if true_labels else item.answered.vote.answer) for item in labelled if item.kept]
    dataset = [
        TrainingQuestion(item.answered.question.text, label)
        for item, label in labels
        if label is not None  # curation keeps none without
    ]
    summary = {
        **_summary(labelled, curation.dropped, ctx.config.labels.votes.samples),
        "label_tokens": sum(cost["tokens"] for cost in costs.values()),
        "costs": costs,
        "timeouts": ctx.grader.stats.timeouts,
        "hacking": exploit_shares(answered, copies, checks, earlier),
    }
    outputs = {"dataset": Path("dataset.jsonl"), "labelled": Path("labelled.jsonl")}
    if panel.paraphrasing is not None:
        paraphrased = panel.paraphrasing.outcome(questions)
        summary["paraphrases"] = paraphrase_shares(paraphrased)
        outputs["paraphrases"] = Path("paraphrases.jsonl")
        write_jsonl(directory.path / "paraphrases.jsonl", (question.as_json() for question in paraphrased))
    write_jsonl(directory.path / "labelled.jsonl", (question.as_json() for question in labelled))
    write_jsonl(directory.path / "dataset.jsonl", (question.as_json() for question in dataset))
    directory.finish(outputs, summary)


def _has_truth(question: str) -> bool:
    return true_answer(question) is not None


def _audited(question: AnsweredQuestion, dropped: str | None, grader: GradingPool) -> LabelledQuestion:
    truth, label = true_answer(question.question.text), question.vote.answer
    correct = None
    if truth is not None and label is not None:
        correct = grader.equivalent_pairs([(label, truth)])[0].equal
    return LabelledQuestion(question, dropped, truth, correct)


def _summary(labelled: Sequence[LabelledQuestion], dropped: Mapping[str, int], samples: int) -> dict[str, Any]:
    """Means over all questions and a histogram of their shares; label accuracy also over those that are kept."""
    answered = [question.answered for question in labelled]
    share = fmean(question.vote.share for question in answered)
    counts = [0] * (samples + 1)
    for question in answered:
        counts[question.vote.count] += 1
    audited = [question.correct for question in labelled if question.correct is not None]
    kept = [question.correct for question in labelled if question.correct is not None and question.kept]
    return {
        "labelled": len(labelled),
        "kept": sum(question.kept for question in labelled),
        "dropped": dict(dropped),
        "p_hat_mean": share,
        "difficulty": 1.0 - share,
        # One bar for every value that a share can take, centred on it.
        "p_hat_histogram": {"edges": [(k - 0.5) / samples for k in range(samples + 2)], "counts": counts},
        "label_accuracy": fmean(kept) if kept else None,
        "label_accuracy_all": fmean(audited) if audited else None,
        "audit": exact_audit(labelled).as_json(),
        "answer_length": fmean(question.tokens / question.vote.samples for question in answered),
    }
