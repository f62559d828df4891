from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from rzero_mega.config.layout import ParallelLayout
from rzero_mega.config.schema import GrpoConfig, LearnerConfig, OptimizerConfig
from rzero_mega.errors import UserError
from rzero_mega.learner.checkpoints.checkpoint import load_model_only
from rzero_mega.learner.checkpoints.conversion.convert import convert
from rzero_mega.learner.checkpoints.conversion.work_folder import JOURNAL
from rzero_mega.learner.learner import Learner
from rzero_mega.run.lock import RunLock
from tests import ROOT
from tests.learner.checkpoints.conversions import BASE, FAMILIES, bytes_of, metadata_of, refused, same, tensors_of
from tests.learner.checkpoints.convert_ranks import LoadingCase, load_under
from tests.learner.ranks import Outcome, TrainingCase, rollouts, run_cases
from tests.programs import exit_code, start_program


def learner(folder: Path, layout: ParallelLayout) -> Learner:
    settings = LearnerConfig(dtype="float32", tokens_per_micro_batch=64)
    return Learner(folder, layout, settings, GrpoConfig(), OptimizerConfig(), longest_response=30)


@pytest.mark.parametrize("family", FAMILIES)
def test_there_and_back_is_the_same_to_the_bit_and_loads_in_transformers(
    family: str, models: dict[str, Path], checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    convert(checkpoints[family], tmp_path / "back", template=models[family], file_bytes=50_000)
    assert len(list((tmp_path / "back").glob("*.safetensors"))) > 1
    assert same(tensors_of(tmp_path / "back"), tensors_of(models[family]))
    there, here = (
        AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
        for folder in (models[family], tmp_path / "back")
    )
    assert not any(here[1].values())
    assert same(dict(there[0].state_dict()), dict(here[0].state_dict()))
    assert (tmp_path / "back" / "tokenizer.json").is_file()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_converted_checkpoint_stores_what_the_learner_would_have_saved(
    family: str, models: dict[str, Path], checkpoints: dict[str, Path], alone: ParallelLayout, tmp_path: Path
) -> None:
    policy = learner(models[family], alone)
    policy.train_step(rollouts(1, 61))
    policy.save(tmp_path, 1)

    def stored(folder: Path) -> dict[str, Any]:
        entries = metadata_of(folder).state_dict_metadata.items()
        return {k: (tuple(e.size), e.properties.dtype) for k, e in entries if not k.startswith("optimizer.")}

    assert stored(checkpoints[family]) == stored(tmp_path)
    common = [torch.load(folder / "common.pt", weights_only=True) for folder in (checkpoints[family], tmp_path)]
    assert common[0]["shape"] == common[1]["shape"]
    names = ("metadata.json", "common.pt", ".metadata")
    assert all((checkpoints[family] / name).is_file() for name in names)
    first, second = ((folder / "metadata.json").read_text() for folder in (checkpoints[family], tmp_path))
    assert json.loads(first) == json.loads(second)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_learner_loads_the_weights_of_a_converted_checkpoint(
    family: str, models: dict[str, Path], checkpoints: dict[str, Path], alone: ParallelLayout
) -> None:
    policy = learner(models[family], alone)
    for weight in policy._model.local_weights().values():
        weight.zero_()
    load_model_only(checkpoints[family], policy._model)
    assert same(dict(policy.export()), tensors_of(models[family]))


@pytest.fixture(scope="module")
def loaded(
    models: dict[str, Path], checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Tensor]]:
    """What models export that loaded a converted checkpoint under several layouts."""
    dense, tied, moe = (
        (str(models[family]), str(checkpoints[family])) for family in (BASE, "llama, tied", "qwen3_moe")
    )
    return load_under(
        [
            LoadingCase("dense tp1", *dense),
            LoadingCase("dense tp2", *dense, tp=2),
            LoadingCase("dense pp2", *dense, pp=2),
            LoadingCase("dense tp2 pp2", *dense, tp=2, pp=2),
            LoadingCase("tied tp2 pp2", *tied, tp=2, pp=2),
            LoadingCase("moe ep2", *moe, dp=2, ep=2),
            LoadingCase("moe tp2 ep2 pp2", *moe, tp=2, pp=2, ep=2, etp=1, sequence_parallel=True),
        ],
        tmp_path_factory.mktemp("loaded"),
    )


@pytest.mark.gloo
@pytest.mark.parametrize(
    ("layout", "family"),
    [
        ("dense tp1", BASE),
        ("dense tp2", BASE),
        ("dense pp2", BASE),
        ("dense tp2 pp2", BASE),
        ("tied tp2 pp2", "llama, tied"),
        ("moe ep2", "qwen3_moe"),
        ("moe tp2 ep2 pp2", "qwen3_moe"),
    ],
)
def test_a_converted_checkpoint_loads_under_every_layout(
    layout: str, family: str, models: dict[str, Path], loaded: dict[str, dict[str, Tensor]]
) -> None:
    assert same(loaded[layout], tensors_of(models[family]))


@pytest.fixture(scope="module")
def trained(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Outcome]]:
    """Checkpoints of training under two layouts; the vocabulary of 61 is padded under both."""
    folder = tmp_path_factory.mktemp("trained")
    cases = []
    for name, pp in (("tp2", 1), ("tp2pp2", 2)):
        (folder / f"checkpoint-{name}").mkdir()
        cases.append(
            TrainingCase(name, str(models[BASE]), tp=2, pp=pp, last=1, save=str(folder / f"checkpoint-{name}"))
        )
    return folder, run_cases(cases, folder)


@pytest.mark.gloo
@pytest.mark.parametrize("name", ["tp2", "tp2pp2"])
def test_a_checkpoint_of_training_gives_the_weights_that_were_trained(
    name: str,
    models: dict[str, Path],
    alone: ParallelLayout,
    trained: tuple[Path, dict[str, Outcome]],
    tmp_path: Path,
) -> None:
    folder, outcomes = trained
    convert(folder / f"checkpoint-{name}", tmp_path / "hf", template=models[BASE])
    assert same(tensors_of(tmp_path / "hf"), outcomes[name].weights)
    assert not same(tensors_of(tmp_path / "hf"), tensors_of(models[BASE]))


@pytest.mark.gloo
@pytest.mark.parametrize("file", ["__1_0.distcp", ".metadata", "common.pt", "metadata.json"])
def test_a_checkpoint_of_training_that_is_damaged_is_named_by_its_checksums(
    file: str, models: dict[str, Path], alone: ParallelLayout, trained: tuple[Path, dict[str, Outcome]], tmp_path: Path
) -> None:
    source = Path(shutil.copytree(trained[0] / "checkpoint-tp2", tmp_path / "source"))
    data = bytearray((source / file).read_bytes())
    data[len(data) // 2] ^= 1
    (source / file).write_bytes(data)
    message = refused(source, tmp_path / "hf", template=models[BASE])
    assert message.startswith(f"{source / file}: has changed since it was written") and "copy it here again" in message
    with pytest.raises(UserError, match=f"{file}: has changed since"):
        load_model_only(source, learner(models[BASE], alone)._model)
    (source / file).unlink()
    missing = f"{source / file}: is missing" if file != ".metadata" else "nor a checkpoint"
    assert missing in refused(source, tmp_path / "hf", template=models[BASE])
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_fused_experts_are_converted_like_split_ones(
    models: dict[str, Path], checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    tensors = tensors_of(models["qwen3_moe"])
    for layer in range(2):
        prefix = f"model.layers.{layer}.mlp.experts"
        parts = {
            name: [tensors.pop(f"{prefix}.{expert}.{name}_proj.weight") for expert in range(4)]
            for name in ("gate", "up", "down")
        }
        gate_up = [torch.cat(pair) for pair in zip(parts["gate"], parts["up"], strict=True)]
        tensors[f"{prefix}.gate_up_proj"] = torch.stack(gate_up)
        tensors[f"{prefix}.down_proj"] = torch.stack(parts["down"])
    fused = tmp_path / "fused"
    fused.mkdir()
    shutil.copyfile(models["qwen3_moe"] / "config.json", fused / "config.json")
    save_file(tensors, fused / "model.safetensors")
    convert(fused, tmp_path / "megatron", file_bytes=50_000)
    assert bytes_of(tmp_path / "megatron") == bytes_of(checkpoints["qwen3_moe"])


def test_the_same_source_gives_the_same_bytes(
    models: dict[str, Path], checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    convert(models[BASE], tmp_path / "again", file_bytes=50_000)
    assert bytes_of(tmp_path / "again") == bytes_of(checkpoints[BASE])


def test_another_dtype_is_told_to_the_configuration(models: dict[str, Path], tmp_path: Path) -> None:
    convert(models[BASE], tmp_path / "megatron", dtype="bfloat16")
    convert(tmp_path / "megatron", tmp_path / "hf", template=models[BASE])
    expected = {name: tensor.bfloat16() for name, tensor in tensors_of(models[BASE]).items()}
    assert same(tensors_of(tmp_path / "hf"), expected)
    assert json.loads((tmp_path / "hf" / "config.json").read_text())["dtype"] == "bfloat16"
    convert(tmp_path / "megatron", tmp_path / "wide", template=models[BASE], dtype="float32")
    assert same(tensors_of(tmp_path / "wide"), {name: tensor.float() for name, tensor in expected.items()})


@pytest.mark.parametrize(("to", "kills"), [("megatron", (1, 19)), ("hf", (9,))])
def test_a_killed_conversion_goes_on_and_ends_as_an_uninterrupted_one(
    to: str,
    kills: tuple[int, ...],
    models: dict[str, Path],
    checkpoints: dict[str, Path],
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    source, template = (models[BASE], None) if to == "megatron" else (checkpoints[BASE], models[BASE])
    targets = {0: tmp_path / "uninterrupted", **{after: tmp_path / f"target-{after}" for after in kills}}
    order = [(0, 0), *((after, target) for target in kills for after in (target, 0))]
    attempts = [[after, str(source), str(targets[target]), template and str(template)] for after, target in order]
    request, output = (tmp_path_factory.mktemp("killed") / name for name in ("attempts.json", "output.txt"))
    request.write_text(json.dumps(attempts))
    program = start_program("tests.learner.checkpoints.convert_killed", request, output)
    assert exit_code(program, patience_s=600) == 0, output.read_text()
    ended = json.loads(output.read_text().splitlines()[-1])
    whole = ended[0][1]
    assert whole >= 19
    for (after, target), (code, read, there) in zip(order, ended, strict=True):
        assert (code, there) == ((-signal.SIGKILL, False) if after else (0, True)), output.read_text()
        if not after:
            assert bytes_of(targets[target]) == bytes_of(targets[0])
            assert read < whole or target <= 1
    assert set(tmp_path.iterdir()) == set(targets.values())


GROWTH = """
import re, sys
from pathlib import Path
from rzero_mega.learner.checkpoints.conversion.convert import convert

def peak():
    # Not ru_maxrss, which begins with what the parent process had.
    return int(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024

small, big, out = map(Path, sys.argv[1:])
for model in (small, big):
    before = peak()
    convert(model, out / model.name, file_bytes=8 << 20)
    convert(out / model.name, out / f"{model.name}-back", template=model, file_bytes=8 << 20)
print(peak() - before)
"""


def test_memory_holds_a_few_tensors_and_never_the_model(
    models: dict[str, Path], tiny_model: Callable[..., Any], tmp_path: Path
) -> None:
    big = tiny_model("qwen3", hidden_size=512, intermediate_size=4096, num_hidden_layers=8)
    big.save_pretrained(tmp_path / "big")
    size = sum(weight.nbytes for weight in big.parameters())
    command = [sys.executable, "-c", GROWTH, str(models[BASE]), str(tmp_path / "big"), str(tmp_path / "out")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert size > 200e6
    assert int(done.stdout) < size / 2


@pytest.fixture
def interrupted(models: dict[str, Path], alone: ParallelLayout, tmp_path: Path) -> Path:
    """The source of a conversion to `tmp_path / "target"` that stopped after a few files."""
    source = tmp_path / "source"
    shutil.copytree(models[BASE], source)

    def stop(done: int, _total: int) -> None:
        if done > 100_000:
            raise RuntimeError("stop here")

    with pytest.raises(RuntimeError, match="stop here"):
        convert(source, tmp_path / "target", file_bytes=40_000, report=stop)
    return source


def test_another_source_does_not_go_on_where_the_first_one_was(interrupted: Path, tmp_path: Path) -> None:
    file = interrupted / "model.safetensors"
    file.write_bytes(file.read_bytes())
    message = refused(interrupted, tmp_path / "target", file_bytes=40_000)
    assert "model.safetensors" in message
    assert "config.json" not in message
    shutil.rmtree(tmp_path / ".target.converting")
    convert(interrupted, tmp_path / "target", file_bytes=40_000)


def test_other_settings_do_not_go_on_where_the_first_ones_were(interrupted: Path, tmp_path: Path) -> None:
    assert "--dtype" in refused(interrupted, tmp_path / "target", file_bytes=40_000, dtype="bfloat16")


def test_a_file_that_was_cut_short_is_written_again(interrupted: Path, models: dict[str, Path], tmp_path: Path) -> None:
    part = tmp_path / ".target.converting" / "__0_0.distcp"
    part.write_bytes(part.read_bytes()[:-1])
    convert(interrupted, tmp_path / "target", file_bytes=40_000)
    convert(models[BASE], tmp_path / "expected", file_bytes=40_000)
    assert bytes_of(tmp_path / "target") == bytes_of(tmp_path / "expected")


def test_what_a_kill_leaves_of_the_journal_is_no_part_of_the_target(interrupted: Path, tmp_path: Path) -> None:
    (tmp_path / ".target.converting" / f".{JOURNAL}.0123abcd.tmp").write_text("{")
    convert(interrupted, tmp_path / "target", file_bytes=40_000)
    convert(interrupted, tmp_path / "expected", file_bytes=40_000)
    assert bytes_of(tmp_path / "target") == bytes_of(tmp_path / "expected")


@pytest.mark.parametrize("text", ["{", "[]", '{"settings": {}}', '{"settings": {}, "sources": {}, "finished": [1]}'])
def test_a_damaged_journal_is_named(text: str, interrupted: Path, tmp_path: Path) -> None:
    (tmp_path / ".target.converting" / JOURNAL).write_text(text)
    assert JOURNAL in refused(interrupted, tmp_path / "target", file_bytes=40_000)


def test_two_conversions_to_one_target_are_not_possible(interrupted: Path, tmp_path: Path) -> None:
    lock = RunLock(tmp_path / ".target.converting" / ".converting.lock")
    try:
        assert f"process {os.getpid()}" in refused(interrupted, tmp_path / "target", file_bytes=40_000)
    finally:
        lock.release()
