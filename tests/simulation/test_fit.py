"""Assumptions fitted to a run: what it shows is found again, and damage is passed over."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import fmean

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
from rzero_mega.simulation.fit import Fit, fit, seconds_taken
from rzero_mega.simulation.iteration import iteration_time, train_seconds
from rzero_mega.simulation.site import Site

H100 = GPUS["H100"]
# What SGLang wrote on a CPU in an iteration of nano: lines of decoding, and of prefills with nothing running.
REAL_LOG = Path(__file__).with_name("nano_server.log")
ROLES = ("challenger", "verifier", "solver")
RECIPE = ("run.minimum_free_mb=0", "verifier.train=true", *(f"{role}.training.steps=3" for role in ROLES))


def server_log(fixed: float, per_sequence: float, site: Site) -> str:
    """What SGLang writes whose steps take that beside reading weights and cache."""
    none = site.assumptions.with_values({"decoding.fixed_s": fixed, "decoding.per_sequence_s": per_sequence}, "")
    step = DecodeStep(model_named(site.config.model.path), H100, 1, 2, none.decoding)
    lines = ["[2026-11-29 11:00:00] Load weight begin.", "no time here"]
    lines += ["[2026-11-29 11:01:08] The server is fired up and ready to roll!"]
    before = 1
    for running in range(1, 257, 5):
        load, before, cached = (before + running) / 2, running, 700 * running
        rate = load / step.seconds(load, cached)
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
                phase.log_step(
                    step,
                    {
                        **row,
                        "update_seconds": 40.0,
                        "probe_seconds": 2.0,
                        "well_formed_rate": 0.8,
                        "reward_seconds": 0.7,
                    },
                )
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
    append_line(path / "timeline.jsonl", Span("main", "start learner", 1.0, 30.0).as_json())
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
    site = Site(load_recipe("qwen3_8b", RECIPE), H100, new)
    assert new.costs.learner_start_s == pytest.approx(30 - site.weight_bytes / new.costs.model_read_bytes_s)
    assert new.costs.reward_step_s == pytest.approx(0.7) and counted["costs.reward_step_s"] == 9
    assert new.costs.probe_s == 2 and new.responses.well_formed_share == pytest.approx(0.8)
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
    assert not set(found.kept) & counted.keys() and "costs.turn_fixed_s" in found.kept
    assert new.sources["costs.probe_s"] == f"{run}, 9 observations"


def test_a_real_server_that_was_idle_between_calls_is_taken_for_as_fast_as_it_was(run: Path) -> None:
    text = REAL_LOG.read_text()
    (run / "servers" / "solver-0.log").write_text(text)
    speed = fit(run, H100, shipped()).assumptions.decoding
    # Between lines that both tell of 256 draws, the server decoded: this many tokens a second.
    lines = [line for line in text.splitlines() if "Decode" in line or "#running-req: 0," in line]
    full = [b for a, b in pairwise(lines) if all("Decode batch, #running-req: 256," in line for line in (a, b))]
    step = fmean(256 / float(line.split("(token/s): ")[1].split(",")[0]) for line in full)
    assert len(full) > 8
    assert speed.fixed_s + 256 * speed.per_sequence_s == pytest.approx(step, rel=0.1)
    # Lines that end a call, with a few draws left of many, tell of no step that takes next to nothing.
    assert 0.005 < speed.fixed_s < step / 3


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


def test_what_phases_took_is_told_of_finished_ones_after_the_base_s_evaluation(tmp_path: Path) -> None:
    with RunDirectory.create_or_open(tmp_path / "run", load_recipe("qwen3_8b", RECIPE), writer=True) as run:
        for iteration, name, ends in (
            (0, PhaseName.EVALUATE, True),
            (1, PhaseName.CHALLENGER, True),
            (2, PhaseName.CHALLENGER, True),
            (2, PhaseName.SOLVER, False),
        ):
            phase = run.phase(iteration, name)
            phase.begin({})
            if ends:
                phase.finish({}, {})
        taken = seconds_taken(run)
        both = [run.phase(n, PhaseName.CHALLENGER).manifest() for n in (1, 2)]
    assert taken == {PhaseName.CHALLENGER: pytest.approx(sum(m.seconds for m in both if m) / 2)}


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
