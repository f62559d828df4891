"""How many parameters a rank holds."""

from __future__ import annotations

from dataclasses import dataclass

from rzero_mega.planning.candidate import Candidate, stage_layers
from rzero_mega.weights.shape import ModelShape


@dataclass(frozen=True)
class Parameters:
    """Parameters of one rank: their optimizer states are cut over dp x cp, those of experts over fewer ranks."""

    dense: int
    experts: int


def rank_parameters(shape: ModelShape, candidate: Candidate, stage: int) -> Parameters:
    """Parameters of a rank of the pipeline stage `stage`. Norms, biases of norms and the router are on every rank."""
    tp, layers = candidate.tp, stage_layers(shape, candidate)
    vocabulary = -(-shape.vocab // tp) * shape.hidden
    first, last = stage == 0, stage == candidate.pp - 1
    embeddings = first + (last and not (shape.tied and first))
    dense = layers * _layer(shape, tp) + embeddings * vocabulary + last * shape.hidden
    experts = 0
    if shape.experts:
        experts = layers * shape.experts * 3 * shape.hidden * shape.expert_ffn // (candidate.ep * candidate.etp)
    return Parameters(dense, experts)


def _layer(shape: ModelShape, tp: int) -> int:
    queries, keys = shape.size("queries"), shape.size("keys")
    attention = shape.hidden * (2 * queries + 2 * keys) + shape.qkv_bias * (queries + 2 * keys)
    norms = 2 * shape.hidden + shape.qk_norm * 2 * shape.head_dim
    if shape.experts:
        return attention // tp + norms + shape.experts * shape.hidden
    return (attention + 3 * shape.hidden * shape.ffn) // tp + norms


def total_parameters(shape: ModelShape, tp: int = 1) -> int:
    """All parameters of the model, or those on one of `tp` ranks over which experts are cut like the rest."""
    held = rank_parameters(shape, Candidate(tp=tp, etp=tp), 0)
    return held.dense + held.experts


def active_parameters(shape: ModelShape) -> int:
    """Parameters that one token is multiplied with: no embedding lookup, and of the experts those that are chosen."""
    alone = rank_parameters(shape, Candidate(), 0)
    lookup = 0 if shape.tied else shape.vocab * shape.hidden
    chosen = alone.experts * shape.experts_per_token // shape.experts if shape.experts else 0
    return alone.dense - lookup + chosen
