"""How many parameters a rank holds."""

from __future__ import annotations

from dataclasses import dataclass

from rzero_mega.config.layout import ParallelLayout
from rzero_mega.planning.workload import Workload
from rzero_mega.weights.shape import ModelShape


@dataclass(frozen=True)
class Parameters:
    """Parameters of one rank: their optimizer states are cut over dp x cp, those of experts over fewer ranks."""

    dense: int
    experts: int


def stage_layers(shape: ModelShape, layout: ParallelLayout) -> int:
    """Transformer layers of a pipeline stage."""
    return shape.layers // layout.pp


def dense_stage_layers(shape: ModelShape, layout: ParallelLayout, stage: int) -> int:
    """Of these, those without experts, which are the first of the model; stages take chunks of layers in turn."""
    chunk = shape.layers // (layout.pp * layout.vpp)
    firsts = (number * layout.pp * chunk + stage * chunk for number in range(layout.vpp))
    return sum(not shape.has_experts(layer) for first in firsts for layer in range(first, first + chunk))


def rank_parameters(shape: ModelShape, layout: ParallelLayout, stage: int) -> Parameters:
    """Parameters of a rank of the pipeline stage `stage`.

    Norms, biases of norms, the router and a Critic's head are on every rank that has them.
    """
    tp, layers = layout.tp, stage_layers(shape, layout)
    last = stage == layout.pp - 1
    without = dense_stage_layers(shape, layout, stage)
    own = layers * _attention(shape, tp) + without * 3 * shape.hidden * shape.ffn // tp
    own += (layers - without) * (shape.experts * shape.hidden + 3 * shape.hidden * shape.shared_ffn // tp)
    ends = last * (1 + shape.scores) * shape.hidden
    dense = own + vocabulary_parameters(shape, layout, stage) + ends
    experts = 0
    if shape.experts:
        experts = (layers - without) * shape.experts * 3 * shape.hidden * shape.expert_ffn // (layout.ep * layout.etp)
    return Parameters(dense, experts)


def vocabulary_parameters(shape: ModelShape, layout: ParallelLayout, stage: int) -> int:
    """Of these, those of the embedding and of the output layer; tied ones are held once by a stage that is both."""
    first, last = stage == 0, stage == layout.pp - 1
    tables = first + (last and not (shape.tied and first))
    return tables * -(-shape.vocab // layout.tp) * shape.hidden


def trained_parameters(shape: ModelShape, layout: ParallelLayout, stage: int, workload: Workload) -> Parameters:
    """Those of a rank of the pipeline stage that have gradients: all, or its adapters'."""
    if not workload.adapter_rank:
        return rank_parameters(shape, layout, stage)
    queries, keys = shape.size("queries"), shape.size("keys")
    # Of (whole, cut over tensor parallelism): A [r, i] and B [o, r], of which the cut one lies along the cut of W.
    sides = {
        "linear_qkv": (shape.hidden, queries + 2 * keys),
        "linear_proj": (shape.hidden, queries),
        "linear_fc1": (shape.hidden, 2 * shape.ffn),
        "linear_fc2": (shape.hidden, shape.ffn),
    }
    numbers = sum(whole + cut // layout.tp for whole, cut in (sides[name] for name in workload.adapted))
    return Parameters(stage_layers(shape, layout) * workload.adapter_rank * numbers, 0)


def attention_weights(shape: ModelShape) -> int:
    """Elements of a layer's matrices around its attention: what is multiplied with a token there."""
    queries, keys, values, hidden = shape.size("queries"), shape.size("keys"), shape.size("values"), shape.hidden
    latent = shape.latent
    if latent is None:
        return hidden * (queries + 2 * keys + values)
    return (
        (hidden + queries) * latent.q_rank
        + hidden * shape.size("small_keys")
        + latent.kv_rank * shape.size("keys_values")
        + hidden * values
    )


def _attention(shape: ModelShape, tp: int) -> int:
    """With a layer's norms."""
    biases = shape.qkv_bias * (shape.size("queries") + 2 * shape.size("keys"))
    norms = 2 * shape.hidden + shape.qk_norm * 2 * shape.head_dim
    if shape.latent is not None:
        norms += shape.latent.q_rank + shape.latent.kv_rank
    return (attention_weights(shape) + biases) // tp + norms


def total_parameters(shape: ModelShape, tp: int = 1) -> int:
    """All parameters of the model, or those on one of `tp` ranks over which experts are cut like the rest."""
    held = rank_parameters(shape, ParallelLayout(tp=tp, etp=tp), 0)
    return held.dense + held.experts


def dense_parameters(shape: ModelShape) -> int:
    """All parameters but those of experts."""
    return rank_parameters(shape, ParallelLayout(), 0).dense


def active_parameters(shape: ModelShape) -> int:
    """Parameters that one token is multiplied with: no embedding lookup, and of the experts those that are chosen."""
    whole = rank_parameters(shape, ParallelLayout(), 0)
    lookup = 0 if shape.tied else shape.vocab * shape.hidden
    chosen = whole.experts * shape.experts_per_token // shape.experts if shape.experts else 0
    return whole.dense - lookup + chosen
