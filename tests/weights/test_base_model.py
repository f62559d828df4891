"""Where a base model comes from, and what is refused."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import huggingface_hub
import numpy as np
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from rzero_mega.assets import nano_base_path
from rzero_mega.config.schema import ModelConfig
from rzero_mega.errors import UserError
from rzero_mega.weights import base_model
from rzero_mega.weights.base_model import check_model_folder, resolve_base_model
from rzero_mega.weights.hf_folder import write_hf_folder
from rzero_mega.weights.model_copy import link_model
from tests.hf_tensors import own_tensors

HIDDEN, HEADS, KEYS, FEED_FORWARD, LAYERS = 64, 4, 2, 96, 2
WORDS = [*"abcdefghijklmnopqr", "ab", "abc"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that has all that is asked for."""
    target = tmp_path / "model"
    target.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        shutil.copyfile(nano_base_path() / name, target / name)
    return target


@pytest.fixture
def gguf_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package that holds a small Llama as GGUF and can't be imported."""
    package = tmp_path / "site" / "tiny_gguf_model"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('must not be imported')")
    write_gguf(package / "tiny.gguf")
    monkeypatch.syspath_prepend(str(package.parent))
    return package


def write_gguf(path: Path) -> None:
    """A Llama with tied embeddings and Q8_0 matrices."""
    generator = np.random.default_rng(0)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(LAYERS)
    writer.add_context_length(128)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEYS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(WORDS))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(WORDS)
    writer.add_token_merges(["a b", "ab c"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    shapes = {"attn_q": (HIDDEN, HIDDEN), "attn_k": (HIDDEN // 2, HIDDEN), "attn_v": (HIDDEN // 2, HIDDEN)}
    shapes |= {"attn_output": (HIDDEN, HIDDEN), "ffn_gate": (FEED_FORWARD, HIDDEN), "ffn_up": (FEED_FORWARD, HIDDEN)}
    shapes |= {"ffn_down": (HIDDEN, FEED_FORWARD)}
    tensors = {"token_embd.weight": (len(WORDS), HIDDEN)}
    tensors |= {f"blk.{i}.{name}.weight": shape for i in range(LAYERS) for name, shape in shapes.items()}
    for name, shape in tensors.items():
        data = gguf.quants.quantize(generator.normal(size=shape).astype(np.float32), gguf.GGMLQuantizationType.Q8_0)
        writer.add_tensor(name, data, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    for name in ("output_norm", *(f"blk.{i}.{norm}_norm" for i in range(LAYERS) for norm in ("attn", "ffn"))):
        writer.add_tensor(f"{name}.weight", np.ones(HIDDEN, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_a_local_folder_is_taken_as_it_is(folder: Path, tmp_path: Path) -> None:
    assert resolve_base_model(ModelConfig(path=str(folder)), tmp_path / "cache") == folder
    assert not (tmp_path / "cache").exists()


def test_a_shipped_model_is_found_and_loads(tmp_path: Path) -> None:
    found = resolve_base_model(ModelConfig(path="asset:nano_base"), tmp_path)
    assert AutoModelForCausalLM.from_pretrained(found).num_parameters() < 1_000_000


@pytest.mark.parametrize("name", ["nothing", "../rollout", "", "."])
def test_an_asset_that_is_not_shipped_lists_those_that_are(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nano_base"):
        resolve_base_model(ModelConfig(path=f"asset:{name}"), tmp_path)


def test_a_gguf_package_becomes_a_folder_once_without_being_imported(
    gguf_package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    found = resolve_base_model(ModelConfig(path="gguf:tiny-gguf-model"), cache)
    assert "tiny_gguf_model" not in sys.modules
    assert list(cache.iterdir()) == [found]
    monkeypatch.setattr(base_model, "_convert_gguf", lambda source, target: pytest.fail("converted twice"))
    assert resolve_base_model(ModelConfig(path="gguf:tiny_gguf_model"), cache) == found

    model = AutoModelForCausalLM.from_pretrained(found)
    reference = AutoModelForCausalLM.from_pretrained(gguf_package, gguf_file="tiny.gguf", dtype=torch.float32)
    tokens = torch.arange(12)[None]
    assert torch.equal(model(tokens).logits, reference(tokens).logits)
    assert model.dtype == torch.float32
    assert AutoTokenizer.from_pretrained(found).eos_token_id == 1


def test_a_conversion_that_fails_leaves_nothing(gguf_package: Path, tmp_path: Path) -> None:
    (gguf_package / "tiny.gguf").write_bytes(b"not a model")
    with pytest.raises(UserError, match=r"tiny\.gguf"):
        resolve_base_model(ModelConfig(path="gguf:tiny_gguf_model"), tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_two_processes_that_convert_at_once_end_with_one_folder(
    gguf_package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    convert = base_model._convert_gguf

    def and_meanwhile_the_other(source: Path, target: Path) -> None:
        monkeypatch.setattr(base_model, "_convert_gguf", convert)
        convert(source, target)
        resolve_base_model(ModelConfig(path="gguf:tiny_gguf_model"), cache)

    monkeypatch.setattr(base_model, "_convert_gguf", and_meanwhile_the_other)
    found = resolve_base_model(ModelConfig(path="gguf:tiny_gguf_model"), cache)
    assert list(cache.iterdir()) == [found]


@pytest.mark.parametrize("package", ["no_such_package_here", "os.path", "../x", "", "math"])
def test_a_package_that_is_not_there_says_how_to_install(package: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="pip install"):
        resolve_base_model(ModelConfig(path=f"gguf:{package}"), tmp_path)


@pytest.mark.parametrize("count", [0, 2])
def test_a_package_holds_exactly_one_gguf_file(gguf_package: Path, tmp_path: Path, count: int) -> None:
    (gguf_package / "tiny.gguf").unlink()
    for i in range(count):
        (gguf_package / f"model{i}.gguf").touch()
    with pytest.raises(
        UserError, match=r"one \.gguf file.*" + ("none" if count == 0 else r"model0\.gguf, model1\.gguf")
    ):
        resolve_base_model(ModelConfig(path="gguf:tiny_gguf_model"), tmp_path)


@pytest.mark.parametrize("path", ["/no/such/folder", "./none", "~/none-such-here", "a/b/c", "plainname"])
def test_a_missing_folder_is_named(path: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        resolve_base_model(ModelConfig(path=path), tmp_path)


def test_a_hub_name_is_fetched_at_its_revision_and_without_pickles(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, dict[str, Any]]] = []

    def snapshot(name: str, **keys: Any) -> str:
        calls.append((name, keys))
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    assert resolve_base_model(ModelConfig(path="owner/name", revision="v2"), tmp_path) == folder
    name, keys = calls[0]
    assert (name, keys["revision"]) == ("owner/name", "v2")
    assert not any(pattern.endswith((".bin", ".py")) or pattern == "*" for pattern in keys["allow_patterns"])


def test_offline_the_error_says_what_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="hf download owner/none-such"):
        resolve_base_model(ModelConfig(path="owner/none-such"), tmp_path)


@pytest.mark.parametrize(
    ("failure", "message"),
    [(LocalEntryNotFoundError("x"), "hf download"), (OSError("disk full"), "disk full"), (RuntimeError("tls"), "tls")],
)
def test_a_failed_download_is_one_line(
    failure: Exception, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **keys: Any) -> str:
        raise failure

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(UserError, match=message) as caught:
        resolve_base_model(ModelConfig(path="owner/name"), tmp_path)
    assert "\n" not in str(caught.value)


def test_layers_that_predict_further_tokens_are_left_out_and_said(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, tiny_model: Callable[..., Any]
) -> None:
    model = tiny_model("glm4_moe")
    model.save_pretrained(folder)
    tensors = load_file(folder / "model.safetensors") | {"model.layers.2.eh_proj.weight": torch.zeros(48, 96)}
    save_file(tensors, folder / "model.safetensors")
    assert check_model_folder(folder).layers == 2
    assert "predict further tokens are left out (1 tensors)" in caplog.text
    write_hf_folder(tmp_path / "trained", iter(own_tensors(model).items()), folder)
    assert json.loads((tmp_path / "trained" / "config.json").read_text())["num_nextn_predict_layers"] == 0
    say_of(folder, num_nextn_predict_layers=0)
    with pytest.raises(UserError, match="num_hidden_layers is 3 by the tensors, 2 by config"):
        check_model_folder(folder)


def test_what_servers_ask_of_deepseek_s_configuration_is_handed_on_or_refused(
    folder: Path, tmp_path: Path, tiny_model: Callable[..., Any]
) -> None:
    model, asked = (
        tiny_model("deepseek_v3"),
        {"moe_layer_freq": 1, "topk_method": "noaux_tc", "scoring_func": "sigmoid"},
    )
    model.save_pretrained(folder)
    say_of(folder, **asked)
    check_model_folder(folder)
    write_hf_folder(tmp_path / "trained", iter(own_tensors(model).items()), folder)
    link_model(folder, tmp_path / "linked")
    for place in ("trained", "linked"):
        written = json.loads((tmp_path / place / "config.json").read_text())
        assert {key: written[key] for key in asked} == asked
    for key, value in (("moe_layer_freq", 2), ("topk_method", "greedy"), ("scoring_func", "softmax")):
        say_of(folder, **{**asked, key: value})
        with pytest.raises(UserError, match=f"{key}: .* is not supported"):
            check_model_folder(folder)


def say_of(folder: Path, **keys: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | keys))


def spoil(change: str) -> Callable[[Path], object]:
    """One defect of a model folder."""
    return {
        "no config": lambda f: (f / "config.json").unlink(),
        "broken config": lambda f: (f / "config.json").write_text("{"),
        "list config": lambda f: (f / "config.json").write_text("[]"),
        "family": lambda f: (f / "config.json").write_text('{"model_type": "gpt_neox"}'),
        "no weights": lambda f: (f / "model.safetensors").unlink(),
        "pickled": lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"),
        "no tokenizer": lambda f: (f / "tokenizer.json").unlink(),
    }[change]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("no config", "config.json"),
        ("broken config", "config.json"),
        ("list config", "config.json"),
        ("family", "'gpt_neox'.*qwen3, qwen3_moe, qwen2, llama"),
        ("no weights", "put the model's files there"),
        ("pickled", "save_pretrained"),
        ("no tokenizer", "tokenizer"),
    ],
)
def test_an_unusable_folder_is_refused_with_the_remedy(folder: Path, tmp_path: Path, change: str, message: str) -> None:
    spoil(change)(folder)
    with pytest.raises(UserError, match=message) as caught:
        resolve_base_model(ModelConfig(path=str(folder)), tmp_path)
    assert str(folder) in str(caught.value)
