"""Hugging Face tensors to Megatron shards and back: nothing is lost, nothing is computed, every name is covered."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import astuple, replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rzero_mega.errors import UserError
from rzero_mega.weights.families import SUPPORTED_MODEL_TYPES
from rzero_mega.weights.mapping import Entry, entries
from rzero_mega.weights.mapping.kinds import FusedQkv, GatedColumn
from rzero_mega.weights.mapping.regions import shard_contents
from rzero_mega.weights.scatter import scatter_hf
from rzero_mega.weights.shape import LatentAttention, ModelShape, shape_of
from tests.hf_tensors import split_experts

FAMILIES = st.sampled_from(SUPPORTED_MODEL_TYPES)
MIXTURES = ("qwen3_moe", "glm4_moe", "deepseek_v3")


def model_shape(family: str, **sizes: Any) -> ModelShape:
    defaults: dict[str, Any] = {
        "layers": 2,
        "hidden": 8,
        "ffn": 12,
        "heads": 4,
        "kv_heads": 2,
        "head_dim": 2,
        "vocab": 11,
        "max_positions": 64,
        "norm_epsilon": 1e-6,
        "rope_base": 10000.0,
        "rope_factor": None,
        "tied": False,
        "qk_norm": family in ("qwen3", "qwen3_moe"),
        "qkv_bias": family == "qwen2",
    }
    if family in MIXTURES:
        defaults |= {"experts": 4, "experts_per_token": 2, "expert_ffn": 4}
    if family == "glm4_moe":
        defaults |= {"shared_ffn": 8, "dense_layers": 1, "biased_routing": True, "qk_norm": True, "qkv_bias": True}
    if family == "deepseek_v3":
        defaults |= {"shared_ffn": 8, "dense_layers": 1, "biased_routing": True}
        defaults["latent"] = LatentAttention(4, 4, 1, 4, 3, None)
    return ModelShape(family=family, **{**defaults, **sizes})


@st.composite
def layouts(draw: st.DrawFn) -> tuple[ModelShape, int]:
    """A model and a number of tensor-parallel ranks that it can be cut over."""
    tp = draw(st.sampled_from([1, 2, 4]))
    kv_heads = draw(st.sampled_from([k for k in (1, 2, 4, 8) if k % tp == 0 or tp % k == 0]))
    shape = model_shape(
        draw(FAMILIES),
        layers=draw(st.integers(1, 3)),
        hidden=draw(st.integers(1, 9)),
        ffn=tp * draw(st.integers(1, 4)),
        heads=max(tp, kv_heads) * draw(st.integers(1, 3)),
        kv_heads=kv_heads,
        # With fewer groups than ranks Megatron cuts within them, into blocks of equally many rows.
        head_dim=tp * draw(st.integers(1, 2)) if kv_heads < tp else draw(st.integers(1, 4)),
        vocab=draw(st.integers(1, 17)),
        tied=draw(st.booleans()),
    )
    if shape.experts:
        shape = replace(shape, experts=draw(st.integers(2, 5)), expert_ffn=tp * draw(st.integers(1, 3)))
    if shape.latent is not None:
        latent = LatentAttention(
            tp * draw(st.integers(1, 3)), tp * draw(st.integers(1, 3)), draw(st.integers(1, 3)),
            tp * draw(st.integers(1, 2)), draw(st.integers(1, 3)), None,
        )  # fmt: skip
        shape = replace(shape, kv_heads=shape.heads, latent=latent, head_dim=latent.unrotated + latent.rotated)
    if shape.shared_ffn:
        shared, dense = tp * draw(st.integers(1, 3)), draw(st.integers(0, shape.layers - 1))
        biases = draw(st.booleans()) if shape.latent is None else False
        shape = replace(shape, shared_ffn=shared, dense_layers=dense, qkv_bias=biases)
    return shape, tp


def hf_sizes(shape: ModelShape) -> dict[str, tuple[int, ...]]:
    """Every tensor of the model with its shape, as transformers lays them out."""
    q, kv = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    sizes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (shape.vocab, shape.hidden),
        "model.norm.weight": (shape.hidden,),
    }
    if not shape.tied:
        sizes["lm_head.weight"] = (shape.vocab, shape.hidden)
    for layer in range(shape.layers):
        at = f"model.layers.{layer}."
        sizes |= {
            f"{at}input_layernorm.weight": (shape.hidden,),
            f"{at}post_attention_layernorm.weight": (shape.hidden,),
        }
        if shape.latent is not None:
            sizes |= latent_sizes(shape, shape.latent, f"{at}self_attn.")
        else:
            sizes |= {
                f"{at}self_attn.q_proj.weight": (q, shape.hidden),
                f"{at}self_attn.k_proj.weight": (kv, shape.hidden),
                f"{at}self_attn.v_proj.weight": (kv, shape.hidden),
                f"{at}self_attn.o_proj.weight": (shape.hidden, q),
            }
        mlps = [(f"{at}mlp.", shape.ffn)]
        if shape.has_experts(layer):
            sizes[f"{at}mlp.gate.weight"] = (shape.experts, shape.hidden)
            mlps = [(f"{at}mlp.experts.{expert}.", shape.expert_ffn) for expert in range(shape.experts)]
            if shape.shared_ffn:
                sizes[f"{at}mlp.gate.e_score_correction_bias"] = (shape.experts,)
                mlps.append((f"{at}mlp.shared_experts.", shape.shared_ffn))
        for prefix, ffn in mlps:
            sizes |= {
                f"{prefix}gate_proj.weight": (ffn, shape.hidden),
                f"{prefix}up_proj.weight": (ffn, shape.hidden),
                f"{prefix}down_proj.weight": (shape.hidden, ffn),
            }
        if shape.qk_norm:
            sizes |= {f"{at}self_attn.{name}_norm.weight": (shape.head_dim,) for name in "qk"}
        if shape.qkv_bias:
            sizes |= {
                f"{at}self_attn.q_proj.bias": (q,),
                f"{at}self_attn.k_proj.bias": (kv,),
                f"{at}self_attn.v_proj.bias": (kv,),
            }
    return sizes


def latent_sizes(shape: ModelShape, latent: LatentAttention, at: str) -> dict[str, tuple[int, ...]]:
    """Those of one layer's attention."""
    head = latent.unrotated + latent.rotated
    return {
        f"{at}q_a_proj.weight": (latent.q_rank, shape.hidden),
        f"{at}q_a_layernorm.weight": (latent.q_rank,),
        f"{at}q_b_proj.weight": (shape.heads * head, latent.q_rank),
        f"{at}kv_a_proj_with_mqa.weight": (latent.kv_rank + latent.rotated, shape.hidden),
        f"{at}kv_a_layernorm.weight": (latent.kv_rank,),
        f"{at}kv_b_proj.weight": (shape.heads * (latent.unrotated + latent.value), latent.kv_rank),
        f"{at}o_proj.weight": (shape.hidden, shape.heads * latent.value),
    }


def numbered(sizes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Tensors in which every element of the whole model is different."""
    found, start = {}, 1
    for name, size in sizes.items():
        count = int(torch.Size(size).numel())
        found[name] = torch.arange(start, start + count).reshape(size)
        start += count
    return found


def shards(entry: Entry, tensors: dict[str, Tensor], shape: ModelShape, tp: int) -> list[Tensor]:
    full = entry.kind.merge([tensors[name] for name in entry.hf], shape)
    return [entry.kind.shard(full, tp, rank) for rank in range(tp)]


@given(layouts())
def test_a_model_survives_being_cut_and_put_together_bit_for_bit(layout: tuple[ModelShape, int]) -> None:
    shape, tp = layout
    tensors = numbered(hf_sizes(shape))
    back: dict[str, Tensor] = {}
    for entry in entries(shape):
        full = entry.kind.unshard(shards(entry, tensors, shape, tp))
        back.update(zip(entry.hf, entry.kind.split(full, shape), strict=True))
    assert back.keys() == tensors.keys()
    assert all(torch.equal(back[name], tensor) for name, tensor in tensors.items())


@given(layouts())
def test_shards_hold_every_element_once_or_all_ranks_hold_the_same(layout: tuple[ModelShape, int]) -> None:
    shape, tp = layout
    tensors = numbered(hf_sizes(shape))
    for entry in entries(shape):
        pieces = shards(entry, tensors, shape, tp)
        expected = torch.cat([tensors[name].flatten() for name in entry.hf]).sort().values
        if "norm" in entry.megatron or "router" in entry.megatron:
            assert all(torch.equal(piece.flatten().sort().values, expected) for piece in pieces)
            continue
        assert len({piece.shape for piece in pieces}) == 1
        elements = torch.cat([piece.flatten() for piece in pieces])
        assert torch.equal(elements[elements > 0].sort().values, expected)  # zeros fill up the vocabulary


@given(layouts())
def test_the_vocabulary_is_filled_up_with_fewer_rows_than_ranks_all_at_the_end(layout: tuple[ModelShape, int]) -> None:
    shape, tp = layout
    tensors = numbered(hf_sizes(shape))
    (entry,) = (e for e in entries(shape) if e.hf == ("model.embed_tokens.weight",))
    padded = torch.cat(shards(entry, tensors, shape, tp))
    assert 0 <= len(padded) - shape.vocab < tp
    assert not padded[shape.vocab :].any()
    assert torch.equal(padded[: shape.vocab], tensors["model.embed_tokens.weight"])


@given(layouts())
def test_scatter_gives_every_rank_its_shards(layout: tuple[ModelShape, int]) -> None:
    shape, tp = layout
    tensors = {name: tensor.float() for name, tensor in numbered(hf_sizes(shape)).items()}
    table = entries(shape)
    for rank in range(tp):
        expected = {entry.megatron: shards(entry, tensors, shape, tp)[rank] for entry in table}
        local = {name: torch.full_like(shard, -1.0) for name, shard in expected.items()}
        scatter_hf(table, tensors.__getitem__, local, shape, functools.partial(lambda rank, _name: (rank, tp), rank))
        assert all(torch.equal(local[name], shard) for name, shard in expected.items())


def test_queries_keys_and_values_are_interleaved_by_key_value_group() -> None:
    shape = model_shape("llama", heads=4, kv_heads=2, head_dim=1, hidden=1)
    q, k, v = torch.tensor([[1], [2], [3], [4]]), torch.tensor([[10], [20]]), torch.tensor([[100], [200]])
    full = FusedQkv().merge([q, k, v], shape)
    assert full.flatten().tolist() == [1, 2, 10, 100, 3, 4, 20, 200]
    assert FusedQkv().shard(full, 2, 1).flatten().tolist() == [3, 4, 20, 200]


def test_every_rank_holds_its_part_of_the_gate_over_its_part_of_the_up_projection() -> None:
    gate, up = torch.tensor([[1], [2], [3], [4]]), torch.tensor([[10], [20], [30], [40]])
    full = GatedColumn().merge([gate, up], model_shape("llama", ffn=4, hidden=1))
    assert GatedColumn().shard(full, 2, 0).flatten().tolist() == [1, 2, 10, 20]
    assert GatedColumn().shard(full, 2, 1).flatten().tolist() == [3, 4, 30, 40]


@given(layouts())
def test_the_sizes_of_the_table_are_those_of_the_tensors(layout: tuple[ModelShape, int]) -> None:
    shape, _ = layout
    found = {name: size for entry in entries(shape) for name, size in zip(entry.hf, entry.sizes, strict=True)}
    assert found == hf_sizes(shape)


@given(layouts())
def test_regions_say_where_every_element_of_a_shard_comes_from(layout: tuple[ModelShape, int]) -> None:
    shape, tp = layout
    tensors = numbered(hf_sizes(shape))
    for entry in entries(shape):
        for rank, shard in enumerate(shards(entry, tensors, shape, tp)):
            found = shard_contents(entry, shape, rank, tp)
            rebuilt = torch.zeros(found.rows, found.columns, dtype=shard.dtype)
            for region in found.regions:
                source = tensors[entry.hf[region.tensor]].reshape(entry.sizes[region.tensor][0], -1)
                row, column, rows, columns = astuple(region.hf)
                rebuilt[region.row : region.row + rows, region.column : region.column + columns] = source[
                    row : row + rows, column : column + columns
                ]
            assert torch.equal(rebuilt.reshape(shard.shape), shard)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("family", SUPPORTED_MODEL_TYPES)
def test_the_table_covers_exactly_the_tensors_of_the_transformers_model(
    family: str, tied: bool, tiny_model: Callable[..., Any]
) -> None:
    model = tiny_model(family, tie_word_embeddings=tied, num_hidden_layers=3)
    shape = shape_of(model.config)
    names = [name for entry in entries(shape) for name in entry.hf]
    assert len(set(names)) == len(names)
    state = split_experts(model.state_dict())
    if tied:
        assert torch.equal(state.pop("lm_head.weight"), state["model.embed_tokens.weight"])
    assert set(names) == set(state)
    assert hf_sizes(shape) == {name: tuple(tensor.shape) for name, tensor in state.items()}


@pytest.mark.parametrize("family", SUPPORTED_MODEL_TYPES)
def test_megatron_names_are_different_and_in_the_same_order_every_time(family: str) -> None:
    names = [entry.megatron for entry in entries(model_shape(family, layers=3))]
    assert len(set(names)) == len(names)
    assert names == [entry.megatron for entry in entries(model_shape(family, layers=3))]


def scatter_one(hf: dict[str, Tensor], local: dict[str, Tensor], shape: ModelShape) -> None:
    scatter_hf(entries(shape), hf.__getitem__, local, shape, lambda _name: (0, 1))


def test_a_tensor_of_another_shape_is_named() -> None:
    shape = model_shape("llama")
    with pytest.raises(UserError, match=r"model\.norm\.weight: shape \(7,\) .* \(8,\)"):
        scatter_one({"model.norm.weight": torch.zeros(7)}, {"decoder.final_layernorm.weight": torch.zeros(8)}, shape)


@pytest.mark.parametrize(
    ("wrong", "size"),
    [("q_proj", (7, 8)), ("k_proj", (5, 8)), ("v_proj", (3, 8)), ("k_proj", (4, 9)), ("q_proj", (4, 16))],
)
def test_a_projection_that_does_not_fit_the_others_is_named(wrong: str, size: tuple[int, ...]) -> None:
    shape = model_shape("llama")
    hf = numbered(hf_sizes(shape))
    hf[f"model.layers.0.self_attn.{wrong}.weight"] = torch.zeros(size)
    target = "decoder.layers.0.self_attention.linear_qkv.weight"
    with pytest.raises(UserError, match=wrong):
        scatter_one(hf, {target: torch.zeros(16, 8)}, shape)


def test_projections_that_only_add_up_to_the_right_size_are_named() -> None:
    shape = model_shape("llama")  # 8 rows of queries, 4 of keys, 4 of values
    hf = numbered(hf_sizes(shape))
    for name in ("q_proj", "k_proj", "v_proj"):
        hf[f"model.layers.0.self_attn.{name}.weight"] = torch.zeros({"q_proj": 4, "k_proj": 8, "v_proj": 4}[name], 8)
    target = "decoder.layers.0.self_attention.linear_qkv.weight"
    with pytest.raises(UserError, match="q_proj"):
        scatter_one(hf, {target: torch.zeros(16, 8)}, shape)


def test_a_vocabulary_that_padding_would_hide_is_named() -> None:
    """12 rows fill two ranks' 6 rows each just as 11 do, but config.json says 11."""
    shape = model_shape("llama", vocab=11)
    hf = {"model.embed_tokens.weight": torch.zeros(12, 8)}
    local = {"embedding.word_embeddings.weight": torch.zeros(6, 8)}
    with pytest.raises(UserError, match="embed_tokens"):
        scatter_hf(entries(shape), hf.__getitem__, local, shape, lambda _name: (0, 2))


def test_a_parameter_without_a_rule_is_a_bug() -> None:
    with pytest.raises(KeyError, match="unheard_of"):
        scatter_one({}, {"unheard_of.weight": torch.zeros(1)}, model_shape("llama"))


def test_the_last_pipeline_stage_of_a_tied_model_gets_the_embedding_as_its_output_layer() -> None:
    shape = model_shape("llama", tied=True)
    hf = {"model.embed_tokens.weight": torch.randn(11, 8)}
    local = {"output_layer.weight": torch.zeros(11, 8)}
    scatter_one(hf, local, shape)
    assert torch.equal(local["output_layer.weight"], hf["model.embed_tokens.weight"])
