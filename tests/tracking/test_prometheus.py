"""The newest figures of a run for Prometheus."""

from __future__ import annotations

import socket
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from rzero_mega.atomic import write_jsonl
from rzero_mega.config import load_config
from rzero_mega.config.schema import PrometheusConfig
from rzero_mega.errors import UserError
from rzero_mega.phase_name import PhaseName
from rzero_mega.run import RunDirectory
from rzero_mega.run.timeline import FILE
from rzero_mega.tracking.gpu_hours import run_use
from rzero_mega.tracking.prometheus import PREFIX, NewestFigures, check_prometheus, prometheus_endpoint
from rzero_mega.tracking.use_rows import use_values
from rzero_mega.tracking.wandb_rows import step_values
from tests.tracking.timelines import SPLIT, training_phase


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunDirectory]:
    with RunDirectory.create_or_open(tmp_path / "run", load_config(["paper", "nano"]), writer=True) as run:
        yield run


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def scrape(port: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
        text = answer.read().decode()
    return {sample.name: sample.value for family in text_string_to_metric_families(text) for sample in family.samples}


def test_an_answer_has_the_step_and_summary_that_are_newest_when_it_is_asked(run: RunDirectory, port: int) -> None:
    solver = run.phase(1, PhaseName.SOLVER)
    solver.begin({})
    with prometheus_endpoint(PrometheusConfig(port), run):
        assert scrape(port) == {}
        solver.log_step(1, {"kl": 0.5, "tokens_per_second": 10.0})
        solver.log_step(2, {"kl": 0.25, "tokens_per_second": 20.0})
        first = scrape(port)
        evaluate = run.phase(1, PhaseName.EVALUATE)
        evaluate.begin({})
        evaluate.finish({}, {"pass1_mean": 0.625})
        second = scrape(port)
    wanted = step_values(PhaseName.SOLVER, {"kl": 0.25, "tokens_per_second": 20.0}, 2, 1)
    assert first == {PREFIX + name.replace("/", "_"): value for name, value in wanted.items()}
    assert first.items() <= second.items() and second["rzero_mega_eval_pass1_mean"] == 0.625
    with pytest.raises(OSError):
        scrape(port)


def test_the_newest_iteration_counts_of_a_whole_run(finished: RunDirectory) -> None:
    figures, last = NewestFigures(finished).values(), finished.config.iterations
    assert figures["iteration"] == last
    for role in (PhaseName.CHALLENGER, PhaseName.SOLVER):
        row = finished.phase(last, role).metrics()[-1]
        assert step_values(role, row, row["step"], last).items() <= figures.items()


def test_a_finished_phase_is_read_once(run: RunDirectory) -> None:
    solver, evaluate, newest = run.phase(1, PhaseName.SOLVER), run.phase(1, PhaseName.EVALUATE), NewestFigures(run)
    solver.begin({})
    solver.log_step(1, {"kl": 0.5})
    assert newest.values()["train/solver/kl"] == 0.5
    solver.log_step(2, {"kl": 0.25})
    solver.finish({}, {})
    evaluate.begin({})
    evaluate.finish({}, {"pass1_mean": 0.5})
    first = newest.values()
    for phase in (solver, evaluate):
        phase.manifest_path.write_text("{")
        phase.metrics_path.unlink(missing_ok=True)
    assert newest.values() == first and first["train/solver/kl"] == 0.25 and first["eval/pass1_mean"] == 0.5


def test_where_the_gpu_hours_of_a_finished_phase_went_is_told_as_to_wandb(run: RunDirectory) -> None:
    spans = training_phase("solver 1", 0.0, SPLIT, (2, 3))
    write_jsonl(run.path / FILE, (span.as_json() for span in spans))
    solver, newest = run.phase(1, PhaseName.SOLVER), NewestFigures(run)
    solver.begin({})
    solver.log_step(1, {"mfu": 0.25})
    assert not any(name.startswith("gpus/") for name in newest.values())
    solver.finish({}, {})
    (use,) = run_use(run)
    assert use_values(use).items() <= newest.values().items() and newest.values()["gpus/solver/mfu"] == 0.25


def test_a_damaged_phase_takes_nothing_from_the_others(run: RunDirectory) -> None:
    for name, value in ((PhaseName.CHALLENGER, 1.0), (PhaseName.SOLVER, 2.0)):
        phase = run.phase(1, name)
        phase.begin({})
        phase.log_step(1, {"kl": value})
    run.phase(1, PhaseName.CHALLENGER).manifest_path.write_text("{")
    figures = NewestFigures(run).values()
    assert figures["train/solver/kl"] == 2.0 and "train/challenger/kl" not in figures


def test_without_a_port_nothing_listens(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    check_prometheus(PrometheusConfig())
    with prometheus_endpoint(PrometheusConfig(), run):
        pass


def test_a_missing_package_is_named_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(UserError, match=r"tracking.prometheus.port: .* rzero_mega\[prometheus\]"):
        check_prometheus(PrometheusConfig(9100))


@pytest.mark.parametrize("host", ["127.0.0.1", "203.0.113.1"])
def test_an_address_that_cannot_be_had_is_one_line(run: RunDirectory, host: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(UserError, match=f"tracking.prometheus: can't listen on {host}, port {port} "),
            prometheus_endpoint(PrometheusConfig(port, host), run),
        ):
            pass


def test_a_name_for_a_host_that_does_not_exist_is_one_line(run: RunDirectory, port: int) -> None:
    with (
        pytest.raises(UserError, match=r"tracking\.prometheus: can't listen on no-such-host\.invalid"),
        prometheus_endpoint(PrometheusConfig(port, "no-such-host.invalid"), run),
    ):
        pass
