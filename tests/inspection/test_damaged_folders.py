"""Every damaged or hostile folder is refused in one line before anything starts; every unusual one works."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path

import pytest

from rzero_mega.assets import nano_base_path
from rzero_mega.commands.convert import convert_and_show
from rzero_mega.commands.preflight import preflight
from rzero_mega.config import load_config
from rzero_mega.config.schema import SamplingConfig
from rzero_mega.domains.prompts import load_prompt
from rzero_mega.errors import UserError
from rzero_mega.inspection.model import inspect_tokenizer
from rzero_mega.planning.models import model_named
from rzero_mega.rollout.embedded import EmbeddedEngine
from rzero_mega.rollout.limits import stop_tokens
from rzero_mega.rollout.protocol import Request
from rzero_mega.rollout.tokenization import PromptEncoder, load_tokenizer
from rzero_mega.weights.base_model import check_model_folder
from rzero_mega.weights.hf_folder import HfWeights, write_hf_folder
from rzero_mega.weights.model_files import COPIED
from tests.inspection.damages import (
    BESIDE,
    CHATML,
    DAMAGES,
    NO_SYSTEM,
    Change,
    Damage,
    layers_as_written,
    quantised,
    template,
)


def inspect(folder: Path, seconds: float = 60.0) -> None:
    shape = check_model_folder(folder)
    asking, answering = load_prompt("math_challenger"), load_prompt("math_solver")
    inspect_tokenizer(folder, shape.vocab, [asking], [answering], seconds, memory_mb=512)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(nano_base_path(), tmp_path / "model"))


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.name)
def test_a_folder_is_refused_in_one_line_or_works(damage: Damage, folder: Path) -> None:
    damage.change(folder)
    if damage.words is None:
        inspect(folder)
        assert samples(folder) == undamaged()[0]
        assert prompt(folder) == undamaged()[1] or "template" in damage.name or "Llama" in damage.name
        assert 1 in stop_tokens(folder)
        return
    with pytest.raises(UserError) as caught:
        inspect(folder, 4.0 if "takes longer" in damage.words else 60.0)
    line = str(caught.value)
    assert damage.words in line and str(folder) in line
    assert "\n" not in line and len(line) < 2500


def prompt(folder: Path) -> tuple[int, ...]:
    return PromptEncoder(load_tokenizer(folder)).encode_prompt(load_prompt("math_solver"), question="2+2")


@cache
def undamaged() -> tuple[list[tuple[int, ...]], tuple[int, ...]]:
    return samples(nano_base_path()), prompt(nano_base_path())


def samples(folder: Path) -> list[tuple[int, ...]]:
    engine = EmbeddedEngine(folder)
    request = Request("test", (5, 6, 7), 2, SamplingConfig(max_new_tokens=4))
    return [tuple(sample.tokens) for sample in engine.generate([request])]


def test_a_trained_model_gets_the_files_of_the_model_alone(folder: Path, tmp_path: Path) -> None:
    for damage in BESIDE:
        damage.change(folder)
    trained = tmp_path / "trained"
    with HfWeights(folder) as weights:
        write_hf_folder(trained, ((name, weights.tensor(name)) for name in weights.names()), folder)
    names = {file.name for file in trained.iterdir()}
    assert names == {*(set(COPIED) & {file.name for file in nano_base_path().iterdir()}), "model.safetensors"}
    assert not any(file.is_symlink() for file in trained.iterdir())


@pytest.mark.parametrize(
    ("change", "words"),
    [(quantised("fp8"), "quantization_config"), (template(NO_SYSTEM + CHATML), "no system role")],
)
def test_a_run_an_evaluation_and_a_conversion_refuse_alike(
    change: Change, words: str, folder: Path, tmp_path: Path
) -> None:
    change(folder)
    where = [f"model.path={folder}", f"run.root={tmp_path}", "prompts.challenger=math_challenger"]
    config = load_config(["paper", "nano"], [*where, "prompts.solver=math_solver", "learner.processes=1"])
    for trains in (True, False):
        with pytest.raises(UserError, match=words):
            preflight(config, trains)
    if words == "quantization_config":
        with pytest.raises(UserError, match=words):
            convert_and_show(str(folder), tmp_path / "out", None, None)
        with pytest.raises(UserError, match=words):
            model_named(str(folder))
    assert not (tmp_path / "out").exists()


def test_the_planner_does_not_count_to_ten_to_the_four_hundred(folder: Path) -> None:
    layers_as_written("9" * 400)(folder)
    with pytest.raises(UserError, match="num_hidden_layers: a number of 1329 bits"):
        model_named(str(folder))
