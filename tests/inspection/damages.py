"""Ways in which a model's folder is damaged, hostile, or unusual and right: each changes a copy of the nano base."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

CONFIG, GENERATION, TOKENIZER, TOKENIZER_CONFIG = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
)
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
FIRST = "model-00001-of-00002.safetensors"
EMBEDDING, NORM = "model.embed_tokens.weight", "model.norm.weight"
CHATML = (
    "{% for m in messages %}{{ '⟨' + m.role + '⟩\n' + m.content + '⟨eos⟩\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '⟨assistant⟩\n' }}{% endif %}"
)

Change = Callable[[Path], object]


@dataclass(frozen=True)
class Damage:
    """`words` are what the one line says; None where the folder works as if nothing had been done to it."""

    name: str
    change: Change
    words: str | None


def config(**keys: Any) -> Change:
    return lambda folder: merge(folder / CONFIG, keys)


def generation(**keys: Any) -> Change:
    return lambda folder: merge(folder / GENERATION, keys)


def tokenizer_config(**keys: Any) -> Change:
    return lambda folder: merge(folder / TOKENIZER_CONFIG, keys)


def template(text: str) -> Change:
    return lambda folder: (folder / "chat_template.jinja").write_text(text, encoding="utf-8")


def merge(path: Path, keys: dict[str, Any]) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **keys}), encoding="utf-8")


def without(name: str, key: str) -> Change:
    def change(folder: Path) -> None:
        found = json.loads((folder / name).read_text(encoding="utf-8"))
        del found[key]
        (folder / name).write_text(json.dumps(found), encoding="utf-8")

    return change


def written(name: str, data: str | bytes) -> Change:
    return lambda folder: (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())


def gone(name: str) -> Change:
    return lambda folder: (folder / name).unlink()


def fifo(name: str) -> Change:
    def change(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)

    return change


def link(name: str, target: str) -> Change:
    def change(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(target)

    return change


def folder_named(name: str) -> Change:
    def change(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).mkdir()

    return change


def both(*changes: Change) -> Change:
    def change(folder: Path) -> None:
        for one in changes:
            one(folder)

    return change


def header(change: Callable[[dict[str, Any]], object]) -> Change:
    """Change the safetensors header, data as it was."""

    def apply(folder: Path) -> None:
        raw = (folder / SINGLE).read_bytes()
        length = struct.unpack("<Q", raw[:8])[0]
        found = json.loads(raw[8 : 8 + length])
        change(found)
        text = json.dumps(found).encode()
        (folder / SINGLE).write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + length :])

    return apply


def raw_header(text: bytes, length: int | None = None) -> Change:
    def apply(folder: Path) -> None:
        size = len(text) if length is None else length
        (folder / SINGLE).write_bytes(struct.pack("<Q", size) + text)

    return apply


def weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Change:
    """Write the tensors anew after a change."""

    def apply(folder: Path) -> None:
        tensors = load_file(folder / SINGLE)
        change(tensors)
        save_file(tensors, folder / SINGLE)

    return apply


def tensors(**changes: torch.Tensor) -> Change:
    return weights(lambda found: found.update({name.replace("__", "."): value for name, value in changes.items()}))


def in_two_files(index: Callable[[dict[str, str]], object] = lambda _: None, keep_single: bool = False) -> Change:
    """The same model as two files with an index, which `index` may change."""

    def apply(folder: Path) -> None:
        found = load_file(folder / SINGLE)
        names = sorted(found)
        files = {name: f"model-0000{1 + (name > names[20])}-of-00002.safetensors" for name in names}
        for file in set(files.values()):
            save_file({name: found[name] for name in names if files[name] == file}, folder / file)
        if not keep_single:
            (folder / SINGLE).unlink()
        index(files)
        (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": files}), encoding="utf-8")

    return apply


def cached_by_the_hub(folder: Path) -> None:
    """As the hub's cache has it: links of a revision's folder into `blobs`. The folder itself becomes a link."""
    cache = folder.with_name("models--owner--name")
    snapshot = cache / "snapshots" / "0123abcd"
    snapshot.mkdir(parents=True)
    (cache / "blobs").mkdir()
    for number, file in enumerate(sorted(folder.iterdir())):
        file.rename(cache / "blobs" / f"blob{number}")
        (snapshot / file.name).symlink_to(f"../../blobs/blob{number}")
    folder.rmdir()
    folder.symlink_to(snapshot)


def tokens(change: Callable[[dict[str, Any]], object]) -> Change:
    def apply(folder: Path) -> None:
        found = json.loads((folder / TOKENIZER).read_text(encoding="utf-8"))
        change(found)
        (folder / TOKENIZER).write_text(json.dumps(found), encoding="utf-8")

    return apply


def add_token(found: dict[str, Any], number: int) -> None:
    entry = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    found["added_tokens"].append({"id": number, "content": "⟨more⟩", **entry})


def endless(folder: Path) -> None:
    for name, key in ((CONFIG, "eos_token_id"), (GENERATION, "eos_token_id"), (TOKENIZER_CONFIG, "eos_token")):
        without(name, key)(folder)


def further_template(folder: Path) -> None:
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "rag.jinja").write_text(CHATML, encoding="utf-8")


def layers_as_written(number: str) -> Change:
    return written(CONFIG, '{"model_type": "qwen3", "num_hidden_layers": ' + number + "}")


def rope(**keys: Any) -> Change:
    return config(rope_parameters={"rope_type": "default", "rope_theta": 1e4, **keys})


def quantised(method: str, **keys: Any) -> Change:
    return config(quantization_config={"quant_method": method, **keys})


def templates(**by_name: str) -> Change:
    return tokenizer_config(chat_template=[{"name": name, "template": text} for name, text in by_name.items()])


def indexed(file: str, name: str = NORM) -> Change:
    """Two files whose index has this one tensor elsewhere."""
    return in_two_files(lambda files: files.update({name: file}))


def tie(found: dict[str, torch.Tensor]) -> None:
    found["lm_head.weight"] = found[EMBEDDING].clone()


def split_at(name: str, offset: int) -> Callable[[dict[str, Any]], object]:
    """Move a tensor's offsets in the header."""

    def change(found: dict[str, Any]) -> None:
        start, stop = found[name]["data_offsets"]
        found[name]["data_offsets"] = [start + offset, stop + offset]

    return change


def set_entry(name: str, **keys: Any) -> Change:
    return header(lambda found: found[name].update(keys))


OF_CONFIG = [
    Damage("a config that is empty", written(CONFIG, ""), "config.json: not readable as JSON"),
    Damage("a config that is binary", written(CONFIG, b"\x80\x02}q\x00."), "config.json: not readable as JSON"),
    Damage("a config with a byte order mark", written(CONFIG, b"\xef\xbb\xbf{}"), "config.json: not readable as JSON"),
    Damage("a config that is a list", written(CONFIG, "[]"), "config.json: holds no JSON object"),
    Damage("a config that is cut short", written(CONFIG, '{"model_type": "qw'), "config.json: not readable as JSON"),
    Damage("a config 100,000 lists deep", written(CONFIG, "[" * 100_000), "config.json: not readable as JSON"),
    Damage("a config with 80 lists in it", config(x=json.loads("[" * 80 + "]" * 80)), "nested deeper than 64"),
    Damage("a config with a key twice", written(CONFIG, '{"model_type": "qwen3", "model_type": "llama"}'), "twice"),
    Damage("a config with NaN", config(rms_norm_eps=float("nan")), "NaN is no number"),
    Damage("a config with 1e999", written(CONFIG, '{"model_type": "qwen3", "rms_norm_eps": 1e999}'), "too large"),
    Damage("a config of 17 MB", written(CONFIG, b" " * (17 << 20)), "at most"),
    Damage("no config", gone(CONFIG), "no config.json"),
    Damage("no model_type", without(CONFIG, "model_type"), "model_type: missing"),
    Damage("a model_type that is a list", config(model_type=["qwen3"]), "model_type: missing"),
    Damage("another family", config(model_type="gpt2"), "'gpt2' is not supported"),
    Damage("another architecture", config(architectures=["Qwen3ForSequenceClassification"]), "architectures"),
    Damage("an architecture that is a number", config(architectures=3), "architectures"),
    Damage("10^400 layers", layers_as_written("9" * 400), "num_hidden_layers"),
    Damage("10^5000 layers", layers_as_written("9" * 5000), "JSON"),
    Damage("a thousand million layers", config(num_hidden_layers=10**9, layer_types=None), "num_hidden_layers"),
    Damage("true layers", config(num_hidden_layers=True), "num_hidden_layers: True"),
    Damage("layers in words", config(num_hidden_layers="four"), "num_hidden_layers: 'four'"),
    Damage("half a layer", config(num_hidden_layers=3.5), "num_hidden_layers: 3.5"),
    Damage("less layers than tensors", config(num_hidden_layers=3, layer_types=None), "num_hidden_layers is 4 by the"),
    Damage("more layers than tensors", config(num_hidden_layers=5, layer_types=None), "num_hidden_layers is 4 by the"),
    Damage("a width that is not the tensors'", config(hidden_size=256), "model.embed_tokens.weight is (104, 128)"),
    Damage("an MLP that is not the tensors'", config(intermediate_size=512), "mlp"),
    Damage("head_dim 0", config(head_dim=0), "head_dim: 0"),
    Damage("head_dim below 0", config(head_dim=-32), "head_dim: -32"),
    Damage("no heads", config(num_attention_heads=0), "num_attention_heads: 0"),
    Damage("key-value heads that do not divide", config(num_key_value_heads=3), "num_key_value_heads"),
    Damage("a vocabulary that is not the tensors'", config(vocab_size=100), "is (104, 128)"),
    Damage("an epsilon of 0", config(rms_norm_eps=0), "rms_norm_eps"),
    Damage("an epsilon in words", config(rms_norm_eps="small"), "config.json"),
    Damage("rope that is a list", config(rope_parameters=[1]), "config.json"),
    Damage("rope that is scaled", rope(rope_type="yarn", factor=4.0), "yarn"),
    Damage("a base of rope that is 0", rope(rope_theta=0.0), "rope_theta"),
    Damage("sliding windows", config(layer_types=["sliding_attention"] * 4), "layer_types"),
    Damage("a dtype that there is not", config(dtype="bananas"), "bananas"),
    Damage("two dtypes", config(torch_dtype="float16"), None),
    Damage("an eos beyond the vocabulary", config(eos_token_id=104), "eos_token_id: 104 is none of the 104"),
    Damage("an eos in words", config(eos_token_id="end"), "eos_token_id"),
    Damage("an eos in a list in a list", config(eos_token_id=[[1]]), "eos_token_id"),
    Damage("a million eos", config(eos_token_id=[1] * 1_000_000), "eos_token_id"),
    Damage("a padding beyond the vocabulary", config(pad_token_id=151643), "pad_token_id"),
    Damage("no padding, as -1", config(pad_token_id=-1), None),
    Damage("a kernel by name", config(_attn_implementation="org/kernel"), None),
    Damage("a kernel by its other name", config(attn_implementation="org/kernel"), None),
    Damage("a kernel by its inner name", config(_attn_implementation_internal="org/kernel"), None),
    Damage("experts by name", config(_experts_implementation="org/kernel"), None),
    Damage("code by auto_map", config(auto_map={"AutoModelForCausalLM": "evil.Model", "AutoConfig": "evil.C"}), None),
    Damage("a configuration within", config(text_config={"num_hidden_layers": 1}), None),
    Damage("tuples instead of objects", config(return_dict=False, output_hidden_states=True), None),
    Damage("no cache", config(use_cache=False), None),
    Damage("dropout", config(attention_dropout=0.9), None),
    Damage("blockwise FP8", quantised("fp8", weight_block_size=[128, 128]), "quantization_config"),
    Damage("bitsandbytes", quantised("bitsandbytes", load_in_4bit=True), "quantization_config"),
    Damage("a quantisation that is a number", config(quantization_config=1), "quantization_config"),
    Damage("compressed tensors", config(compression_config={"format": "pack"}), "compression_config"),
    Damage("a quantisation of ModelOpt", written("hf_quant_config.json", "{}"), "hf_quant_config.json"),
    Damage("a quantisation of GPTQ", written("quantize_config.json", "{}"), "quantize_config.json"),
    Damage("an adapter", written("adapter_config.json", '{"base_model_name_or_path": "/etc"}'), "merge it"),
]  # fmt: skip

OF_WEIGHTS = [
    Damage("no weights", gone(SINGLE), "no safetensors"),
    Damage("pickled weights", both(gone(SINGLE), written("pytorch_model.bin", b"\x80\x04.")), "save_pretrained"),
    Damage("empty weights", written(SINGLE, b""), "not readable as safetensors"),
    Damage("seven bytes of weights", written(SINGLE, b"1234567"), "not readable as safetensors"),
    Damage("a header longer than the file", raw_header(b"{}", 10**6), "its header has 1000000 bytes"),
    Damage("a header of 2^64 - 1 bytes", raw_header(b"{}", 2**64 - 1), "its header has"),
    Damage("a header that is no JSON", raw_header(b"model!"), "not readable as safetensors"),
    Damage("a header that is a list", raw_header(b"[]"), "no JSON object"),
    Damage("a header that is not UTF-8", raw_header(b"\xff\xfe{}"), "not readable as safetensors"),
    Damage("a header a million lists deep", raw_header(b"[" * 1_000_000), "not readable as safetensors"),
    Damage("a header without tensors", raw_header(b"{}"), "is missing"),
    Damage("a tensor that is a number", header(lambda h: h.update({NORM: 3})), "lacks dtype"),
    Damage("a tensor without a shape", header(lambda h: h[NORM].pop("shape")), "lacks dtype"),
    Damage("an unknown dtype", set_entry(NORM, dtype="F4"), "dtype F4 is not supported"),
    Damage("a dtype that is a list", set_entry(NORM, dtype=["F32"]), "is not supported"),
    Damage("a shape below 0", set_entry(NORM, shape=[-128]), "whole numbers"),
    Damage("a shape of halves", set_entry(NORM, shape=[12.5]), "whole numbers"),
    Damage("a shape of 2^63", set_entry(NORM, shape=[2**63]), "whole numbers"),
    Damage("a shape of a thousand dimensions", set_entry(NORM, shape=[1] * 1000), "whole numbers"),
    Damage("a shape that is larger than its bytes", set_entry(NORM, shape=[256]), "its data_offsets say 512"),
    Damage("offsets that overlap", header(split_at(NORM, -4)), "begins at byte"),
    Damage("offsets beyond the file", header(split_at(NORM, 1 << 40)), "begins at byte"),
    Damage("offsets in reverse", set_entry(NORM, data_offsets=[512, 0]), "data_offsets say -512"),
    Damage("three offsets", set_entry(NORM, data_offsets=[0, 512, 512]), "lacks dtype"),
    Damage("weights cut short", lambda f: os.truncate(f / SINGLE, 3_000_000), "cut short"),
    Damage("weights with a tail", lambda f: (f / SINGLE).open("ab").write(b"tail"), "cut short"),
    Damage("a tensor that is missing", weights(lambda t: t.pop(NORM)), f"{NORM} is missing"),
    Damage("a tensor too many", tensors(model__score=torch.zeros(2)), "model.score is unknown"),
    Damage("a tensor of another shape", tensors(model__norm__weight=torch.ones(64)), f"{NORM} is (64,)"),
    Damage("a tensor of integers", tensors(model__norm__weight=torch.ones(128, dtype=torch.int8)), "int8"),
    Damage("a tensor in FP8", tensors(model__norm__weight=torch.ones(128).to(torch.float8_e4m3fn)), "float8_e4m3fn"),
    Damage("scales of FP8", tensors(model__norm__weight_scale_inv=torch.ones(1)), "weight_scale_inv is unknown"),
    Damage("an output that differs from the embedding", tensors(lm_head__weight=torch.zeros(104, 128)), "lm_head"),
    Damage("an output that is the embedding", weights(tie), None),
    Damage("an output that is missing", config(tie_word_embeddings=False), "lm_head.weight is missing"),
    Damage("old frequencies of rope", tensors(model__rotary_emb__inv_freq=torch.ones(16)), None),
    Damage("two files with an index", in_two_files(), None),
    Damage("a single file and an index of others", in_two_files(keep_single=True), "remove the one or the other"),
    Damage("an index that lacks a tensor", in_two_files(lambda m: m.pop(NORM)), f"{NORM} is in"),
    Damage("an index with a tensor too many", indexed(FIRST, "ghost"), "ghost is not in"),
    Damage("an index with a tensor elsewhere", indexed(FIRST), f"{NORM} is in"),
    Damage("an index that names a file that is missing", indexed("model-00003.safetensors"), "model-00003"),
    Damage("an index that leads outside", indexed("../evil.safetensors"), "not a file name"),
    Damage("an index that leads to a root", indexed("/etc/passwd"), "not a file name"),
    Damage("an index that names a pickle", indexed("pytorch_model.bin"), "no safetensors file"),
    Damage("an index that is a list", both(gone(SINGLE), written(INDEX, "[]")), f"{INDEX}: holds no JSON object"),
    Damage("an index without a map", both(gone(SINGLE), written(INDEX, "{}")), f"{INDEX}: not readable as an index"),
    Damage("an index of the one file", written(INDEX, json.dumps({"weight_map": {"a": SINGLE}})), "a is not in"),
    Damage("a link out of the folder", link(SINGLE, "/etc/passwd"), "outside the model's folder"),
    Damage("weights that are a pipe", fifo(SINGLE), "not a regular file"),
    Damage("weights that are /dev/zero", link(SINGLE, "/dev/zero"), "outside the model's folder"),
    Damage("weights that are a folder", folder_named(SINGLE), "not a regular file"),
    Damage("a link that leads nowhere", link(SINGLE, "nowhere"), "not readable"),
    Damage("a link to itself", link(SINGLE, SINGLE), "not readable"),
    Damage("a link within the folder", both(lambda f: (f / SINGLE).rename(f / "blob"), link(SINGLE, "blob")), None),
    Damage("the hub's cache", cached_by_the_hub, None),
]  # fmt: skip

CUT = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
FORMATS = ("pth", "onnx", "h5", "msgpack", "gguf", "pt", "pkl", "bin")
NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
RECURSION = "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"
GROWTH = "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}"
LLAMAS_DATE = (
    "{% if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}{{ date_string }}"
)
LOOP = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
OF_TOKENIZER = [
    Damage("no tokenizer", both(gone(TOKENIZER), gone(TOKENIZER_CONFIG)), "no tokenizer"),
    Damage("a tokenizer that is no JSON", written(TOKENIZER, "{"), "tokenizer.json: not readable as JSON"),
    Damage("a tokenizer that is empty", written(TOKENIZER, "{}"), "tokenizer"),
    Damage("a tokenizer of another kind", tokens(lambda t: t["model"].update(type="Banana")), "tokenizer"),
    Damage("a tokenizer without its model", tokens(lambda t: t.pop("model")), "tokenizer"),
    Damage("a tokenizer that is deep", tokens(lambda t: t.update(x=json.loads("[" * 80 + "]" * 80))), "nested deeper"),
    Damage("a token beyond the vocabulary", tokens(lambda t: add_token(t, 104)), "the model has 104 tokens"),
    Damage("a token far beyond the vocabulary", tokens(lambda t: add_token(t, 2**31)), "tokenizer"),
    Damage("a tokenizer_config that is no JSON", written(TOKENIZER_CONFIG, "{"), "tokenizer_config.json: not readable"),
    Damage("a tokenizer_config that is a list", written(TOKENIZER_CONFIG, "[]"), "tokenizer_config.json: holds no"),
    Damage("a tokenizer_config that is not UTF-8", written(TOKENIZER_CONFIG, b'{"a": "\xff"}'), "utf-8"),
    Damage("a class of tokenizers that there is not", tokenizer_config(tokenizer_class="Banana"), None),
    Damage("an eos that is a number", tokenizer_config(eos_token=1), "tokenizer"),
    Damage("a tokenizer by auto_map", tokenizer_config(auto_map={"AutoTokenizer": ["evil.T", None]}), None),
    Damage("added tokens that are no JSON", written("added_tokens.json", "{"), "added_tokens.json"),
    Damage("special tokens that are a list", written("special_tokens_map.json", "[]"), "special_tokens_map.json"),
    Damage("a tokenizer that is a pipe", fifo(TOKENIZER), "tokenizer.json: not a regular file"),
    Damage("a tokenizer that is a secret", link(TOKENIZER, "/etc/passwd"), "outside the model's folder"),
    Damage("a generation_config that is no JSON", written(GENERATION, "{"), "generation_config.json: not readable"),
    Damage("a generation_config that is a list", written(GENERATION, "[]"), "generation_config.json: holds no"),
    Damage("a temperature in words", generation(temperature="hot"), None),
    Damage("a stop beyond the vocabulary", generation(eos_token_id=[1, 151645]), "eos_token_id: 151645"),
    Damage("a stop below 0", generation(eos_token_id=-1), "eos_token_id: -1"),
    Damage("no generation_config", gone(GENERATION), None),
    Damage("nothing that ends a sample", endless, "nothing ends a sample"),
    Damage("a tokenizer elsewhere", tokenizer_config(tokenizer_file="/etc/passwd", vocab_file="/etc/passwd"), None),
    Damage("a tokenizer of another version", tokenizer_config(fast_tokenizer_files=["../x.json"]), None),
    Damage("a token to add beyond", tokenizer_config(added_tokens_decoder={"999": {"content": "⟨x⟩"}}), "104 tokens"),
    Damage("tokens to add that are a list", tokenizer_config(added_tokens_decoder=[1]), "tokenizer"),
    Damage("tokens to add in words", tokenizer_config(added_tokens_decoder={"one": {"content": "x"}}), "tokenizer"),
    Damage("special tokens in a number", tokenizer_config(extra_special_tokens=3), "tokenizer"),
    Damage("padding to all sides", tokenizer_config(padding_side="up"), "tokenizer"),
    Damage("a length of no tokens", tokenizer_config(model_max_length=0), None),
    Damage("a tokenizer that cuts", tokens(lambda t: t.update(truncation=CUT)), None),
    Damage("further templates in a folder", further_template, "none is named default"),
    Damage("a vocabulary that is a pipe", fifo("vocab.json"), "vocab.json: not a regular file"),
    Damage("merges that are a link to themselves", link("merges.txt", "merges.txt"), "merges.txt: not readable"),
    Damage("a template that is right", template(CHATML), None),
    Damage("a template with a syntax error", template("{% for m in messages %}"), "chat template"),
    Damage("a template with an unknown filter", template("{{ messages | banana }}"), "chat template"),
    Damage("a template that refuses system", template(NO_SYSTEM + CHATML), "no system role"),
    Damage("a template that divides by 0", template("{{ 1 // 0 }}"), "chat template"),
    Damage("a template that calls itself", template(RECURSION), "chat template"),
    Damage("a template that says nothing", template("{# #}"), "empty prompt"),
    Damage("a template that reaches for classes", template("{{ messages.__class__.x }}" + CHATML), "chat template"),
    Damage("a template that loops", template(LOOP), "of its lines"),
    Damage("a template that takes memory", template("{{ 'x' * (10 ** 10) }}"), "memory"),
    Damage("a template that grows", template(GROWTH), "memory"),
    Damage("a template with today's date", template("{{ strftime_now('%Y-%m-%d') }}" + CHATML), "each day"),
    Damage("a template that draws lots", template("{{ range(99999) | random }}" + CHATML), "each time"),
    Damage("a template of random words", template("{{ lipsum(1, False) }}" + CHATML), "each time"),
    Damage("Llama's date", template(LLAMAS_DATE + CHATML), None),
    Damage("several templates without default", templates(rag=CHATML, tool_use=CHATML), "none is named default"),
    Damage("several templates", templates(default=CHATML, rag=LOOP), None),
    Damage("a template that is a number", tokenizer_config(chat_template=7), "chat template"),
    Damage("a template that is a pipe", fifo("chat_template.jinja"), "not a regular file"),
    Damage("a template of 2 MB", template("x" * (2 << 20)), "at most"),
    Damage("a template that is not UTF-8", written("chat_template.jinja", b"\xff"), "tokenizer"),
]  # fmt: skip

BESIDE = [
    Damage("a pipe beside the model", fifo("junk"), None),
    Damage("a device beside the model", link("zero.safetensors", "/dev/zero"), None),
    Damage("a secret beside the model", link("notes.json", "/etc/passwd"), None),
    Damage("an optimizer", written("optimizer.pt", b"\x80\x04."), None),
    Damage("other formats", both(*(written(f"model.{end}", b"x") for end in FORMATS)), None),
    Damage("code", written("modeling_evil.py", "raise SystemExit"), None),
    Damage("folders", both(folder_named(".git"), folder_named(".cache"), written(".nfs0001", b"x")), None),
    Damage("weights of another kind beside", written("consolidated.safetensors", b"x"), None),
    Damage("a README", written("README.md", b"\xff"), None),
]  # fmt: skip

DAMAGES = [*OF_CONFIG, *OF_WEIGHTS, *OF_TOKENIZER, *BESIDE]
