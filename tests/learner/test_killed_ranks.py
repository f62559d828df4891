"""SIGKILL of one rank in a save, a step, a reload or the writing of the model.

The same call goes on and ends where an undisturbed run does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from rzero_mega.phase_name import PhaseName
from rzero_mega.run import PhaseDirectory
from rzero_mega.run.checksums import folder_hashes
from tests.learner import killed_ranks
from tests.learner.forked_ranks import run_program
from tests.learner.killed_ranks import STEPS, VOCABULARY, Attempt

pytestmark = pytest.mark.gloo

LAYOUTS: dict[str, dict[str, Any]] = {"tp2": {"tp": 2}, "dp2-ahead": {"dp": 2, "ahead": 1}}
# "model" comes first: later attempts find the model that one killed in its "commit" has written.
KILLS = {"tp2": ("model", "write", "reload", "step", "commit"), "dp2-ahead": ("model", "write", "step")}
EVERY_KILL = [(layout, kill) for layout, kills in KILLS.items() for kill in kills]
TIMES = ("seconds", "tokens_per_second")


@pytest.fixture(scope="module")
def folder(tiny_model: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of each layout an undisturbed run, and one that needed an attempt for each kill, and a last one."""
    folder = tmp_path_factory.mktemp("killed")
    tiny_model("qwen3", vocab_size=VOCABULARY, eos_token_id=3).save_pretrained(folder / "model")
    attempts = []
    for layout, sizes in LAYOUTS.items():
        for run, kills in (("undisturbed", (None,)), ("killed", (*KILLS[layout], None))):
            for kill in kills:
                name = f"{layout}-{run}-{kill}"
                attempts.append(Attempt(name, str(folder / "model"), str(folder / f"{layout}-{run}"), kill, **sizes))
    run_program(killed_ranks.__name__, attempts, folder)
    return folder


def attempt(folder: Path, layout: str, kill: str | None, run: str = "killed") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / f"{layout}-{run}-{kill}.json").read_text())
    return found


def phase(folder: Path, layout: str, run: str) -> PhaseDirectory:
    return PhaseDirectory(folder / f"{layout}-{run}", 1, PhaseName.SOLVER)


def curves(phase: PhaseDirectory) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if not key.endswith(TIMES)} for row in phase.metrics()]


def checkpoints(files: list[str]) -> set[str]:
    """Of the files that an attempt left: the checkpoints that the next attempt may go on from."""
    return {Path(file).parent.name for file in files if Path(file).parent.name.startswith("step_")}


@pytest.mark.parametrize(("layout", "kill"), EVERY_KILL)
def test_a_killed_rank_ends_the_others_and_the_last_good_checkpoint_stays(layout: str, kill: str, folder: Path) -> None:
    found = attempt(folder, layout, kill)
    assert not found["survived"]
    assert checkpoints(found["files"]) == {"step_00002"}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_model_whose_writer_dies_has_no_name_that_anyone_takes_for_a_model(layout: str, folder: Path) -> None:
    # There may be none: what the first rank learns of the death before it is ended itself, it clears away.
    left = [Path(file).parts[0] for file in attempt(folder, layout, "model")["files"] if file.endswith(".safetensors")]
    assert all(re.fullmatch(r"\.model\.[0-9a-f]{8}\.tmp", name) for name in left)
    finished = phase(folder, layout, "killed").path
    assert not list(finished.glob(".model.*")) and len(list((finished / "model").glob("*.safetensors"))) > 2


def staged(folder: Path, layout: str, kill: str) -> set[str]:
    return {Path(file).name for file in attempt(folder, layout, kill)["files"] if "staging_00004" in file}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_save_that_dies_while_training_goes_on_leaves_no_checkpoint(layout: str, folder: Path) -> None:
    # As with a model, the first rank may have cleared it away.
    found = staged(folder, layout, "write")
    assert not found or ("__1_0.distcp" in found and ".metadata" not in found)


def test_a_complete_checkpoint_counts_from_the_moment_it_has_its_name(folder: Path) -> None:
    committed = phase(folder, "tp2", "killed").kept / f"step_{STEPS:05d}"
    assert staged(folder, "tp2", "commit") == {file.name for file in committed.iterdir()}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_run_killed_again_and_again_equals_the_undisturbed_one_bit_for_bit(layout: str, folder: Path) -> None:
    assert attempt(folder, layout, None)["survived"]
    killed, undisturbed = phase(folder, layout, "killed"), phase(folder, layout, "undisturbed")
    manifest = killed.manifest()
    assert manifest is not None and manifest.attempts == 1 + len(KILLS[layout])
    rows = curves(killed)
    assert rows == curves(undisturbed)
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5]
    assert len({row["logprob_difference"] for row in rows}) == STEPS, "each step has data of its own"
    late = float(LAYOUTS[layout].get("ahead", 0))
    assert [row["staleness"] for row in rows] == [0.0, late, late, late, late]
    models = [folder_hashes(p.path / "model") for p in (killed, undisturbed)]
    assert models[0] == models[1] == manifest.outputs["model"].files


@pytest.mark.parametrize("layout", LAYOUTS)
def test_moments_and_generators_of_a_killed_run_equal_the_undisturbed_one_s(layout: str, folder: Path) -> None:
    left = [phase(folder, layout, run).kept / f"step_{STEPS:05d}" for run in ("killed", "undisturbed")]
    for file in ("__0_0.distcp", "__1_0.distcp"):
        assert (left[0] / file).read_bytes() == (left[1] / file).read_bytes()
    states = [torch.load(folder / "common.pt", weights_only=True) for folder in left]
    assert torch.equal(states[0]["torch_rng"], states[1]["torch_rng"])
    assert states[0]["optimizer"] == states[1]["optimizer"]
