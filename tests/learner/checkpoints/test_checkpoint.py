from __future__ import annotations

import io
import json
import pickle
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed.checkpoint.metadata import BytesStorageMetadata, MetadataIndex, TensorStorageMetadata

from rzero_mega.config.layout import ParallelLayout
from rzero_mega.config.schema import GrpoConfig, LearnerConfig, OptimizerConfig
from rzero_mega.errors import UserError
from rzero_mega.learner.checkpoints import checkpoint
from rzero_mega.learner.checkpoints.conversion.convert import convert
from rzero_mega.learner.checkpoints.shares import optimizer_shares
from rzero_mega.learner.learner import Learner, StepMetrics
from rzero_mega.run.checksums import CHECKSUMS, Checksums, folder_hashes
from tests.learner.buckets import small_buckets
from tests.learner.ranks import Outcome, TrainingCase, rollouts, run_cases

GRPO: dict[str, Any] = {"sequences_per_update": 3}
OPTIMIZER: dict[str, Any] = {"learning_rate": 1e-2, "epsilon": 1e-2}
SETTINGS: dict[str, Any] = {"grpo": GRPO, "optimizer": OPTIMIZER}
VOCABULARY = 61
# Which checkpoint each layout goes on from, and the steps that it does.
RELAY = [
    (None, "tp2", 1, 2),
    ("tp2", "pp2", 3, 3),
    ("pp2", "single", 4, 4),
    ("single", "dp2", 5, 5),
    ("dp2", "tp2-again", 6, 6),
    (None, "moe-ep2", 1, 2),
    ("moe-ep2", "moe-tp2", 3, 3),
    ("moe-tp2", "moe-ep2-again", 4, 4),
    ("moe-ep2-again", "moe-dp2", 5, 5),
    ("moe-dp2", "moe-single", 6, 6),
]
UNDER: dict[str, dict[str, Any]] = {
    "tp2": {"tp": 2},
    "pp2": {"pp": 2},
    "single": {},
    "dp2": {"dp": 2},
    "tp2-again": {"tp": 2},
    "moe-ep2": {"dp": 2, "ep": 2},
    "moe-tp2": {"tp": 2, "sequence_parallel": True},
    "moe-ep2-again": {"dp": 2, "ep": 2},
    "moe-dp2": {"dp": 2},
    "moe-single": {},
}


class Touch:
    """Unpickling it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.fixture(scope="module")
def base(tiny_model: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("base")
    tiny_model("qwen3", vocab_size=VOCABULARY).save_pretrained(folder)
    return folder


def learner(folder: Path, layout: ParallelLayout, dtype: str = "float32") -> Learner:
    settings = LearnerConfig(dtype=dtype, tokens_per_micro_batch=64)
    return Learner(folder, layout, settings, GrpoConfig(**GRPO), OptimizerConfig(**OPTIMIZER), longest_response=30)


def train(policy: Learner, first: int, last: int) -> list[StepMetrics]:
    return [policy.train_step(rollouts(step, VOCABULARY)) for step in range(first, last + 1)]


def weights(policy: Learner) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in policy.export()}


@pytest.fixture(scope="module")
def saved(base: Path, alone: ParallelLayout, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint after two steps; tests that change it take a copy."""
    folder: Path = tmp_path_factory.mktemp("checkpoint")
    policy = learner(base, alone)
    train(policy, 1, 2)
    policy.save(folder, 2)
    return folder


@pytest.fixture
def copy_of_saved(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "copy"))


@pytest.mark.parametrize(("dtype", "elements"), [("float32", 10**9), ("float32", 5_000), ("bfloat16", 5_000)])
def test_a_resumed_learner_equals_an_uninterrupted_one_bit_for_bit(
    dtype: str, elements: int, base: Path, alone: ParallelLayout, tmp_path: Path
) -> None:
    with small_buckets(elements):
        uninterrupted, resumed = learner(base, alone, dtype), learner(base, alone, dtype)
    train(uninterrupted, 1, 2)
    uninterrupted.save(tmp_path, 2)
    assert resumed.load(tmp_path) == 2
    assert all(torch.equal(w, weights(resumed)[name]) for name, w in weights(uninterrupted).items())
    assert train(resumed, 3, 4) == train(uninterrupted, 3, 4)
    assert all(torch.equal(w, weights(resumed)[name]) for name, w in weights(uninterrupted).items())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_optimizer_with_other_weights_than_the_model_s_is_refused(
    dtype: str, base: Path, alone: ParallelLayout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other_weights(optimizer: Any, weights: dict[str, Any]) -> dict[Any, Any]:
        state = optimizer_shares(optimizer, weights)
        for shard in state["param_state"][0]["param"]:
            shard.data = shard.data + 1
        return state

    monkeypatch.setattr(checkpoint, "optimizer_shares", other_weights)
    policy = learner(base, alone, dtype)
    train(policy, 1, 1)
    policy.save(tmp_path, 1)
    before = weights(policy)
    with pytest.raises(UserError, match="the optimizer's main weights are not the model's"):
        policy.load(tmp_path)
    assert all(torch.equal(w, weights(policy)[name]) for name, w in before.items())


def test_the_reference_of_a_resumed_learner_is_still_the_base_model(
    base: Path, alone: ParallelLayout, saved: Path
) -> None:
    resumed = learner(base, alone)
    resumed.load(saved)
    assert train(resumed, 3, 3)[0].kl > 1e-4


def test_the_random_generator_goes_on_where_it_was(base: Path, alone: ParallelLayout, tmp_path: Path) -> None:
    policy = learner(base, alone)
    train(policy, 1, 1)
    torch.manual_seed(11)
    policy.save(tmp_path, 0)
    expected = torch.rand(3)
    torch.manual_seed(12)
    policy.load(tmp_path)
    assert torch.equal(torch.rand(3), expected)


def seal(folder: Path, step: int) -> None:
    """Checksums that agree with the files as they are."""
    (folder / CHECKSUMS).unlink(missing_ok=True)
    Checksums(step, folder_hashes(folder)).write(folder)


def refused(base: Path, layout: ParallelLayout, folder: Path, step: int | None = 2) -> str:
    """The one line with which a checkpoint is refused whose checksums are those of its files, or as they were."""
    if folder.is_dir() and step is not None:
        seal(folder, step)
    with pytest.raises(UserError) as caught:
        learner(base, layout).load(folder)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_code_in_the_metadata_is_refused_and_does_not_run(
    base: Path, alone: ParallelLayout, copy_of_saved: Path, tmp_path: Path
) -> None:
    canary = tmp_path / "canary"
    (copy_of_saved / ".metadata").write_bytes(pickle.dumps(Touch(canary)))
    message = refused(base, alone, copy_of_saved)
    assert ".metadata" in message
    assert "pathlib.Path" in message
    assert not canary.exists()


def call_by_name(module: str, name: str, argument: str) -> bytes:
    """A pickle of protocol 4 that calls module.name(argument); `name` may be a dotted path."""

    def text(value: str) -> bytes:
        return b"\x8c" + struct.pack("<B", len(value)) + value.encode()

    return b"\x80\x04" + text(module) + text(name) + b"\x93" + text(argument) + b"\x85R."


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("torch.distributed.checkpoint.metadata", "os.system"),
        ("torch.distributed.checkpoint.metadata", "torch.os.system"),
        ("torch.distributed.checkpoint.filesystem", "os.system"),
        ("torch.serialization", "os.system"),
        ("torch", "float32.__class__"),
        ("posix", "system"),
    ],
)
def test_functions_reached_through_an_innocent_module_are_refused_and_do_not_run(
    module: str, name: str, base: Path, alone: ParallelLayout, copy_of_saved: Path, tmp_path: Path
) -> None:
    canary = tmp_path / "canary"
    (copy_of_saved / ".metadata").write_bytes(call_by_name(module, name, f"touch {canary}"))
    message = refused(base, alone, copy_of_saved)
    assert ".metadata" in message
    assert f"{module}.{name}" in message
    assert not canary.exists()


def test_code_in_the_common_state_is_refused_and_does_not_run(
    base: Path, alone: ParallelLayout, copy_of_saved: Path, tmp_path: Path
) -> None:
    canary = tmp_path / "canary"
    torch.save({"step": 2, "surprise": Touch(canary)}, copy_of_saved / "common.pt")
    assert "common.pt" in refused(base, alone, copy_of_saved)
    assert not canary.exists()


def test_a_common_state_in_the_format_of_old_pickles_is_refused(
    base: Path, alone: ParallelLayout, copy_of_saved: Path, tmp_path: Path
) -> None:
    canary = tmp_path / "canary"
    (copy_of_saved / "common.pt").write_bytes(pickle.dumps(Touch(canary)))
    assert "common.pt" in refused(base, alone, copy_of_saved)
    assert not canary.exists()


def test_code_among_the_tensors_is_refused_and_does_not_run(
    base: Path, alone: ParallelLayout, copy_of_saved: Path, tmp_path: Path
) -> None:
    """Torch's planner unpickles without restriction what the metadata does not call a tensor."""
    canary = tmp_path / "canary"
    metadata = pickle.loads((copy_of_saved / ".metadata").read_bytes())
    where = next(index for index in metadata.storage_data if index.fqn == "decoder.final_layernorm.weight")
    hostile = io.BytesIO()
    torch.save(Touch(canary), hostile)
    info = metadata.storage_data.pop(where)
    data = copy_of_saved / info.relative_path
    info.offset, info.length = data.stat().st_size, len(hostile.getvalue())
    with data.open("ab") as file:
        file.write(hostile.getvalue())
    metadata.storage_data[MetadataIndex(where.fqn)] = info
    metadata.state_dict_metadata[where.fqn] = BytesStorageMetadata()
    (copy_of_saved / ".metadata").write_bytes(pickle.dumps(metadata))
    assert where.fqn in refused(base, alone, copy_of_saved)
    assert not canary.exists()


def test_a_checkpoint_holds_tensors_and_no_pickles_of_modules(saved: Path) -> None:
    metadata = pickle.loads((saved / ".metadata").read_bytes())
    assert all(isinstance(entry, TensorStorageMetadata) for entry in metadata.state_dict_metadata.values())


def test_a_data_file_outside_the_folder_is_refused(base: Path, alone: ParallelLayout, copy_of_saved: Path) -> None:
    metadata = pickle.loads((copy_of_saved / ".metadata").read_bytes())
    info = next(iter(metadata.storage_data.values()))
    (copy_of_saved / info.relative_path).rename(copy_of_saved.parent / "elsewhere")
    for info in metadata.storage_data.values():
        info.relative_path = "../elsewhere"
    (copy_of_saved / ".metadata").write_bytes(pickle.dumps(metadata))
    assert "../elsewhere" in refused(base, alone, copy_of_saved)


@pytest.mark.parametrize("file", [".metadata", "common.pt", "metadata.json", "__0_0.distcp"])
def test_a_missing_file_is_named(file: str, base: Path, alone: ParallelLayout, copy_of_saved: Path) -> None:
    (copy_of_saved / file).unlink()
    assert file in refused(base, alone, copy_of_saved)


@pytest.mark.parametrize("file", [".metadata", "common.pt", "metadata.json", "__0_0.distcp"])
def test_a_file_cut_short_is_named(file: str, base: Path, alone: ParallelLayout, copy_of_saved: Path) -> None:
    path = copy_of_saved / file
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert file in refused(base, alone, copy_of_saved)


def test_a_folder_that_is_not_there_is_named(base: Path, alone: ParallelLayout, tmp_path: Path) -> None:
    assert "nothing-here" in refused(base, alone, tmp_path / "nothing-here")


def test_another_storage_format_is_refused(base: Path, alone: ParallelLayout, copy_of_saved: Path) -> None:
    path = copy_of_saved / "metadata.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "sharded_backend": "zarr"}))
    assert "metadata.json" in refused(base, alone, copy_of_saved)


@pytest.mark.parametrize(
    ("keys", "difference"),
    [
        ({"hidden_size": 32}, "hidden is 48 there, 32 here"),
        ({"vocab_size": 40}, "vocab is 61 there, 40 here"),
        ({"num_hidden_layers": 3}, "layers is 2 there, 3 here"),
        ({"intermediate_size": 64}, "ffn is 80 there, 64 here"),
        ({"tie_word_embeddings": True}, "tied is False there, True here"),
    ],
)
def test_a_checkpoint_of_another_model_is_refused_and_the_difference_named(
    keys: dict[str, Any],
    difference: str,
    alone: ParallelLayout,
    saved: Path,
    tiny_model: Callable[..., Any],
    tmp_path: Path,
) -> None:
    tiny_model("qwen3", **{"vocab_size": VOCABULARY, **keys}).save_pretrained(tmp_path)
    assert difference in refused(tmp_path, alone, saved)


def test_weights_without_moments_are_refused_as_such(base: Path, alone: ParallelLayout, tmp_path: Path) -> None:
    convert(base, tmp_path / "converted")
    message = refused(base, alone, tmp_path / "converted")
    assert str(tmp_path / "converted") in message and "no optimizer moments" in message


def test_a_moment_that_is_missing_is_named(base: Path, alone: ParallelLayout, copy_of_saved: Path) -> None:
    metadata = pickle.loads((copy_of_saved / ".metadata").read_bytes())
    moment = "optimizer.state.exp_avg_sq.decoder.final_layernorm.weight"
    del metadata.state_dict_metadata[moment]
    (copy_of_saved / ".metadata").write_bytes(pickle.dumps(metadata))
    assert moment in refused(base, alone, copy_of_saved)


@pytest.mark.parametrize("key", ["step", "torch_rng", "optimizer"])
def test_a_missing_part_of_the_common_state_is_refused(
    key: str, base: Path, alone: ParallelLayout, copy_of_saved: Path
) -> None:
    common = torch.load(copy_of_saved / "common.pt", weights_only=True)
    del common[key]
    torch.save(common, copy_of_saved / "common.pt")
    message = refused(base, alone, copy_of_saved)
    assert str(copy_of_saved) in message
    assert key in message


def test_a_tensor_whose_stored_shape_differs_is_named(base: Path, alone: ParallelLayout, copy_of_saved: Path) -> None:
    metadata = pickle.loads((copy_of_saved / ".metadata").read_bytes())
    metadata.state_dict_metadata["decoder.final_layernorm.weight"].size = torch.Size([47])
    (copy_of_saved / ".metadata").write_bytes(pickle.dumps(metadata))
    assert "decoder.final_layernorm.weight" in refused(base, alone, copy_of_saved)


def test_a_tensor_that_is_missing_is_named(base: Path, alone: ParallelLayout, copy_of_saved: Path) -> None:
    metadata = pickle.loads((copy_of_saved / ".metadata").read_bytes())
    del metadata.state_dict_metadata["decoder.final_layernorm.weight"]
    (copy_of_saved / ".metadata").write_bytes(pickle.dumps(metadata))
    assert "decoder.final_layernorm.weight" in refused(base, alone, copy_of_saved)


def test_damaged_data_is_refused(base: Path, alone: ParallelLayout, copy_of_saved: Path) -> None:
    path = copy_of_saved / "__0_0.distcp"
    path.write_bytes(bytes(path.stat().st_size))
    assert str(copy_of_saved) in refused(base, alone, copy_of_saved)


@pytest.mark.parametrize("file", [".metadata", "common.pt", "metadata.json", "__0_0.distcp", CHECKSUMS])
def test_one_other_bit_in_a_file_is_noticed_before_it_is_loaded(
    file: str, base: Path, alone: ParallelLayout, copy_of_saved: Path
) -> None:
    path = copy_of_saved / file
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert str(copy_of_saved) in refused(base, alone, copy_of_saved, step=None)


def test_a_file_too_many_and_checksums_that_are_missing_are_named(
    base: Path, alone: ParallelLayout, copy_of_saved: Path
) -> None:
    (copy_of_saved / "__9_0.distcp").write_bytes(b"")
    assert "__9_0.distcp: does not belong there" in refused(base, alone, copy_of_saved, step=None)
    (copy_of_saved / CHECKSUMS).unlink()
    assert "checksums.json: is missing" in refused(base, alone, copy_of_saved, step=None)


def test_checksums_of_another_step_are_refused(base: Path, alone: ParallelLayout, copy_of_saved: Path) -> None:
    assert "is of step 2, and its checksums are of step 1" in refused(base, alone, copy_of_saved, step=1)


@pytest.fixture(scope="module")
def resharded(
    base: Path, tiny_model: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Outcome]:
    """Six steps in a row; and six under several layouts in turn. The same with experts."""
    folder = tmp_path_factory.mktemp("resharded")
    tiny_model("qwen3_moe", vocab_size=VOCABULARY).save_pretrained(folder / "moe")
    cases = [
        TrainingCase("uninterrupted", str(base), last=6, **SETTINGS),
        TrainingCase("moe-uninterrupted", str(folder / "moe"), last=6, **SETTINGS),
    ]
    for previous, name, first, last in RELAY:
        (folder / f"{name}-saved").mkdir()
        model = folder / "moe" if name.startswith("moe") else base
        load = str(folder / f"{previous}-saved") if previous else None
        save = str(folder / f"{name}-saved")
        cases.append(
            TrainingCase(name, str(model), first=first, last=last, load=load, save=save, **UNDER[name], **SETTINGS)
        )
    cases.append(TrainingCase("hostile", str(base), pp=2, first=3, load=str(hostile_twin(folder)), **SETTINGS))
    return run_cases(cases, folder)


def hostile_twin(folder: Path) -> Path:
    twin = folder / "hostile"
    twin.mkdir()
    (twin / ".metadata").write_bytes(pickle.dumps(Touch(folder / "canary")))
    (twin / "metadata.json").write_text(json.dumps({"sharded_backend": "torch_dist"}))
    torch.save({}, twin / "common.pt")
    seal(twin, 2)
    return twin


@pytest.mark.gloo
@pytest.mark.parametrize(
    ("previous", "name", "first"), [(saved, name, first) for saved, name, first, _ in RELAY if saved]
)
def test_a_checkpoint_goes_on_under_another_layout_with_its_moments(
    previous: str, name: str, first: int, resharded: dict[str, Outcome]
) -> None:
    found, saved = resharded[name], resharded[previous]
    expected = resharded["moe-uninterrupted" if name.startswith("moe") else "uninterrupted"]
    for ours, theirs in zip(found.scores_before, saved.scores_after, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-5)
    for step, metrics in enumerate(found.metrics, start=first):
        for key, value in expected.metrics[step - 1].items():
            assert metrics[key] == pytest.approx(value, abs=1e-5, rel=1e-5), f"step {step}: {key}"


@pytest.mark.gloo
@pytest.mark.parametrize(("last", "expected"), [("tp2-again", "uninterrupted"), ("moe-single", "moe-uninterrupted")])
def test_weights_trained_under_one_layout_after_the_other_equal_those_of_one_process(
    last: str, expected: str, resharded: dict[str, Outcome]
) -> None:
    for name, weight in resharded[expected].weights.items():
        torch.testing.assert_close(resharded[last].weights[name], weight, atol=1e-5, rtol=0, msg=name)


@pytest.mark.gloo
def test_all_ranks_refuse_a_hostile_checkpoint(resharded: dict[str, Outcome]) -> None:
    assert ".metadata" in (resharded["hostile"].error or "")
