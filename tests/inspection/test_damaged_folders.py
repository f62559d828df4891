"""Every damaged or hostile folder is refused in one line before anything starts; every unusual one works."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from rzero_mega.assets import nano_base_path
from rzero_mega.coevolution.prompts import load_prompt
from rzero_mega.config.schema import SamplingConfig
from rzero_mega.errors import UserError
from rzero_mega.inspection.model import inspect_tokenizer
from rzero_mega.rollout.embedded import EmbeddedEngine
from rzero_mega.rollout.limits import stop_tokens
from rzero_mega.rollout.protocol import Request
from rzero_mega.weights.base_model import check_model_folder
from rzero_mega.weights.hf_folder import HfWeights, write_hf_folder
from rzero_mega.weights.model_files import COPIED
from tests.inspection.damages import BESIDE, DAMAGES, Damage


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
        assert samples(folder) == samples(nano_base_path())
        assert 1 in stop_tokens(folder)
        return
    with pytest.raises(UserError) as caught:
        inspect(folder, 4.0 if "takes longer" in damage.words else 60.0)
    line = str(caught.value)
    assert damage.words in line and str(folder) in line
    assert "\n" not in line and len(line) < 2500


def samples(folder: Path) -> list[tuple[int, ...]]:
    engine = EmbeddedEngine(folder)
    request = Request("test", (5, 6, 7), 2, SamplingConfig(max_new_tokens=4))
    return [sample.tokens for sample in engine.generate([request])]


def test_a_trained_model_gets_the_files_of_the_model_alone(folder: Path, tmp_path: Path) -> None:
    for damage in BESIDE:
        damage.change(folder)
    trained = tmp_path / "trained"
    with HfWeights(folder) as weights:
        write_hf_folder(trained, ((name, weights.tensor(name)) for name in weights.names()), folder)
    names = {file.name for file in trained.iterdir()}
    assert names == {*(set(COPIED) & {file.name for file in nano_base_path().iterdir()}), "model.safetensors"}
    assert not any(file.is_symlink() for file in trained.iterdir())
