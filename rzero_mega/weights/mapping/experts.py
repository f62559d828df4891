"""Rules of a mixture of experts: the router, and every expert's gated MLP."""

from __future__ import annotations

from rzero_mega.weights.mapping.dense import HF, MEGATRON
from rzero_mega.weights.mapping.kinds import REPLICATED, ROW, GatedColumn
from rzero_mega.weights.mapping.table import Rule

_MEGATRON_EXPERT = MEGATRON + "mlp.experts.local_experts.{expert}."
_HF_EXPERT = HF + "mlp.experts.{expert}."

EXPERTS = (
    Rule(MEGATRON + "mlp.router.weight", (HF + "mlp.gate.weight",), (("experts", "hidden"),), REPLICATED),
    Rule(
        _MEGATRON_EXPERT + "linear_fc1.weight",
        (_HF_EXPERT + "gate_proj.weight", _HF_EXPERT + "up_proj.weight"),
        (("expert_ffn", "hidden"), ("expert_ffn", "hidden")),
        GatedColumn(),
    ),
    Rule(
        _MEGATRON_EXPERT + "linear_fc2.weight",
        (_HF_EXPERT + "down_proj.weight",),
        (("hidden", "expert_ffn"),),
        ROW,
    ),
)
