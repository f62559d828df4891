"""DeepSeek-V3 and R1: latent attention; dense layers, then experts that are chosen with a bias, and a shared one."""

from __future__ import annotations

from rzero_mega.weights.mapping.dense import FRAME, HF, MEGATRON, MLP, head_rules
from rzero_mega.weights.mapping.experts import EXPERTS, ROUTER_BIAS, SHARED_EXPERTS
from rzero_mega.weights.mapping.kinds import COLUMN, REPLICATED, Kind
from rzero_mega.weights.mapping.table import Rule
from rzero_mega.weights.shape import ModelShape


def _rule(megatron: str, hf: str, dims: tuple[str, ...], kind: Kind) -> Rule:
    return Rule(f"{MEGATRON}self_attention.{megatron}.weight", (f"{HF}self_attn.{hf}.weight",), (dims,), kind)


# In this order: a server packs the first two, and takes them in one bucket alone.
ATTENTION = (
    _rule("linear_q_down_proj", "q_a_proj", ("small_queries", "hidden"), COLUMN),
    _rule("linear_kv_down_proj", "kv_a_proj_with_mqa", ("small_keys", "hidden"), COLUMN),
    _rule("kv_layernorm", "kv_a_layernorm", ("kv_rank",), REPLICATED),
    _rule("linear_kv_up_proj", "kv_b_proj", ("keys_values", "kv_rank"), COLUMN),
    _rule("q_layernorm", "q_a_layernorm", ("small_queries",), REPLICATED),
    _rule("linear_q_up_proj", "q_b_proj", ("queries", "small_queries"), COLUMN),
)


def rules(shape: ModelShape) -> tuple[Rule, ...]:
    """The table of the family."""
    return (*FRAME, *ATTENTION, *MLP, *EXPERTS, ROUTER_BIAS, *SHARED_EXPERTS, *head_rules(shape))
