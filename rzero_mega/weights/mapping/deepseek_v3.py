"""DeepSeek-V3 and R1: latent attention; dense layers, then experts that are chosen with a bias, and a shared one."""

from __future__ import annotations

from rzero_mega.weights.mapping.dense import FRAME, HF, MEGATRON, MLP, head_rules
from rzero_mega.weights.mapping.experts import EXPERTS, ROUTER_BIAS, SHARED_EXPERTS
from rzero_mega.weights.mapping.kinds import COLUMN, REPLICATED, Kind
from rzero_mega.weights.mapping.table import Rule
from rzero_mega.weights.shape import ModelShape


def _rule(megatron: str, hf: str, dims: tuple[str, ...], kind: Kind) -> Rule:
    return Rule(f"{MEGATRON}self_attention.{megatron}.weight", (f"{HF}self_attn.{hf}.weight",), (dims,), kind)


WHOLE_QUERIES = (_rule("linear_q_proj", "q_proj", ("queries", "hidden"), COLUMN),)
# Before the keys' first: a server packs both, and takes them in one bucket alone.
SMALL_QUERIES = (_rule("linear_q_down_proj", "q_a_proj", ("small_queries", "hidden"), COLUMN),)
KEYS = (
    _rule("linear_kv_down_proj", "kv_a_proj_with_mqa", ("small_keys", "hidden"), COLUMN),
    _rule("kv_layernorm", "kv_a_layernorm", ("kv_rank",), REPLICATED),
    _rule("linear_kv_up_proj", "kv_b_proj", ("keys_values", "kv_rank"), COLUMN),
)
LATENT_QUERIES = (
    _rule("q_layernorm", "q_a_layernorm", ("small_queries",), REPLICATED),
    _rule("linear_q_up_proj", "q_b_proj", ("queries", "small_queries"), COLUMN),
)


def rules(shape: ModelShape) -> tuple[Rule, ...]:
    """The table of the family."""
    queries = (*SMALL_QUERIES, *KEYS, *LATENT_QUERIES) if shape.size("small_queries") else (*WHOLE_QUERIES, *KEYS)
    experts = (*EXPERTS, ROUTER_BIAS, *SHARED_EXPERTS)
    return (*FRAME, *queries, *MLP, *experts, *head_rules(shape))
