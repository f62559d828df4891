"""Layouts that do not divide a model are refused by the key that is to blame."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rzero_mega.config.layout import ParallelLayout
from rzero_mega.errors import UserError
from rzero_mega.planning.layout_rules import check_layout
from rzero_mega.weights.shape import ModelShape

DENSE = ModelShape("qwen3", 4, 32, 48, 8, 2, 4, 100, 64, 1e-6, 1e4, None, False, True, False)
MOE = replace(DENSE, family="qwen3_moe", experts=6, experts_per_token=2, expert_ffn=12)


@pytest.mark.parametrize(
    ("shape", "layout", "key"),
    [
        (DENSE, {"pp": 3}, "learner.layout.pp"),
        (DENSE, {"pp": 2, "vpp": 4}, "learner.layout.vpp"),
        (replace(DENSE, heads=6), {"tp": 4}, "learner.layout.tp.*attention heads"),
        (replace(DENSE, heads=12, kv_heads=3), {"tp": 2}, "learner.layout.tp.*key-value heads"),
        (DENSE, {"ep": 2}, "learner.layout.ep.*no experts"),
        (MOE, {"ep": 4}, "learner.layout.ep.*6 experts"),
        (MOE, {"etp": 8}, "learner.layout.etp"),
        (MOE, {"dp": 2, "etp": 2}, "learner.layout.etp.*where ep is 1"),
        (MOE, {"tp": 2, "etp": 1, "sequence_parallel": True}, "learner.layout.etp.*where ep is 1"),
        (MOE, {"tp": 2, "etp": 2}, "learner.layout.sequence_parallel"),
    ],
)
def test_a_layout_that_does_not_divide_the_model_names_its_key(
    shape: ModelShape, layout: dict[str, Any], key: str
) -> None:
    with pytest.raises(UserError, match=key):
        check_layout(shape, ParallelLayout(**layout))


def test_fewer_key_value_heads_than_tensor_parallel_ranks_are_possible() -> None:
    check_layout(DENSE, ParallelLayout(tp=4, etp=4))
