"""Mean, greedy and majority accuracy of answers that are known."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest

from rzero_mega.coevolution.plan import BASE, EvaluateInputs
from rzero_mega.config.schema import EndpointConfig
from rzero_mega.errors import UserError
from rzero_mega.evaluation.statistics import accuracy
from rzero_mega.phase_name import PhaseName
from rzero_mega.phases import evaluate
from rzero_mega.phases.asking_queue import asks_of
from rzero_mega.phases.context import ActivePhase
from rzero_mega.run.stop import Stopped, StopRequest
from tests.evaluation.endpoint.chat_server import chat_server, said
from tests.phases.scripted import CUT_OFF, Asked, ScriptedEngine, ScriptedRun, rows, steps_shown, summary

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
        samples = []
        for request in requests:
            self.greedy = request.sampling.temperature == 0
            samples += super().generate([request])
        return samples


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
    assert run.engines["solver"].closed and steps_shown(phase) == [100]


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
    asked = [(request.key, request.first_index, request.sampling.temperature) for request in requests]
    keys = [f"0/evaluate/problems/{i}" for i in range(3)]
    assert asked[:15] == [(key, i, 1.0) for key in keys for i in range(4)] + [(key, 0, 0.0) for key in keys]
    assert requests[:15] == requests[15:]


def _of(problem: int) -> dict[str, object]:
    return {
        "benchmark": "problems",
        "question": PROBLEMS[problem]["question"],
        "answers": [PROBLEMS[problem]["answer"]],
    }


class Killed(Exception):
    """Stands for the end of the process."""


class Counting(ScriptedEngine):
    """Counts how often each answer is asked for, and dies after so many units."""

    def __init__(self, *arguments: Any, units: int | None = None) -> None:
        super().__init__(*arguments)
        self.asked: Counter[tuple[str, int, float]] = Counter()
        self.units = units

    def generate_units(self, units, arrived):  # type: ignore[no-untyped-def]
        # Servers finish in any order.
        for number in reversed(range(len(units))):
            if self.units == 0:
                raise Killed
            samples = super().generate(units[number])
            self.asked.update((r.key, r.first_index, r.sampling.temperature) for r in units[number])
            if self.units is not None:
                self.units -= 1
            if not arrived(number, samples):
                return


MIXED = ("evaluation.samples=2", "rollout.batch_sequences=2")


def mixed_run(scripted: Callable[..., ScriptedRun], folder: Path, units: int | None = None) -> ScriptedRun:
    """A run of two benchmarks, one with a protocol, whose answers depend on the problem and the sample."""
    plain = [{"question": f"{n}+1", "answer": n + 1} for n in range(9)]
    (folder / "plain.jsonl").write_text("\n".join(map(json.dumps, plain)))
    (folder / "rows.jsonl").write_text("\n".join(json.dumps({"q": f"{n}-1", "a": str(n - 1)}) for n in range(5)))
    (folder / "mine.yaml").write_text(
        "title: Mine\ngroup: transfer\nquestion: ['{q}']\nanswer: [a]\nanswer_form: plain\nreading: mathematics\n"
        "file: rows.jsonl\nprotocol: {max_new_tokens: 128}\n"
    )
    run = scripted(f"evaluation.benchmarks=['{folder}/plain.jsonl','{folder}/mine.yaml']", *MIXED)
    run.engines["solver"] = Counting(run.base, _some_answer, units=units)
    return run


def _some_answer(prompt: str, index: int) -> str:
    return f"\\boxed{{{sum(map(ord, prompt)) % 7 + index}}}"


def _bytes(phase: ActivePhase) -> list[bytes]:
    return [(phase.directory.path / f"{name}.jsonl").read_bytes() for name in ("scores", "predictions")]


def test_one_queue_over_all_benchmarks_begins_with_the_longest_answers(
    scripted: Callable[..., ScriptedRun], tmp_path: Path
) -> None:
    run = mixed_run(scripted, tmp_path)
    phase = run.begin(PhaseName.EVALUATE)
    evaluate.run(run.ctx, phase, INPUTS)
    limits = [ask.work for ask in asks_of(run.ctx, 10_000)]
    assert limits == [128] * 5 + [80] * 27
    assert set(run.engines["solver"].asked.values()) == {1}
    predictions = rows(phase, "predictions")
    places = [(row["benchmark"], row["problem"], row["sample"]) for row in predictions]
    assert places == [("plain", n, s) for n in range(9) for s in (0, 1, None)] + [("mine", n, None) for n in range(5)]
    keys = {"benchmark", "problem", "sample", "response", "tokens", "finish", "prediction", "right"}
    assert set(predictions[0]) == keys
    assert {row["mean"] is None for row in rows(phase, "scores") if row["benchmark"] == "mine"} == {True}
    assert summary(phase)["transfer"] is not None and summary(phase)["by_benchmark"]["mine"]["group"] == "transfer"
    assert steps_shown(phase)[-1] == 100 and steps_shown(phase) == sorted(steps_shown(phase))


@pytest.mark.parametrize("damage", ["none", "torn line", "torn first line", "changed row"])
@pytest.mark.parametrize("units", [1, 4])
def test_after_a_kill_no_answer_that_came_is_asked_for_again(
    scripted: Callable[..., ScriptedRun], tmp_path: Path, units: int, damage: str
) -> None:
    run = mixed_run(scripted, tmp_path)
    whole = run.begin(PhaseName.EVALUATE)
    evaluate.run(run.ctx, whole, INPUTS)
    run.engines["solver"] = Counting(run.base, _some_answer, units=units)
    with pytest.raises(Killed):
        evaluate.run(run.ctx, run.begin(PhaseName.EVALUATE, 2), INPUTS)
    before = run.engines["solver"].asked
    journal = run.directory.phase(2, PhaseName.EVALUATE).work / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    assert len(lines) == 1 + units
    if damage == "torn line":
        journal.write_bytes(journal.read_bytes() + lines[-1][: len(lines[-1]) // 2])
    elif damage == "torn first line":
        journal.write_bytes(lines[0][:10])
    elif damage == "changed row":
        journal.write_bytes(b"".join(lines[:-1]) + lines[-1].replace(b"boxed{", b"boxed{1", 1))
    assert run.directory.phase(2, PhaseName.EVALUATE).done() == (0 if damage.startswith("torn first") else ANY)
    run.engines["solver"] = Counting(run.base, _some_answer)
    phase = run.begin(PhaseName.EVALUATE, 2)
    evaluate.run(run.ctx, phase, INPUTS)
    after = run.engines["solver"].asked
    assert _bytes(phase) == _bytes(whole)
    assert set((before | after).values()) == {1} and len(before | after) == 32
    lost = {"none": 0, "torn line": 0, "torn first line": units, "changed row": 1}[damage]
    assert len(before & after) <= 4 * lost and bool(before & after) == bool(lost)


def test_with_a_real_engine_the_bytes_after_a_kill_are_those_of_an_undisturbed_run(
    scripted: Callable[..., ScriptedRun], tmp_path: Path
) -> None:
    run = scripted("evaluation.benchmarks=['arithmetic:2']", "evaluation.samples=3", "rollout.batch_sequences=4")
    whole = run.begin(PhaseName.EVALUATE)
    evaluate.run(run.ctx, whole, INPUTS)
    run.ctx.stop = Asked()
    for _ in range(2):
        with pytest.raises(Stopped):
            evaluate.run(run.ctx, run.begin(PhaseName.EVALUATE, 2), INPUTS)
    assert 0 < run.directory.phase(2, PhaseName.EVALUATE).done() < 100
    run.ctx.stop = StopRequest()
    phase = run.begin(PhaseName.EVALUATE, 2)
    evaluate.run(run.ctx, phase, INPUTS)
    assert _bytes(phase) == _bytes(whole)


def test_jobs_that_are_all_asked_to_stop_at_once_get_there_unit_by_unit(scripted: Callable[..., ScriptedRun]) -> None:
    run = scripted("evaluation.benchmarks=['arithmetic:1']", "evaluation.samples=1", "rollout.batch_sequences=2")
    run.ctx.stop = Asked()
    for _ in range(2):  # ten answers, four at a time
        with pytest.raises(Stopped):
            evaluate.run(run.ctx, run.begin(PhaseName.EVALUATE), INPUTS)
    phase = run.begin(PhaseName.EVALUATE)
    evaluate.run(run.ctx, phase, INPUTS)
    assert len(rows(phase, "predictions")) == 10


def test_what_is_kept_is_no_one_else_s(scripted: Callable[..., ScriptedRun], tmp_path: Path) -> None:
    run = mixed_run(scripted, tmp_path, 2)
    with pytest.raises(Killed):
        evaluate.run(run.ctx, run.begin(PhaseName.EVALUATE), INPUTS)
    first, second = (run.directory.phase(i, PhaseName.EVALUATE).work / "journal.jsonl" for i in (1, 2))
    phase = run.begin(PhaseName.EVALUATE, 2)
    second.write_bytes(first.read_bytes())
    with pytest.raises(UserError, match=r"journal\.jsonl: is of another run or phase"):
        evaluate.run(run.ctx, phase, INPUTS)


def test_a_configured_judge_is_heard_after_the_rules(run: ScriptedRun) -> None:
    phase, judge = run.begin(PhaseName.EVALUATE), run.ctx.config.evaluation.judge
    with chat_server() as server:
        server.answer = lambda body: said("CORRECT" if '"54"' in body["messages"][1]["content"] else "INCORRECT")
        judge.endpoint = EndpointConfig(url=server.url, model="judge-1", concurrency=1)
        judge.agreement_sample = 0
        evaluate.run(run.ctx, phase, INPUTS)
    last = rows(phase, "scores")[2]
    assert (last["mean"], last["greedy"], last["vote"]) == (0.75, False, True)
    assert summary(phase)["judge"]["overturned"] == 2
    # 4 of 1+2, 2 and 3 of 1/2, 54 of 7*8: the same answer to the same problem is asked once.
    assert len(server.asked) == len(rows(phase, "judge")) == 4


def test_a_judge_without_its_key_is_told_before_the_solver_is_asked(
    run: ScriptedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    endpoint = EndpointConfig(url="http://127.0.0.1:9/v1", model="judge-1", key_variable="JUDGE_KEY")
    run.ctx.config.evaluation.judge.endpoint = endpoint
    with pytest.raises(UserError, match="the environment variable JUDGE_KEY is not set"):
        evaluate.run(run.ctx, run.begin(PhaseName.EVALUATE), INPUTS)
    assert not run.engines["solver"].requests
