"""Where the GPU-hours of a run went."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from rzero_mega.atomic import write_jsonl
from rzero_mega.commands.status import show_status
from rzero_mega.config import load_config
from rzero_mega.phase_name import PhaseName
from rzero_mega.run import RunDirectory
from rzero_mega.run.timeline import FILE, PHASES, Devices, Span
from rzero_mega.tracking.gpu_hours import CHECKPOINT, PARKING, START, SYNC, VERIFICATION, phase_uses, run_use
from rzero_mega.tracking.intervals import Interval, clipped, length, union, without
from rzero_mega.tracking.progress import use_table
from rzero_mega.tracking.report import write_report
from rzero_mega.tracking.use_rows import NOTE, remark, uneven_lines, use_values
from tests.tracking.timelines import BEGAN, COLOCATED, ON_CPUS, SPLIT, drawing, training_phase

SOLVER = PhaseName.SOLVER
NAMES = [name for name in PhaseName if name not in (PhaseName.VERIFIER, PhaseName.CRITIC)]


def test_what_is_inside_of_something_else_counts_once() -> None:
    (use,) = phase_uses([*training_phase("solver 1", 0.0, COLOCATED, range(4))])
    assert (use.iteration, use.phase, use.seconds, use.gpu_seconds) == (1, SOLVER, 100.0, 400.0)
    # Of the update's 6.5 s 1.5 are parking and 1 is verification.
    assert use.spent == pytest.approx({START: 8, PARKING: 2.5, CHECKPOINT: 4, VERIFICATION: 3, SYNC: 4})
    assert use.server_tokens_per_second == pytest.approx(1000.0)
    assert use.slots_used == pytest.approx((20 + 5) / 30)
    assert [(server.name, server.gpus) for server in use.servers][1:3] == [
        ("solver-1", ("0/1",)),
        ("solver-2", ("1/0",)),
    ]


@pytest.mark.parametrize(
    ("devices", "servers", "idle"),
    [
        (COLOCATED, range(4), [0.3, 0.3, 0.3, 0.3]),
        (COLOCATED, range(3), [0.3, 0.3, 0.3, 0.6]),
        (SPLIT, (2, 3), [0.6, 0.6, 0.7, 0.7]),
        (ON_CPUS, (0, 0), []),
    ],
    ids=["in turns", "a GPU without a server", "split", "CPUs"],
)
def test_a_gpu_is_idle_while_neither_its_server_draws_nor_its_learner_trains(
    devices: Devices, servers: range, idle: list[float]
) -> None:
    (use,) = phase_uses([*training_phase("solver 1", 0.0, devices, servers)])
    assert [*use.idle_by_gpu] == ["0/0", "0/1", "1/0", "1/1"][: len(idle)]
    assert list(use.idle_by_gpu.values()) == pytest.approx(idle)
    assert use.idle == (pytest.approx(sum(idle) / 4) if idle else None)


def test_both_roles_at_once_on_a_gpu_are_no_more_than_all_of_it() -> None:
    both = [drawing("challenger-0", 0, 10.0, 40.0, 64), drawing("solver-0", 0, 30.0, 40.0, 64)]
    phase = Span(PHASES, "challenger 1", BEGAN, 100.0, Devices(1, 1, 0).as_counts())
    (use,) = phase_uses([*both, phase])
    assert use.idle == pytest.approx(0.4)


def test_attempts_at_a_phase_are_one_and_what_lies_between_is_none_of_it() -> None:
    first = [span for span in training_phase("solver 1", 0.0, COLOCATED, range(4)) if span.seconds != 100.0]
    again = [*training_phase("solver 1", 500.0, COLOCATED, range(4))]
    other = [*training_phase("evaluate 1", 700.0, COLOCATED, range(4))]
    solver, evaluate = phase_uses([*other, *first, *again])
    # The first was killed after its checkpoint, 98 s after it began.
    assert (solver.seconds, evaluate.seconds) == pytest.approx((198.0, 100.0))
    assert solver.spent[CHECKPOINT] == pytest.approx(8.0)
    assert solver.servers[0].tokens == 60_000


@pytest.mark.parametrize(
    "counts",
    [{}, {"gpus": 1e17, "gpus_per_node": 8.0, "learner": 8.0}, {"gpus": 4.0, "gpus_per_node": 0.0, "learner": 1e18}],
)
def test_a_damaged_timeline_tells_less_and_harms_nothing(counts: dict[str, float]) -> None:
    spans = [
        Span(PHASES, "solver 1", BEGAN, 10.0, counts),
        Span(PHASES, "solver x", BEGAN, 10.0),
        Span(PHASES, "nothing 1", BEGAN, 10.0),
        Span(PHASES, "solver 2", BEGAN, 1e11),
        Span("solver-0", "drawing", BEGAN, 5.0, {"draws": 3.0}),
        Span("send", "send weights", BEGAN + 1, 2.0, {"verify_seconds": 1e9}),
    ]
    (use,) = phase_uses(spans)
    assert (use.idle, use.servers, use.slots_used) == (None, (), None)
    assert use.spent[VERIFICATION] == 2.0 and use.spent[SYNC] == 0.0


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunDirectory]:
    with RunDirectory.create_or_open(tmp_path / "run", load_config(["paper", "nano"]), writer=True) as run:
        solver = run.phase(1, SOLVER)
        solver.begin({})
        for step, mfu in enumerate((0.25, 0.35), start=1):
            solver.log_step(step, {"mfu": mfu})
        yield run


def leave(run: RunDirectory, devices: Devices) -> None:
    spans = [
        span
        for number, name in enumerate(("challenger 1", "questions 1", "labels 1", "solver 1", "evaluate 1"))
        for span in training_phase(name, 200.0 * number, devices, (2, 3))
    ]
    write_jsonl(run.path / FILE, (span.as_json() for span in spans))


def test_the_learners_mfu_is_that_of_its_steps(run: RunDirectory) -> None:
    leave(run, SPLIT)
    challenger, *_, solver, _ = run_use(run)
    assert (challenger.mfu, solver.mfu) == (None, pytest.approx(0.3))
    values = use_values(solver)
    assert values["gpus/solver/mfu"] == pytest.approx(0.3) and values["gpus/solver/gpu_hours"] == pytest.approx(1 / 9)
    assert "gpus/challenger/mfu" not in use_values(challenger)


def test_gpus_and_servers_that_are_unlike_are_told_by_name(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    alike = phase_uses([*training_phase("questions 1", 0.0, COLOCATED, range(4))])
    assert uneven_lines(alike) == []
    slow = [drawing("challenger-0", 0, 200.0, 40.0, 64, 40_000), drawing("challenger-1", 1, 200.0, 40.0, 64, 70_000)]
    solver = [drawing(f"solver-{gpu}", gpu, 240.0, 10.0, 64, 30_000 + gpu) for gpu in range(2)]
    phase = Span(PHASES, "challenger 1", BEGAN + 200, 100.0, SPLIT.as_counts())
    train = Span("main", "train", BEGAN + 250, 10.0)
    write_jsonl(run.path / FILE, (span.as_json() for span in [*slow, *solver, train, phase]))
    line = (
        "challenger: idle from 40 % (node 0, GPU 0) to 100 % (node 1, GPU 1); "
        "tokens/s from 1000 (challenger-0) to 1750 (challenger-1)"
    )
    uses = run_use(run)
    assert uneven_lines(uses) == [line]
    assert use_values(uses[0])["gpus/challenger/most_idle_gpu"] == pytest.approx(1.0)
    show_status(run, as_json=False)
    assert line in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(("devices", "wanted"), [(SPLIT, "GPU-h"), (ON_CPUS, "no GPUs")], ids=["GPUs", "CPUs"])
def test_status_has_a_table_that_80_columns_hold(
    run: RunDirectory, devices: Devices, wanted: str, capsys: pytest.CaptureFixture[str]
) -> None:
    leave(run, devices)
    table = use_table(run_use(run))
    assert table is not None
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(table)
    lines = console.export_text().splitlines()
    assert all("…" not in line for line in lines) and len(lines) == 3 + len(NAMES)
    whole = "0.56 GPU-hours went, 65 % of them idle" if devices is SPLIT else "8 min 20 s went"
    assert lines[0].rstrip() == f"iteration 1: where {whole}"
    show_status(run, as_json=False)
    shown = capsys.readouterr().out
    assert wanted in shown and ("idle" in shown) == ("GPU-h" in shown or "neither idle" in shown)
    show_status(run, as_json=True)
    told = json.loads(capsys.readouterr().out)["gpu_hours"]
    assert [use["phase"] for use in told] == [name.value for name in NAMES]


def test_on_a_terminal_lines_that_it_does_not_hold_go_on_below_at_the_next_word(
    run: RunDirectory, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(run, ON_CPUS)
    note = f"{NOTE}; {remark(run_use(run))}"
    show_status(run, as_json=False)
    assert note in capsys.readouterr().out.splitlines() and len(note) > 80  # a file has it in one
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes it for a terminal
    show_status(run, as_json=False)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    assert max(map(len, lines)) <= 80
    assert note in "\n".join(lines).replace("\n  ", " ").splitlines()


def test_the_report_has_every_gpu_and_every_server(run: RunDirectory, tmp_path: Path) -> None:
    leave(run, SPLIT)
    write_report(run, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "Where the GPU-hours went" in page and "node 1, GPU 1" in page and "solver-1" in page
    (run.path / FILE).unlink()
    write_report(run, tmp_path / "report.html")
    assert "Where the GPU-hours went" not in (tmp_path / "report.html").read_text()
    assert run_use(run) == [] and use_table([]) is None


def test_what_is_missing_is_said_in_words(run: RunDirectory) -> None:
    for devices, wanted in ((ON_CPUS, "no GPUs"), (SPLIT, None)):
        leave(run, devices)
        said = remark(run_use(run))
        assert said is None if wanted is None else said is not None and wanted in said
    write_jsonl(run.path / FILE, [Span(PHASES, "labels 1", BEGAN, 10.0, SPLIT.as_counts()).as_json()])
    assert "rollout.engine" in (remark(run_use(run)) or "")


INTERVALS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=8)


def points(intervals: list[Interval]) -> set[int]:
    return {n for start, end in intervals for n in range(int(start), int(end))}


@given(INTERVALS, INTERVALS, st.tuples(st.integers(0, 30), st.integers(30, 60)))
def test_intervals_are_sets_of_times(first: list[Interval], second: list[Interval], window: Interval) -> None:
    one, two = union(first), union(second)
    assert points(one) == points(first) and length(one) == len(points(first))
    assert points(without(one, two)) == points(first) - points(second)
    assert points(clipped(one, window)) == points(first) & points([window])
    for found in (one, without(one, two), clipped(one, window)):
        assert all(start < end for start, end in found)
        assert all(before[1] <= after[0] for before, after in pairwise(found))
