"""What phases find in a run: earlier outputs and their hashes, and a request to stop."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from rzero_mega.atomic import sha256
from rzero_mega.coevolution.plan import BASE, Source
from rzero_mega.coevolution.records import TrainingQuestion
from rzero_mega.errors import UserError
from rzero_mega.phase_name import PhaseName
from rzero_mega.run import read_events
from rzero_mega.run.stop import Stopped
from rzero_mega.weights.model_files import model_sha256
from tests.phases.scripted import Asked, ScriptedRun

DATASET = Source(1, PhaseName.LABELS, "dataset")


def test_sources_are_found_with_their_hashes(scripted: Callable[..., ScriptedRun]) -> None:
    run = scripted()
    run.leave(PhaseName.LABELS, "dataset", [TrainingQuestion("1+2", "3")])
    path = run.ctx.path(DATASET)
    assert path.read_text() == '{"question": "1+2", "answer": "3"}\n' and run.ctx.path(BASE) == run.base
    assert run.ctx.hashes([BASE, DATASET]) == {"base": model_sha256(run.base), "1/labels/dataset": sha256(path)}


def test_an_output_of_an_unfinished_phase_is_named(scripted: Callable[..., ScriptedRun]) -> None:
    run = scripted()
    for ask in (run.ctx.path, lambda source: run.ctx.hashes([source])):
        with pytest.raises(UserError, match=r"iterations/1/labels: has no finished output dataset"):
            ask(DATASET)


def test_a_request_to_stop_saves_first(scripted: Callable[..., ScriptedRun]) -> None:
    run = scripted()
    saved: list[int] = []
    run.ctx.stop_if_asked(saved.append, 1)
    assert saved == []
    run.ctx.stop = Asked()
    with pytest.raises(Stopped, match="the same command goes on from here"):
        run.ctx.stop_if_asked(saved.append, 2)
    assert saved == [2]
    assert [event.event for event in read_events(run.directory.events_path)] == ["created", "stopped"]


def test_random_streams_are_named_by_seed_iteration_and_phase(scripted: Callable[..., ScriptedRun]) -> None:
    phase = scripted("seed=4").begin(PhaseName.LABELS, iteration=2)
    assert phase.seed_key() == "4/2/labels" and phase.seed_key(3, "votes") == "4/2/labels/3/votes"


def test_the_stopwatch_adds_up_and_starts_anew(scripted: Callable[..., ScriptedRun]) -> None:
    watch = scripted().ctx.stopwatch
    for what in ("generate", "reward", "generate"):
        with watch.measure(what):
            pass
    assert set(watch.take()) == {"generate", "reward"} and watch.take() == {}


@pytest.mark.parametrize(
    ("file", "is_the_base"),
    [
        ("NOTES.txt", False),
        ("LICENSE", False),
        ("README.md", False),
        (".git/HEAD", False),
        (".cache/huggingface/x.lock", False),
        (".nfs000000000001", False),
        (".DS_Store", False),
        ("optimizer.pt", False),
        ("runs/model.safetensors", False),
        ("config.json", True),
        ("generation_config.json", True),
        ("tokenizer.json", True),
        ("tokenizer_config.json", True),
        ("chat_template.jinja", True),
        ("model.safetensors", True),
    ],
)
def test_configuration_weights_and_tokenizer_are_the_base_and_nothing_else(
    scripted: Callable[..., ScriptedRun], tmp_path: Path, file: str, is_the_base: bool
) -> None:
    folder = tmp_path / "base"
    shutil.copytree(scripted().base, folder)
    before = model_sha256(folder)
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((path.read_bytes() if path.exists() else b"") + b" ")
    assert (model_sha256(folder) != before) == is_the_base
