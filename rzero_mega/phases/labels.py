"""Phase 3: the frozen Solver's majority becomes the label; questions outside the band are dropped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
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
    Answers,
    LabelledQuestion,
    TrainingQuestion,
    WrittenQuestion,
)
from rzero_mega.config.panel import vote_sources
from rzero_mega.config.steps import parts
from rzero_mega.evaluation.audit import true_answer
from rzero_mega.evaluation.benchmarks import held_out_questions
from rzero_mega.evaluation.label_audit import exact_audit
from rzero_mega.grading import GradingPool
from rzero_mega.phases.budgets import longest_trainable
from rzero_mega.phases.context import ActivePhase, RunContext
from rzero_mega.phases.voting import count_votes, draw_answers


def run(ctx: RunContext, phase: ActivePhase, inputs: LabelsInputs) -> None:
    """Label the questions of Q_i by S_{i-1} and who else votes, part by part, then keep those in the band."""
    config = ctx.config.labels
    questions = ctx.records(inputs.questions, WrittenQuestion)
    sources, here = vote_sources(config), parts(len(questions), config.questions_per_part)
    # Source by source, so that each model is loaded once.
    planned = [(source, number) for source in sources for number in range(len(here))]
    finished = spmd.on_rank_0(phase.directory.checked_parts, len(planned))
    longest = longest_trainable(ctx.config, "solver")
    for voter, of_voter in groupby(enumerate(planned), key=lambda entry: entry[1][0].voter):
        engine = ctx.engine("solver", ctx.model(inputs.model(voter)))
        longest = min(longest, engine.context - 1)
        for part, (source, number) in of_voter:
            if part not in finished:
                asked = questions[here[number].start : here[number].stop]
                key = phase.seed_key(number) if source == sources[0] else phase.seed_key(source.name, number)
                answers = draw_answers(ctx, engine, asked, source, config.votes.sampling, key)
                spmd.on_rank_0(phase.directory.write_part, part, answers)
                ctx.stop_if_asked()
            phase.bar.advance(part + 1)
        engine.close()
    spmd.on_rank_0(_curate, ctx, phase, questions, inputs.earlier, longest)


def _answered(ctx: RunContext, phase: ActivePhase, questions: Sequence[WrittenQuestion]) -> list[AnsweredQuestion]:
    """The vote on every question, from the parts of all sources."""
    config = ctx.config.labels
    sources, per_source = vote_sources(config), len(parts(len(questions), config.questions_per_part))
    answers = phase.directory.read_parts(Answers, len(sources) * per_source)
    of_source = [answers[start : start + len(questions)] for start in range(0, len(answers), len(questions))]
    return count_votes(ctx, questions, sources, of_source, config.votes.unanswered)


def _curate(
    ctx: RunContext,
    phase: ActivePhase,
    questions: Sequence[WrittenQuestion],
    earlier_data: Iterable[Source],
    longest: int,
) -> None:
    """From the answers of all parts to the data set, in which no prompt has more than `longest` tokens."""
    directory, config, checks = phase.directory, ctx.config.labels.curation, ctx.config.checks
    answered = _answered(ctx, phase, questions)
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
        "timeouts": ctx.grader.stats.timeouts,
        "hacking": exploit_shares(answered, copies, checks, earlier),
    }
    write_jsonl(directory.path / "labelled.jsonl", (question.as_json() for question in labelled))
    write_jsonl(directory.path / "dataset.jsonl", (question.as_json() for question in dataset))
    directory.finish({"dataset": Path("dataset.jsonl"), "labelled": Path("labelled.jsonl")}, summary)


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
