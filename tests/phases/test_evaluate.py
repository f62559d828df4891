"""Mean, greedy and majority accuracy of answers that are known."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from rzero_mega.coevolution.plan import BASE, EvaluateInputs
from rzero_mega.evaluation.statistics import accuracy
from rzero_mega.phase_name import PhaseName
from rzero_mega.phases import evaluate
from tests.phases.scripted import CUT_OFF, ScriptedEngine, ScriptedRun, rows, steps_shown, summary

INPUTS = EvaluateInputs(BASE)
PROBLEMS = (
    {"question": "1+2", "answer": "3", "level": "easy"},
    {"question": "1/2", "answer": "1/2", "level": "hard"},
    {"question": "7*8", "answer": "56", "level": "hard"},
)
# Four samples, and the greedy answer.
GIVEN = {
    "1+2": (("3", "3.0", "4", "4"), "3"),
    "1/2": (("0.5", "1/2", "2", "3"), "2"),
    "7*8": (("54", "54", "56", f"56{CUT_OFF}"), f"56{CUT_OFF}"),
}


class GreedyAside(ScriptedEngine):
    """Answers requests of temperature 0 by the last of what is given."""

    def generate(self, requests):  # type: ignore[no-untyped-def]
        self.greedy = all(request.sampling.temperature == 0 for request in requests)
        return super().generate(requests)


@pytest.fixture
def run(scripted: Callable[..., ScriptedRun], tmp_path: Path) -> ScriptedRun:
    benchmark = tmp_path / "problems.jsonl"
    benchmark.write_text("\n".join(map(json.dumps, PROBLEMS)))
    run = scripted(f"evaluation.benchmarks=['{benchmark}']", "evaluation.samples=4")

    def answer(prompt: str, index: int) -> str:
        samples, greedy = GIVEN[prompt.removeprefix("Q:").removesuffix("\nA:")]
        given = greedy if engine.greedy else samples[index]
        return f"\\boxed{{{given.removesuffix(CUT_OFF)}}}" + (CUT_OFF if given.endswith(CUT_OFF) else "")

    engine = run.engines["solver"] = GreedyAside(run.base, answer)
    return run


def test_scores_of_known_answers(run: ScriptedRun) -> None:
    phase = run.begin(PhaseName.EVALUATE)
    evaluate.run(run.ctx, phase, INPUTS)
    assert rows(phase, "scores") == [
        # Two classes of two samples: the one that came first wins.
        {**_of(0), "level": "easy", "score": 0.5, "mean": 0.5, "greedy": True, "vote": True},
        {**_of(1), "level": "hard", "score": 0.5, "mean": 0.5, "greedy": False, "vote": True},
        {
            "benchmark": "problems",
            "level": "hard",
            **_of(2),
            "score": 0.25,
            "mean": 0.25,
            "greedy": False,
            "vote": False,
        },
    ]
    found = summary(phase)
    ends = found.pop("intervals")
    assert ends.keys() == {"value", "pass1_mean", "pass1_greedy", "vote_accuracy"}
    assert ends["pass1_greedy"] == [accuracy([1.0, 0.0, 0.0]).low, accuracy([1.0, 0.0, 0.0]).high]
    assert ends["value"] == ends["pass1_mean"] == [0.25, 0.5]
    values = {"score": 1.25 / 3, "mean": 1.25 / 3, "greedy": 1 / 3, "vote": 2 / 3}
    assert found == {
        "value": 1.25 / 3,
        "transfer": None,
        "pass1_mean": 1.25 / 3,
        "pass1_greedy": 1 / 3,
        "vote_accuracy": 2 / 3,
        "problems": 3,
        "by_benchmark": {"problems": {**values, "problems": 3, "group": "other"}},
        "by_level": {
            "easy": {"score": 0.5, "mean": 0.5, "greedy": 1.0, "vote": 1.0},
            "hard": {"score": 0.375, "mean": 0.375, "greedy": 0.0, "vote": 0.5},
        },
    }
    assert run.engines["solver"].closed and steps_shown(phase) == [1]


def test_transfer_is_in_no_mean_over_benchmarks(scripted: Callable[..., ScriptedRun]) -> None:
    run = scripted("evaluation.benchmarks=[arithmetic:1,clock:1]", "evaluation.samples=2")
    truths = {
        problem.question: problem.answers[0] for benchmark in run.ctx.benchmarks for problem in benchmark.problems
    }

    def answer(prompt: str, index: int) -> str:
        question = prompt.removeprefix("Q:").removesuffix("\nA:")
        right = index == 0 or "%" not in question  # of clocks, every second sample
        return f"\\boxed{{{truths[question] if right else -999}}}"

    run.script("solver", answer)
    phase = run.begin(PhaseName.EVALUATE)
    evaluate.run(run.ctx, phase, INPUTS)
    found = summary(phase)
    assert (found["value"], found["pass1_mean"], found["pass1_greedy"], found["vote_accuracy"]) == (1.0, 1.0, 1.0, 1.0)
    assert found["transfer"] == 0.5
    assert found["by_benchmark"]["clock"] == {
        "score": 0.5,
        "mean": 0.5,
        "greedy": 1.0,
        "vote": 1.0,
        "problems": 3,
        "group": "transfer",
    }
    assert [level for level in found["by_level"] if level.startswith("clock")] == ["clock: 1", "clock: 2", "clock: 3"]


def test_every_iteration_is_measured_on_the_same_draws(run: ScriptedRun) -> None:
    for iteration in (1, 2):
        evaluate.run(run.ctx, run.begin(PhaseName.EVALUATE, iteration), INPUTS)
    requests = run.engines["solver"].requests
    assert [request.key for request in requests[:3]] == [f"0/evaluate/problems/{i}" for i in range(3)]
    assert [(request.n, request.sampling.temperature) for request in requests[:6]] == [(4, 1.0)] * 3 + [(1, 0.0)] * 3
    assert requests[:6] == requests[6:]


def _of(problem: int) -> dict[str, object]:
    return {
        "benchmark": "problems",
        "question": PROBLEMS[problem]["question"],
        "answers": [PROBLEMS[problem]["answer"]],
    }
