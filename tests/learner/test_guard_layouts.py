"""In every layout a failed update is found by all ranks alike, kept, and replayed under any other layout."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.learner.guard_ranks import STEP, GuardCase, run_cases

pytestmark = pytest.mark.gloo

FC1, EXPERT = "decoder.layers.3.mlp.linear_fc1", "decoder.layers.1.mlp.experts.local_experts.4.linear_fc1"
# The first layer of the second stage: its number on that stage is 0.
NORM = "decoder.layers.2.pre_mlp_layernorm"
SAVED = f"iterations/1/solver/failures/step_{STEP:05d}_update_1"
SKIP = ["learner.guard.non_finite=skip", "learner.guard.maximum_skips=3"]

Found = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("guard-layouts")


@pytest.fixture(scope="module")
def found(tiny_model: Callable[..., Any], folder: Path) -> Found:
    for name, family in (("dense", "qwen3"), ("moe", "qwen3_moe")):
        (folder / name).mkdir()
        tiny_model(family, num_hidden_layers=4).save_pretrained(folder / name)
    dense, moe = str(folder / "dense"), str(folder / "moe")
    grid: dict[str, Any] = {"tp": 2, "pp": 2, "sequence_parallel": True}
    return run_cases(
        [
            GuardCase("skip", dense, str(folder / "skip"), **grid, spoil=f"{FC1}.weight", overrides=SKIP),
            GuardCase("replay-single", replay=str(folder / "skip" / SAVED)),
            GuardCase("replay-pp2-vpp2", pp=2, vpp=2, replay=str(folder / "skip" / SAVED)),
            GuardCase("replay-tp2-pp2", **grid, replay=str(folder / "skip" / SAVED)),
            GuardCase("stop", dense, str(folder / "stop"), cp=2, spoil=f"{NORM}.weight"),
            GuardCase(
                "too-many",
                dense,
                str(folder / "too-many"),
                pp=2,
                spoil=f"{NORM}.weight",
                overrides=[SKIP[0], "learner.guard.maximum_skips=2", "learner.guard.save_weights=false"],
            ),
            GuardCase("experts", moe, str(folder / "experts"), dp=2, ep=2, spoil=f"{EXPERT}.weight"),
            GuardCase("backward", dense, str(folder / "backward"), pp=2, backward="decoder.layers.0.pre_mlp_layernorm"),
        ],
        folder,
    )


def failure(folder: Path, name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / name / SAVED / "failure.json").read_text())
    return loaded


def test_a_weight_of_one_tensor_parallel_rank_of_the_last_stage_is_named(found: Found, folder: Path) -> None:
    origin = failure(folder, "skip")["origin"]
    assert f"first in {FC1} (forward, micro-batch 0, pipeline stage 1, rank 3): nan" in origin
    assert "its weights are not finite: weight" in origin


def test_skipped_updates_change_no_rank_s_weights(found: Found) -> None:
    for rank in found["skip"]:
        assert rank == {"error": None, "kind": None, "skipped": 3, "unchanged": True}


def test_every_skip_is_an_event_of_the_run(found: Found, folder: Path) -> None:
    events = [json.loads(line) for line in (folder / "skip" / "events.jsonl").read_text().splitlines()]
    skipped = [event for event in events if event["event"] == "update_skipped"]
    assert [(event["step"], event["update"]) for event in skipped] == [(STEP, 1), (STEP, 2), (STEP, 3)]
    assert all(FC1 in event["origin"] and (folder / "skip" / event["folder"]).is_dir() for event in skipped)


@pytest.mark.parametrize("layout", ["single", "pp2-vpp2", "tp2-pp2"])
def test_a_replay_names_the_same_module_in_any_layout(layout: str, found: Found) -> None:
    first, *others = found[f"replay-{layout}"]
    *_, ours, verdict = first["lines"]
    assert f"replay found: first in {FC1} (forward, micro-batch 0" in ours
    assert verdict == "reproduced"
    assert all(rank["lines"] == [] for rank in others)


def test_both_ranks_stop_and_one_of_them_tells(found: Found, folder: Path) -> None:
    first, second = found["stop"]
    assert (first["kind"], second["kind"]) == ("UserError", "PeerFailed")
    assert first["error"] == second["error"]
    saved = folder / "stop" / SAVED
    for words in (f"step {STEP}, update 1: loss is nan", f"first in {NORM} (forward", f"rzero-mega replay {saved};"):
        assert words in first["error"]
    assert first["unchanged"] and second["unchanged"]
    assert sorted(file.name for file in saved.iterdir()) == [
        "batch.safetensors",
        "config.yaml",
        "failure.json",
        "model",
    ]


def test_more_skips_than_allowed_stop_the_run(found: Found, folder: Path) -> None:
    first, second = found["too-many"]
    assert "update 3: " in first["error"] and "more than learner.guard.maximum_skips 2" in first["error"]
    assert second["kind"] == "PeerFailed"
    assert not (folder / "too-many" / SAVED / "model").exists()


def test_an_expert_has_its_number_among_all_ranks_experts(found: Found, folder: Path) -> None:
    assert f"first in {EXPERT} (forward" in failure(folder, "experts")["origin"]


def test_a_gradient_that_only_one_stage_spoils_is_named_there(found: Found, folder: Path) -> None:
    origin = failure(folder, "backward")["origin"]
    assert "first in decoder.layers.0.pre_mlp_layernorm (backward, micro-batch 0, pipeline stage 0, rank 0)" in origin
