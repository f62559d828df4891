"""Assumptions fitted to a run: what it shows is found again, and damage is passed over."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
from rzero_mega.recipes import load_recipe

from rzero_mega.atomic import append_line
from rzero_mega.errors import UserError
from rzero_mega.phase_name import PhaseName
from rzero_mega.planning.assumptions import shipped
from rzero_mega.planning.hardware import GPUS
from rzero_mega.planning.models import model_named
from rzero_mega.planning.servers import DecodeStep
from rzero_mega.run import RunDirectory
from rzero_mega.run.events import append_event
from rzero_mega.run.timeline import Span
from rzero_mega.simulation.costs import CHECKPOINT_BYTES
from rzero_mega.simulation.drawing import Lengths
from rzero_mega.simulation.fit import Fit, fit
from rzero_mega.simulation.iteration import iteration_time, train_seconds
from rzero_mega.simulation.site import Site

H100 = GPUS["H100"]
ROLES = ("challenger", "verifier", "solver")
RECIPE = ("run.minimum_free_mb=0", "verifier.train=true", *(f"{role}.training.steps=3" for role in ROLES))


def server_log(fixed: float, per_sequence: float, site: Site) -> str:
    """What SGLang writes whose steps take that beside reading weights and cache."""
    none = site.assumptions.with_values({"decoding.fixed_s": fixed, "decoding.per_sequence_s": per_sequence}, "")
    step = DecodeStep(model_named(site.config.model.path), H100, 1, 2, none.decoding)
    lines = ["[2026-11-29 11:00:00] Load weight begin.", "no time here"]
    lines += ["[2026-11-29 11:01:08] The server is fired up and ready to roll!"]
    for running in range(1, 257, 5):
        rate, cached = running / step.seconds(running, 700 * running), 700 * running
        lines.append(
            f"[2026-11-29 11:02:00 TP0] Decode batch, #running-req: {running}, #token: {cached}, token usage: 0.1, "
            f"cuda graph: True, gen throughput (token/s): {rate:.3f}, #queue-req: 0"
        )
    return "\n".join(lines) + "\n"


def write_run(path: Path, engine: str = "sglang") -> Site:
    """A run of known speeds; the site whose model it follows."""
    config = load_recipe("qwen3_8b", [*RECIPE, f"rollout.engine={engine}"])
    site = Site(load_recipe("qwen3_8b", RECIPE), H100, shipped())
    with RunDirectory.create_or_open(path, config, writer=True) as run:
        for name in ROLES:
            phase, training = run.phase(1, PhaseName(name)), getattr(config, name).training
            phase.begin({})
            # A Verifier is taken to be asked and to answer at the Solver's length.
            asked = "solver" if name == "verifier" else name
            prompt = getattr(site.assumptions.responses, f"{asked}_prompt")
            for step, length in enumerate((500.0, 600.0, 700.0), start=1):
                seconds = 1.5 * train_seconds(site, training, prompt + length)
                row = {"response_length": length, "truncated_rate": 0.05, "train_seconds": seconds}
                phase.log_step(step, {**row, "update_seconds": 40.0, "probe_seconds": 2.0, "well_formed_rate": 0.8})
    (path / "servers").mkdir()
    (path / "servers" / "solver-0.log").write_text(server_log(0.004, 2e-5, site))
    (path / "jobs").mkdir()
    for event, time in (
        ("phase_finished", "2026-11-29T11:00:00+00:00"),
        ("model_removed", "2026-11-29T11:00:01+00:00"),
        ("resumed", "2026-11-29T11:02:29+00:00"),
        ("phase_started", "2026-11-29T11:02:30+00:00"),
        ("phase_finished", "2026-11-29T11:30:00+00:00"),
        ("phase_started", "2026-11-29T11:30:01+00:00"),  # in the same job
    ):
        append_event(path / "events.jsonl", event)
        text = (path / "events.jsonl").read_text().splitlines()
        text[-1] = f'{{"time": "{time}", "event": "{event}"}}'
        (path / "events.jsonl").write_text("\n".join(text) + "\n")
    for seconds in (11.0, 12.0, 13.0):
        # And steps without one.
        for begun, took in ((1.0, seconds), (0.0, 0.01), (0.0, 0.01)):
            append_line(path / "timeline.jsonl", Span("main", "checkpoint", 1.0, took, {"begun": begun}).as_json())
    return site


@pytest.fixture
def run(tmp_path: Path) -> Path:
    write_run(tmp_path / "run")
    return tmp_path / "run"


def observations(found: Fit) -> dict[str, int]:
    return {key: item.observations for item in found.fitted for key in item.values}


def test_what_a_run_shows_is_found_again(run: Path) -> None:
    found = fit(run, H100, shipped())
    new, counted = found.assumptions, observations(found)
    assert new.decoding.fixed_s == pytest.approx(0.004, rel=0.01)
    assert new.decoding.per_sequence_s == pytest.approx(2e-5, rel=0.01)
    assert new.costs.train_factor == pytest.approx(1.5) and counted["costs.train_factor"] == 9
    assert new.costs.job_start_s == 150 and counted["costs.job_start_s"] == 1
    assert new.costs.probe_s == 2 and new.responses.well_formed_share == pytest.approx(0.8)
    site = Site(load_recipe("qwen3_8b", RECIPE), H100, new)
    copied = new.costs.checkpoint_passes * CHECKPOINT_BYTES * site.parameters / site.config.learner.processes
    assert copied / new.costs.checkpoint_copy_bytes_s == pytest.approx(12)
    assert counted["costs.checkpoint_passes"] == 3
    # 68 s until it was ready, of which the model was read for some.
    assert new.costs.server_start_s + site.weight_bytes / new.costs.model_read_bytes_s == pytest.approx(68)
    lengths = Lengths(new.responses.solver_median, new.responses.solver_sigma, new.responses.solver_cut_off)
    assert lengths.mean(4096) == pytest.approx(600, rel=0.01) and new.responses.solver_cut_off == pytest.approx(0.05)
    # In a job of its own: in an iteration's, the servers are also sent the model that the phase begins with.
    alone = iteration_time(replace(site, job_per="phase"))
    one = next(phase for phase in alone.phases if phase.phase is PhaseName.SOLVER)
    sent = sum(activity.seconds for activity in one.activities if activity.name == "sending weights")
    checked = sum(activity.seconds for activity in one.activities if activity.name == "verification")
    assert sent + checked == pytest.approx(2 * 40 + 3 * 2, rel=0.01)
    assert not set(found.kept) & counted.keys() and "costs.learner_start_s" in found.kept
    assert new.sources["costs.probe_s"] == f"{run}, 9 observations"


def test_an_embedded_run_tells_of_its_learner_alone(tmp_path: Path) -> None:
    write_run(tmp_path / "run", engine="embedded")
    (tmp_path / "run" / "servers" / "solver-0.log").unlink()
    keys = observations(fit(tmp_path / "run", H100, shipped())).keys()
    assert "costs.train_factor" in keys and not any(key.startswith("decoding.") for key in keys)


@pytest.mark.parametrize("seed", range(8))
def test_garbled_logs_are_passed_over(run: Path, seed: int) -> None:
    numbers = random.Random(seed)
    for file in (run / "servers" / "solver-0.log", run / "events.jsonl", run / "timeline.jsonl"):
        data = bytearray(file.read_bytes())
        for _ in range(len(data) // 50):
            data[numbers.randrange(len(data))] = numbers.randrange(256)
        file.write_bytes(bytes(data[: numbers.randrange(1, len(data))]))
    found = fit(run, H100, shipped())
    assert found.assumptions.costs.train_factor == pytest.approx(1.5)
    assert all(value >= 0 for item in found.fitted for value in item.values.values())


@pytest.mark.parametrize(
    "line",
    [
        "Decode batch, #running-req: 0, #token: 5, gen throughput (token/s): 10.0",
        "Decode batch, #running-req: 5, #token: 5, gen throughput (token/s): 0.00",
        "Decode batch, #running-req: 5, #token: 5, gen throughput (token/s): 1.2.3",
        "Decode batch, #running-req: 99999999999999999999, #token: 5, gen throughput (token/s): 9",
    ],
)
def test_a_line_without_sense_is_no_observation(run: Path, line: str) -> None:
    before = fit(run, H100, shipped())
    log = run / "servers" / "solver-0.log"
    log.write_text(log.read_text() + f"{line}\n" * 50)
    assert fit(run, H100, shipped()).assumptions.decoding == before.assumptions.decoding


def test_too_few_lines_are_none(run: Path) -> None:
    log = run / "servers" / "solver-0.log"
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:6]))
    found = fit(run, H100, shipped())
    assert found.assumptions.decoding == shipped().decoding and "decoding.fixed_s" in found.kept


def test_a_folder_that_is_no_run_or_tells_nothing_is_a_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no run directory"):
        fit(tmp_path, H100, shipped())
    config = load_recipe("qwen3_8b", RECIPE)
    RunDirectory.create_or_open(tmp_path / "empty", config, writer=True).close()
    with pytest.raises(UserError, match=r"empty: holds nothing that assumptions can be fitted to"):
        fit(tmp_path / "empty", H100, shipped())
