"""Prompts that are too long for context or budget: no request is lost, and no run ends for one question."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rzero_mega.coevolution.plan import BASE, EarlierDataSets, EvaluateInputs, LabelsInputs, Source
from rzero_mega.coevolution.records import WrittenQuestion
from rzero_mega.config import load_config
from rzero_mega.config.schema import SamplingConfig
from rzero_mega.errors import UserError
from rzero_mega.phase_name import PhaseName
from rzero_mega.phases import evaluate, labels
from rzero_mega.phases.budgets import check_budgets, longest_trainable
from rzero_mega.phases.drawing import draw_where_possible
from rzero_mega.rollout.protocol import Request
from tests.phases.scripted import ScriptedEngine, ScriptedRun, rows, summary

QUESTIONS = Source(1, PhaseName.QUESTIONS, "questions")
LONG = "1+" * 300 + "1"
SHORT = "rollout.engine=sglang rollout.sglang.context_length=100"


def answer(_prompt: str, index: int) -> str:
    return f"\\boxed{{{index % 2}}}"


def test_samples_come_in_the_order_of_requests_and_too_long_prompts_have_none(
    scripted: Callable[..., ScriptedRun],
) -> None:
    engine = ScriptedEngine(scripted().base, answer, context=4)
    requests = [Request(str(n), (5,) * n, 2, SamplingConfig()) for n in (3, 4, 1, 9)]
    samples = draw_where_possible(engine, requests)
    assert [(sample.key, sample.index) for sample in samples] == [(str(n), i) for n in (3, 4, 1, 9) for i in (0, 1)]
    assert [bool(sample.tokens) for sample in samples] == [True] * 2 + [False] * 2 + [True] * 2 + [False] * 2
    assert [sample.finished for sample in samples if not sample.tokens] == [False] * 4
    assert [request.key for request in engine.requests] == ["3", "1"]
    assert not draw_where_possible(engine, requests[1:2])[0].tokens


@pytest.mark.parametrize("limit", ["budget", "context"])
def test_a_question_that_is_too_long_is_dropped_with_a_reason_and_counted(
    scripted: Callable[..., ScriptedRun], limit: str
) -> None:
    budget = "learner.tokens_per_micro_batch=100" if limit == "budget" else "learner.tokens_per_micro_batch=4096"
    run = scripted(
        budget,
        "solver.training.sampling.max_new_tokens=80",
        "labels.curation={low: 0.1, high: 0.9}",
        "labels.votes.samples=4",
        "evaluation.benchmarks=[]",
    )
    run.leave(PhaseName.QUESTIONS, "questions", [WrittenQuestion(text, None) for text in ("1+2", LONG, "3+4")])
    run.engines["solver"] = ScriptedEngine(run.base, answer, context=512 if limit == "context" else 1000)
    phase = run.begin(PhaseName.LABELS)
    labels.run(run.ctx, phase, LabelsInputs(BASE, QUESTIONS, EarlierDataSets(0)))
    assert [row["dropped"] for row in rows(phase, "labelled")] == [None, "overlong", None]
    assert summary(phase)["dropped"]["overlong"] == 1
    assert rows(phase, "labelled")[1]["cut_off"] == (4 if limit == "context" else 0)


def test_problems_that_are_too_long_count_as_not_answered(
    scripted: Callable[..., ScriptedRun], caplog: pytest.LogCaptureFixture
) -> None:
    run = scripted("evaluation.benchmarks=[arithmetic:1]", "evaluation.samples=2")
    asked = [len(run.ctx.solver_prompt(problem.question)) for problem in run.ctx.benchmarks[0].problems]
    run.engines["solver"] = ScriptedEngine(run.base, answer, context=max(asked))
    phase = run.begin(PhaseName.EVALUATE)
    evaluate.run(run.ctx, phase, EvaluateInputs(BASE))
    assert summary(phase)["problems"] == len(asked)
    assert f"arithmetic: {asked.count(max(asked))} problems are too long" in caplog.text


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ("learner.tokens_per_micro_batch=81", "prompt of .* and 80 of challenger"),
        ("challenger.train=false learner.tokens_per_micro_batch=82", "prompt of .* and 80 of solver"),
        ("learner.processes=2 learner.layout.cp=2 learner.tokens_per_micro_batch=87", "set it to at least 88"),
        ("rollout.engine=sglang rollout.sglang.context_length=5", r"rollout\.sglang\.context_length: a context of 5"),
        ("learner.tokens_per_micro_batch=4096", None),
        (f"{SHORT} labels.panel.programs=1", r"a context of 100 tokens does not hold the prompt of prompts\.program"),
        (
            f"{SHORT} labels.panel.solver_reexpressed=1 labels.panel.reexpression=paraphrase",
            r"a context of 100 tokens does not hold the prompt of prompts\.paraphrase",
        ),
        (SHORT, None),
        ("challenger.training.steps=0 solver.training.steps=0 learner.tokens_per_micro_batch=81", None),
    ],
)
def test_budgets_that_hold_no_question_are_refused_before_anything_starts(
    scripted: Callable[..., ScriptedRun], overrides: str, says: str | None
) -> None:
    sizes = [f"{role}.training.sampling.max_new_tokens=80" for role in ("challenger", "solver")]
    config = load_config(["paper", "nano"], ["learner.processes=1", *sizes, *overrides.split()])
    encoder = scripted().ctx.encoder
    if says is None:
        check_budgets(config, encoder, 512)
        return
    with pytest.raises(UserError, match=says):
        check_budgets(config, encoder, 512)


def test_the_longest_prompt_is_one_that_the_learner_takes() -> None:
    sizes = ["solver.training.sampling.max_new_tokens=80", "learner.processes=2", "learner.layout.cp=2"]
    config = load_config(["paper", "nano"], [*sizes, "learner.tokens_per_micro_batch=103"])
    assert longest_trainable(config, "solver") == 20  # sequences are filled up to a multiple of 4
