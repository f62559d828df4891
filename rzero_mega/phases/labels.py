"""Phase 3: the frozen Solver's majority becomes the label; questions outside the band are dropped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
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
    ReplayedQuestion,
    TrainingQuestion,
    WrittenQuestion,
)
from rzero_mega.coevolution.teaching import weigh
from rzero_mega.config.panel import widened
from rzero_mega.domains.domain import Domain, ScoredAnswers
from rzero_mega.domains.registry import checks_of
from rzero_mega.evaluation.benchmarks import held_out_questions
from rzero_mega.evaluation.label_audit import exact_audit
from rzero_mega.evaluation.predictions import Response
from rzero_mega.grading.grader import Grader
from rzero_mega.phases import scored_labels
from rzero_mega.phases.asking_queue import Ask, responses_kept_by
from rzero_mega.phases.budgets import longest_usable
from rzero_mega.phases.context import ActivePhase, RunContext
from rzero_mega.phases.opinion import Opinion, opinion_on
from rzero_mega.phases.panel_rounds import PanelRounds
from rzero_mega.phases.paraphrasing import shares as paraphrase_shares
from rzero_mega.phases.replay import curated_replay, replay_summary, replayed_questions
from rzero_mega.phases.responses import read_answers
from rzero_mega.rollout.protocol import Request
from rzero_mega.tracking.verifier import VERDICTS

GREEDY = "greedy"
"""Names the random streams of greedy answers, and stands in their journal where benchmarks have their names."""


def run(ctx: RunContext, phase: ActivePhase, inputs: LabelsInputs) -> None:
    """Label the questions of Q_i by S_{i-1} and who else votes, part by part, then keep those in the band."""
    if isinstance(ctx.domain.answers, ScoredAnswers):
        scored_labels.run(ctx, phase, inputs, ctx.domain.answers)
        return
    if inputs.others.by_guard:
        ctx = copy(ctx)
        ctx.config = widened(ctx.config)
    questions = ctx.records(inputs.questions, WrittenQuestion)
    replayed = spmd.on_rank_0(replayed_questions, ctx, phase, inputs, questions)
    panel = PanelRounds(ctx, phase, inputs, questions, [WrittenQuestion(row.question, None) for row in replayed])
    panel.draw()
    opinion = opinion_on(ctx, phase, inputs.verifier, panel, len(questions))
    longest = longest_usable(ctx.config, "solver", ctx.base)
    curated = spmd.on_rank_0(_curate, ctx, panel, replayed, inputs.earlier, longest, opinion)
    greedy = _greedy_answers(ctx, phase, inputs.solver, curated.labelled)
    spmd.on_rank_0(_finish, ctx, phase, panel, curated, greedy)


@dataclass(frozen=True)
class _Curated:
    """The new questions and the replayed ones, each with what became of it; findings for the summary.

    `supported` are the replayed ones that are trained on, with their earlier labels, and weights if they had any.
    """

    labelled: list[LabelledQuestion]
    replayed: list[ReplayedQuestion]
    supported: list[TrainingQuestion]
    findings: dict[str, Any]


def _curate(
    ctx: RunContext,
    panel: PanelRounds,
    replayed: Sequence[TrainingQuestion],
    earlier_data: Iterable[Source],
    longest: int,
    opinion: Opinion | None,
) -> _Curated:
    """From the answers of all parts to what is kept, in which no prompt has more than `longest` tokens.

    The panel was asked the `replayed` questions after the new ones; `opinion` is a Verifier's of the new ones.
    """
    config, checks = ctx.config.labels.curation, checks_of(ctx.config)
    voted, costs = panel.count()
    answered, again = voted[: len(voted) - len(replayed)], voted[len(voted) - len(replayed) :]
    if opinion is not None:
        answered, costs = opinion.weighed(answered), {**costs, **opinion.costs}
    earlier = [row.question for source in earlier_data for row in ctx.records(source, TrainingQuestion)]
    near, tokenizer = config.near_duplicates, ctx.config.challenger.reward.repetition.tokenizer
    texts = [question.question.text for question in answered]
    copies = find_copies(texts, earlier, near.threshold, near.shingle, tokenizer)

    def overlong(question: str) -> bool:
        return len(ctx.solver_prompt(question)) > longest

    # Where votes are the labels, nothing that is trained on depends on the truth: it is for the report.
    computable = partial(_has_truth, ctx.domain) if ctx.config.labels.label == "truth" else None
    weighing = weigh([question.vote for question in answered], ctx.config.labels)
    rejected = None if opinion is None else opinion.rejected(answered)
    ranking, held_out = weighing.ranking if weighing else None, held_out_questions(ctx.benchmarks)
    curation = curate(answered, config, held_out, checks, copies, overlong, computable, ranking, rejected)
    labelled = [_audited(ctx.domain, ctx.grader, *pair) for pair in zip(answered, curation.reasons, strict=True)]
    if weighing:
        labelled = [replace(item, **vars(opinion)) for item, opinion in zip(labelled, weighing.opinions, strict=True)]
    if opinion is not None:
        labelled = opinion.told(labelled)
    found = curated_replay(ctx, replayed, again, overlong, partial(_audited, ctx.domain, ctx.grader))
    supported = [row for row, now in zip(replayed, found, strict=True) if now.labelled.kept]
    findings = {
        **_of_weighing(labelled),
        **_summary(labelled, curation.dropped, ctx.config.labels.votes.samples),
        "label_tokens": sum(cost["tokens"] for cost in costs.values()),
        "costs": costs,
        "hacking": exploit_shares(answered, copies, checks, earlier),
        **({VERDICTS: opinion.summary(voted, labelled)} if opinion is not None else {}),
    }
    return _Curated(labelled, found, supported, findings)


def _greedy_answers(
    ctx: RunContext, phase: ActivePhase, solver: Source, labelled: Sequence[LabelledQuestion]
) -> list[Response]:
    """What the Solver answers greedily to kept questions with a known truth, by their places; on rank 0 alone."""
    sampling = replace(ctx.config.labels.votes.sampling, temperature=0.0)
    asks = []
    for place, question in enumerate(labelled):
        if question.kept and question.correct is not None:
            prompt = ctx.solver_prompt(question.answered.question.text)
            request = Request(phase.seed_key(GREEDY, place), prompt, 1, sampling, logprobs=False)
            asks.append(Ask(GREEDY, place, None, request))
    if not asks:
        return []
    return responses_kept_by(ctx, phase, ctx.engine("solver", ctx.model(solver)), asks)


def _finish(
    ctx: RunContext, phase: ActivePhase, panel: PanelRounds, curated: _Curated, greedy: Sequence[Response]
) -> None:
    directory, labelled, true_labels = phase.directory, curated.labelled, ctx.config.labels.label == "truth"
    labels = [(item, item.truth if true_labels else item.answered.vote.answer) for item in labelled if item.kept]
    dataset = [
        TrainingQuestion(item.answered.question.text, label, item.weight)
        for item, label in labels
        if label is not None  # curation keeps none without
    ]
    audit = exact_audit(labelled, ctx.domain.checkable.oracle, _compared(ctx, labelled, greedy))
    summary = {**curated.findings, "audit": audit.as_json(), "timeouts": ctx.grader.stats.timeouts}
    outputs = {"dataset": Path("dataset.jsonl"), "labelled": Path("labelled.jsonl")}
    if panel.paraphrasing is not None:
        paraphrased = panel.paraphrasing.outcome(panel.asked)
        summary["paraphrases"] = paraphrase_shares(paraphrased)
        outputs["paraphrases"] = Path("paraphrases.jsonl")
        write_jsonl(directory.path / "paraphrases.jsonl", (question.as_json() for question in paraphrased))
    if ctx.config.labels.replay.questions:
        dataset += curated.supported
        summary["replay"] = replay_summary(curated.replayed, checks_of(ctx.config))
        outputs["replayed"] = Path("replayed.jsonl")
        write_jsonl(directory.path / "replayed.jsonl", (row.as_json() for row in curated.replayed))
    write_jsonl(directory.path / "labelled.jsonl", (question.as_json() for question in labelled))
    write_jsonl(directory.path / "dataset.jsonl", (question.as_json() for question in dataset))
    directory.finish(outputs, summary)


def _compared(
    ctx: RunContext, labelled: Sequence[LabelledQuestion], greedy: Sequence[Response]
) -> list[tuple[bool, bool]]:
    """Whether the label is right and whether the greedy answer, of every question that has one."""
    questions = [labelled[response.problem] for response in greedy]
    answers = read_answers(ctx, ((response.text, response.finished) for response in greedy))
    # Nothing equals the empty text.
    pairs = [(answer or "", question.truth or "") for answer, question in zip(answers, questions, strict=True)]
    right = [verdict.equal for verdict in ctx.grader.equivalent_pairs(pairs)]
    return [(question.correct is True, answer) for question, answer in zip(questions, right, strict=True)]


def _of_weighing(labelled: Sequence[LabelledQuestion]) -> dict[str, float]:
    """Of the kept questions: the label accuracy that is expected, and the mean weight; neither where nobody asked."""
    kept = [item for item in labelled if item.kept]
    confidences = [item.confidence for item in kept if item.confidence is not None]
    weights = [item.weight for item in kept if item.weight is not None]
    means = {"expected_label_accuracy": confidences, "label_weight": weights}
    return {name: fmean(values) for name, values in means.items() if values}


def _truth(domain: Domain, question: str) -> str | None:
    oracle = domain.checkable.oracle
    return None if oracle is None else oracle.answer(question)


def _has_truth(domain: Domain, question: str) -> bool:
    return _truth(domain, question) is not None


def _audited(domain: Domain, grader: Grader, question: AnsweredQuestion, dropped: str | None) -> LabelledQuestion:
    truth, label = _truth(domain, question.question.text), question.vote.answer
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
        "answer_length": fmean(question.tokens / question.vote.samples for question in answered),
    }
