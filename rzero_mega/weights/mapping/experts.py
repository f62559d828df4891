"""Rules of a mixture of experts: the router, every expert's gated MLP, and the one that all tokens share."""

from __future__ import annotations

from rzero_mega.weights.mapping.dense import HF, MEGATRON
from rzero_mega.weights.mapping.kinds import REPLICATED, ROW, GatedColumn
from rzero_mega.weights.mapping.table import Rule

_MEGATRON_EXPERT = MEGATRON + "mlp.experts.local_experts.{expert}."
_HF_EXPERT = HF + "mlp.experts.{expert}."
_SHARED = "mlp.shared_experts."

EXPERTS = (
    Rule(
        MEGATRON + "mlp.router.weight",
        (HF + "mlp.gate.weight",),
        (("experts", "hidden"),),
        REPLICATED,
        layers="experts",
    ),
    Rule(
        _MEGATRON_EXPERT + "linear_fc1.weight",
        (_HF_EXPERT + "gate_proj.weight", _HF_EXPERT + "up_proj.weight"),
        (("expert_ffn", "hidden"), ("expert_ffn", "hidden")),
        GatedColumn(),
        layers="experts",
    ),
    Rule(
        _MEGATRON_EXPERT + "linear_fc2.weight",
        (_HF_EXPERT + "down_proj.weight",),
        (("hidden", "expert_ffn"),),
        ROW,
        layers="experts",
    ),
)
BIAS, HF_BIAS = "mlp.router.expert_bias", "mlp.gate.e_score_correction_bias"
"""By which experts are chosen beside their scores. No gradient comes to it, and it is in fp32 whatever the model is."""

ROUTER_BIAS = Rule(MEGATRON + BIAS, (HF + HF_BIAS,), (("experts",),), REPLICATED, layers="experts")
SHARED_EXPERTS = (
    Rule(
        MEGATRON + _SHARED + "linear_fc1.weight",
        (HF + _SHARED + "gate_proj.weight", HF + _SHARED + "up_proj.weight"),
        (("shared_ffn", "hidden"), ("shared_ffn", "hidden")),
        GatedColumn(),
        layers="experts",
    ),
    Rule(
        MEGATRON + _SHARED + "linear_fc2.weight",
        (HF + _SHARED + "down_proj.weight",),
        (("hidden", "shared_ffn"),),
        ROW,
        layers="experts",
    ),
)
