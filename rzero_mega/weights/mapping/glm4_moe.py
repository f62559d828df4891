"""GLM-4.5 and 4.6: dense layers first, then experts that are chosen with a bias, and a shared one."""

from __future__ import annotations

from rzero_mega.weights.mapping.dense import COMMON, MLP, QK_NORM, QKV_BIAS, head_rules
from rzero_mega.weights.mapping.experts import EXPERTS, ROUTER_BIAS, SHARED_EXPERTS
from rzero_mega.weights.mapping.table import Rule
from rzero_mega.weights.shape import ModelShape


def rules(shape: ModelShape) -> tuple[Rule, ...]:
    """The table of the family."""
    norms, biases = QK_NORM if shape.qk_norm else (), (QKV_BIAS,) if shape.qkv_bias else ()
    return (*COMMON, *norms, *biases, *MLP, *EXPERTS, ROUTER_BIAS, *SHARED_EXPERTS, *head_rules(shape))
