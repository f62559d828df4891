"""The tensors inside an SGLang server: which Hugging Face tensors each packs, and which shard of them a rank holds.

A server on CPUs pads sizes with zeros until tensor parallelism divides them. One on GPUs pads the vocabulary, gives
several ranks the same keys and values where there are more ranks than heads of them, and refuses what it can't divide
otherwise. No server on GPUs has been seen: what it loads by itself shows whether it is described rightly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from rzero_mega.weights.mapping.experts import HF_BIAS
from rzero_mega.weights.shape import ModelShape

VOCABULARY_MULTIPLE = 64
FFN_MULTIPLE = 32


@dataclass(frozen=True)
class Sharding:
    """How ranks share a Hugging Face tensor along `dim`, in equal shards, zeros where it ends.

    On CPUs it has `size(shape, tp)` there, on GPUs `gpu_size(shape)` and no more than `most_shards(shape)` shards.
    """

    dim: int
    size: Callable[[ModelShape, int], int]
    gpu_size: Callable[[ModelShape], int]
    most_shards: Callable[[ModelShape], int] | None = None

    def shard(self, shape: ModelShape, tp: int, rank: int, device: str) -> range:
        """What the rank holds along `dim`; it may end behind the tensor."""
        shards, size = tp, self.size(shape, tp)
        if device != "cpu":
            shards, size = min(tp, self.most_shards(shape)) if self.most_shards else tp, self.gpu_size(shape)
        start = rank * shards // tp * (size // shards)
        return range(start, start + size // shards)


@dataclass(frozen=True)
class PackedTensor:
    """A Hugging Face tensor inside a tensor of the server; every rank holds the whole of it if `sharding` is None.

    Some are `in_fp32` in servers of any dtype.
    """

    name: str
    sharding: Sharding | None = None
    in_fp32: bool = False


@dataclass(frozen=True)
class ServerTensor:
    """A tensor of the server: what it packs lies one after another in memory."""

    name: str
    packed: tuple[PackedTensor, ...]


def _up_to(size: int, multiple: int) -> int:
    return size + -size % multiple


def _vocabulary(shape: ModelShape, tp: int) -> int:
    padded = _up_to(shape.vocab, VOCABULARY_MULTIPLE)
    return padded if padded % tp == 0 else _up_to(shape.vocab, VOCABULARY_MULTIPLE * tp)


def _keys(shape: ModelShape, tp: int) -> int:
    return _up_to(shape.kv_heads, tp) * shape.head_dim


def _queries(shape: ModelShape, tp: int) -> int:
    return _keys(shape, tp) * (shape.heads // shape.kv_heads)


def _ffn(shape: ModelShape, tp: int) -> int:
    return _up_to(shape.ffn, FFN_MULTIPLE * tp)


def _expert_ffn(shape: ModelShape, tp: int) -> int:
    return _up_to(shape.expert_ffn, FFN_MULTIPLE * tp)


def padded_on_cpu(shape: ModelShape, tp: int) -> str:
    """Which size of a dense model's linear layers `tp` ranks on CPUs fill up with zeros; "" if none."""
    sizes = {"ffn": (_ffn(shape, tp), shape.ffn), "heads": (_keys(shape, tp), shape.kv_heads * shape.head_dim)}
    return next((name for name, (padded, size) in sizes.items() if padded != size), "")


def _shared_ffn(shape: ModelShape, tp: int) -> int:
    return _expert_ffn(shape, tp) * (shape.shared_ffn // shape.expert_ffn)


def _whole(dim: int, size: str) -> Sharding:
    """Nothing is filled up."""
    return Sharding(dim, lambda shape, _tp: shape.size(size), lambda shape: shape.size(size))


VOCABULARY_ROWS = Sharding(0, _vocabulary, lambda shape: _up_to(shape.vocab, VOCABULARY_MULTIPLE))
QUERY_ROWS, QUERY_COLUMNS = (Sharding(dim, _queries, lambda shape: shape.heads * shape.head_dim) for dim in (0, 1))
KEY_ROWS = Sharding(0, _keys, lambda shape: shape.kv_heads * shape.head_dim, lambda shape: shape.kv_heads)
LATENT_QUERY_ROWS, LATENT_KEY_ROWS = _whole(0, "queries"), _whole(0, "keys_values")
LATENT_VALUE_COLUMNS = _whole(1, "values")
FFN_ROWS, FFN_COLUMNS = (Sharding(dim, _ffn, lambda shape: shape.ffn) for dim in (0, 1))
EXPERT_ROWS, EXPERT_COLUMNS = (Sharding(dim, _expert_ffn, lambda shape: shape.expert_ffn) for dim in (0, 1))
SHARED_ROWS, SHARED_COLUMNS = (Sharding(dim, _shared_ffn, lambda shape: shape.shared_ffn) for dim in (0, 1))

# {0} is the layer.
LAYER = "model.layers.{0}."
ATTENTION, MLP = LAYER + "self_attn.", LAYER + "mlp."


def _same(name: str, sharding: Sharding | None = None, in_fp32: bool = False) -> ServerTensor:
    return ServerTensor(name, (PackedTensor(name, sharding, in_fp32),))


def _qkv(suffix: str) -> ServerTensor:
    shardings = {"q": QUERY_ROWS, "k": KEY_ROWS, "v": KEY_ROWS}
    packed = tuple(PackedTensor(f"{ATTENTION}{letter}_proj.{suffix}", rows) for letter, rows in shardings.items())
    return ServerTensor(f"{ATTENTION}qkv_proj.{suffix}", packed)


TRUNK = (
    _same("model.embed_tokens.weight", VOCABULARY_ROWS),
    _same("model.norm.weight"),
    _same(LAYER + "input_layernorm.weight"),
    _same(LAYER + "post_attention_layernorm.weight"),
)
GROUPED_ATTENTION = (_qkv("weight"), _same(ATTENTION + "o_proj.weight", QUERY_COLUMNS))
HEAD = (_same("lm_head.weight", VOCABULARY_ROWS),)
QK_NORM = (_same(ATTENTION + "q_norm.weight"), _same(ATTENTION + "k_norm.weight"))
QKV_BIAS = (_qkv("bias"),)


# Both first projections are one tensor.
LATENT_ATTENTION = (
    ServerTensor(
        ATTENTION + "fused_qkv_a_proj_with_mqa.weight",
        (PackedTensor(ATTENTION + "q_a_proj.weight"), PackedTensor(ATTENTION + "kv_a_proj_with_mqa.weight")),
    ),
    _same(ATTENTION + "q_a_layernorm.weight"),
    _same(ATTENTION + "q_b_proj.weight", LATENT_QUERY_ROWS),
    _same(ATTENTION + "kv_a_layernorm.weight"),
    _same(ATTENTION + "kv_b_proj.weight", LATENT_KEY_ROWS),
    _same(ATTENTION + "o_proj.weight", LATENT_VALUE_COLUMNS),
)


def _gated(place: str, rows: Sharding, columns: Sharding) -> tuple[ServerTensor, ...]:
    halves = (PackedTensor(place + "gate_proj.weight", rows), PackedTensor(place + "up_proj.weight", rows))
    return ServerTensor(place + "gate_up_proj.weight", halves), _same(place + "down_proj.weight", columns)


DENSE_MLP = _gated(MLP, FFN_ROWS, FFN_COLUMNS)
ROUTER_BIAS = (_same(LAYER + HF_BIAS, in_fp32=True),)
# On GPUs a server may pack the shared MLP with the experts: those tensors are then left out of the comparison.
SHARED_EXPERTS = _gated(MLP + "shared_experts.", SHARED_ROWS, SHARED_COLUMNS)


def _expert_mlp(experts: int, router_in_fp32: bool) -> tuple[ServerTensor, ...]:
    names = [f"{MLP}experts.{expert}." for expert in range(experts)]
    halves = ("gate_proj.weight", "up_proj.weight")
    return (
        _same(MLP + "gate.weight", in_fp32=router_in_fp32),
        ServerTensor(
            MLP + "experts.w13_weight",
            tuple(PackedTensor(name + half, EXPERT_ROWS) for name in names for half in halves),
        ),
        ServerTensor(
            MLP + "experts.w2_weight", tuple(PackedTensor(name + "down_proj.weight", EXPERT_COLUMNS) for name in names)
        ),
    )


def _mixture(shape: ModelShape) -> tuple[ServerTensor, ...]:
    """The tensors of a layer's MLP with experts."""
    return (
        *_expert_mlp(shape.experts, router_in_fp32=shape.family == "glm4_moe"),
        *(ROUTER_BIAS if shape.biased_routing else ()),
        *(SHARED_EXPERTS if shape.shared_ffn else ()),
    )


def _tables(shape: ModelShape) -> tuple[tuple[Sequence[int], tuple[ServerTensor, ...]], ...]:
    """Tensors, and of which layers they are."""
    every, dense = range(shape.layers), range(shape.layers - shape.expert_layers)
    common = (
        *TRUNK,
        *(GROUPED_ATTENTION if shape.latent is None else LATENT_ATTENTION),
        *(QK_NORM if shape.qk_norm else ()),
        *(QKV_BIAS if shape.qkv_bias else ()),
        *(() if shape.tied else HEAD),
    )
    return (every, common), (dense, DENSE_MLP), (range(len(dense), shape.layers), _mixture(shape))


def server_tensors(shape: ModelShape) -> list[ServerTensor]:
    """Every tensor of a server with a model of this shape. A tied model has no output projection of its own."""
    tensors = []
    for layers, tensor in ((layers, tensor) for layers, table in _tables(shape) for tensor in table):
        for layer in layers if "{0}" in tensor.name else (0,):
            packed = tuple(replace(one, name=one.name.format(layer)) for one in tensor.packed)
            tensors.append(ServerTensor(tensor.name.format(layer), packed))
    return tensors
