"""The GPU lane's driver, with steps of a line or two in place of those that need a GPU."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from rzero_mega.errors import UserError
from tests import ROOT
from tests.processes import eventually, lives
from tools import gpu_lane
from tools.gpu_steps import environment
from tools.gpu_steps import step as settings_of_steps
from tools.gpu_steps.driver import REPORT, Lane, Record, Step, open_lane, run_steps, write_report
from tools.gpu_steps.marked_tests import read_report
from tools.gpu_steps.outcome import Unavailable

MACHINE = {"device": "a GPU", "versions": {"torch": "1"}}
WRITES = "import json, sys; json.dump({outcome}, open(sys.argv[1], 'w'))"


def step(name: str, code: str, limit_s: float = 60.0) -> Step:
    return Step(name, f"does {name}", limit_s, (sys.executable, "-c", code))


def good(name: str, value: float = 1.0) -> Step:
    return step(name, WRITES.format(outcome={"figures": {"value": value}}))


def run(lane: Lane, *steps: Step, budget_s: float = 60.0, again: tuple[str, ...] = ()) -> dict[str, Record]:
    records = run_steps(lane, steps, budget_s, again)
    return {record.name: record for record in records}


@pytest.fixture(autouse=True)
def told_in_lines(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """What the driver tells of a step is one line."""
    caplog.set_level(logging.INFO)
    yield
    told = [record.getMessage() for record in caplog.get_records("call") if record.name == "tools.gpu_steps.driver"]
    assert all(len(line.splitlines()) == 1 for line in told)


@pytest.fixture
def lane(tmp_path: Path) -> Lane:
    return open_lane(tmp_path / "lane", MACHINE, {"LANE": "here"})


def test_a_failing_step_is_recorded_in_one_line_and_the_rest_goes_on(lane: Lane) -> None:
    records = run(
        lane,
        step("raises", "print('so far so good'); raise SystemExit('out of\\x1b memory')"),
        step("crashes", "import os; os.abort()"),
        step("says so", WRITES.format(outcome={"error": "two\nlines", "figures": {"left": 1}})),
        step("lacks", WRITES.format(outcome={"unavailable": "sglang is not installed"})),
        good("works"),
    )
    assert {name: record.status for name, record in records.items()} == {
        "raises": "failed",
        "crashes": "failed",
        "says so": "failed",
        "lacks": "unavailable",
        "works": "done",
    }
    assert records["raises"].error == "ended with code 1 without an outcome (log: raises.log): out of memory"
    assert "SIGABRT" in str(records["crashes"].error)
    assert (records["says so"].error, records["says so"].figures) == ("two lines", {"left": 1})
    assert (records["works"].error, records["works"].figures) == (None, {"value": 1.0})


def test_the_report_holds_every_figure_the_machine_and_a_date(lane: Lane) -> None:
    run(lane, good("one", 2.5), step("two", "raise SystemExit(3)"))
    report = json.loads((lane.folder / REPORT).read_text())
    assert report["schema"] == 1 and report["environment"] == MACHINE and report["complete"]
    assert report["steps"]["one"]["figures"] == {"value": 2.5}
    assert set(report["steps"]["two"]) == {"name", "status", "date", "seconds", "error", "figures"}
    assert all(record["date"].endswith("+00:00") for record in report["steps"].values())


def test_steps_that_have_a_record_are_not_run_again_unless_asked_for(lane: Lane) -> None:
    run(lane, good("one", 1.0), step("two", "raise SystemExit(3)"))
    records = run(lane, good("one", 2.0), good("two", 2.0), good("three", 2.0))
    assert [record.figures.get("value") for record in records.values()] == [1.0, None, 2.0]
    records = run(lane, good("one", 3.0), good("two", 3.0), good("three", 3.0), again=("two",))
    assert [record.figures["value"] for record in records.values()] == [1.0, 3.0, 2.0]


def test_a_step_past_its_limit_is_ended_with_all_that_it_started(lane: Lane) -> None:
    started = lane.folder / "started"
    code = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(started)!r}, 'w').write(str(child.pid))\n"
        "time.sleep(600)"
    )
    records = run(lane, step("hangs", code, limit_s=2.0), good("next"))
    assert "took longer than its 2 s" in str(records["hangs"].error)
    assert records["next"].status == "done"
    assert eventually(lambda: not lives(int(started.read_text())), patience_s=5)


def test_what_runs_when_time_is_up_has_no_record_and_is_done_next_time(lane: Lane) -> None:
    slow = step("slow", "import time; time.sleep(600)")
    assert run(lane, good("one"), slow, good("three"), budget_s=2.0).keys() == {"one"}
    assert not json.loads((lane.folder / REPORT).read_text())["complete"]
    assert run(lane, good("one"), good("slow"), good("three")).keys() == {"one", "slow", "three"}


def test_a_lane_that_was_killed_goes_on_after_its_last_step(lane: Lane, tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from tools.gpu_steps.driver import *; import os, signal\n"
        f"lane = open_lane(Path({str(lane.folder)!r}), {MACHINE!r}, {{}})\n"
        f"one = Step('one', '', 60, (sys.executable, '-c', {WRITES.format(outcome={'figures': {'value': 1}})!r}))\n"
        "two = Step('two', '', 60, (sys.executable, '-c', f'import os; os.kill({os.getpid()}, 9)'))\n"
        "run_steps(lane, [one, two], 60)"
    )
    killed = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True)
    assert killed.returncode == -9, killed.stderr
    records = run(lane, good("one", 7.0), good("two", 7.0))
    assert [record.figures["value"] for record in records.values()] == [1, 7.0]


def test_steps_see_the_lane_s_variables_and_no_input(lane: Lane) -> None:
    code = "import json, os, sys; json.dump({'figures': {'at': os.environ['LANE'], 'in': sys.stdin.read()}}, "
    record = run(lane, step("looks", code + "open(sys.argv[1], 'w'))"))["looks"]
    assert record.figures == {"at": "here", "in": ""}


def test_figures_of_two_machines_do_not_mix(lane: Lane) -> None:
    open_lane(lane.folder, MACHINE, {})
    with pytest.raises(UserError, match=r"another machine .*\(device differ\); choose another --output"):
        open_lane(lane.folder, {**MACHINE, "device": "another GPU"}, {})


def test_the_steps_limits_add_up_to_25_minutes() -> None:
    assert sum(limit for limit, _ in gpu_lane.STEPS.values()) <= 25 * 60
    assert sum(limit for limit, _ in gpu_lane.SHORT.values()) <= 12 * 60


def test_every_step_of_the_short_lane_has_its_work_and_none_a_name_of_the_long_one() -> None:
    assert set(gpu_lane.SHORT) == {"output_layer", "spinning", "copies", *settings_of_steps.STEPS}
    assert not set(gpu_lane.SHORT) & set(gpu_lane.STEPS)


def test_a_report_has_the_records_of_both_lanes_and_is_complete_by_its_own(lane: Lane) -> None:
    run(lane, good("long"))
    run(lane, good("short"))
    write_report(lane, [good("long"), good("short"), good("never")], [good("short")])
    report = json.loads((lane.folder / REPORT).read_text())
    assert (set(report["steps"]), report["complete"]) == ({"long", "short"}, True)
    write_report(lane, [good("long"), good("short"), good("never")])
    assert not json.loads((lane.folder / REPORT).read_text())["complete"]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--list"], 0, ""),
        ([], 2, "--output: needed"),
        (["--output", "x", "--wheels", "."], 2, "holds no .whl and no .tar.gz"),
    ],
)
def test_the_command_says_what_is_wrong_in_one_line(
    arguments: list[str],
    code: int,
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert gpu_lane.main(arguments) == code
    error = capsys.readouterr().err
    assert says in error and len(error.splitlines()) <= 1
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(torch.cuda.is_available(), reason="is about machines without a GPU")
def test_without_a_gpu_nothing_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu_lane.main(["--output", str(tmp_path / "lane")]) == 2
    assert capsys.readouterr().err == "tools/gpu_lane.py: needs a GPU with CUDA\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("missing", ["megatron-core", "transformer_engine", "transformer_engine_torch"])
def test_what_is_missing_for_transformer_engine_is_named(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {name: None if name == missing else "1" for name in environment.PACKAGES}
    monkeypatch.setattr(environment, "installed_versions", lambda: installed)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(Unavailable, match=f"^{missing} is not installed; "):
        environment.run()


def test_what_pytest_reports_is_counted_with_reasons() -> None:
    xml = (
        '<testsuites><testsuite><testcase classname="a" name="good"/><testcase classname="a" name="bad">'
        '<failure message="assert 1&#10;== 2">trace</failure></testcase><testcase classname="b" name="left">'
        '<skipped message="no sglang"/></testcase></testsuite></testsuites>'
    )
    found = read_report(xml, 1)
    assert (found.passed, found.failed, found.skipped, found.exit_code) == (1, 1, 1, 1)
    assert found.outcomes == {"a::good": "passed", "a::bad": "failed: assert 1 == 2", "b::left": "skipped: no sglang"}
