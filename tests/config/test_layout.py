"""Layouts of processes: what is left is data parallelism, and what cannot be is refused by its key."""

from __future__ import annotations

from typing import Any

import pytest

from rzero_mega.config.layout import ParallelLayout
from rzero_mega.config.schema import LayoutConfig
from rzero_mega.errors import UserError


def test_experts_are_cut_like_the_rest_unless_said_otherwise() -> None:
    assert ParallelLayout.from_config(LayoutConfig(tp=2, ep=2), 4).etp == 2
    assert ParallelLayout.from_config(LayoutConfig(tp=2, ep=2, etp=1), 2).etp == 1


def test_data_parallelism_is_what_is_left() -> None:
    layout = ParallelLayout.from_config(LayoutConfig(tp=2, pp=2, ep=2, etp=1), 16)
    assert (layout.dp, layout.ep) == (4, 2)


@pytest.mark.parametrize(
    ("config", "processes", "key"),
    [
        ({"cp": 2}, 3, "cp 2"),
        ({"vpp": 2}, 1, "vpp"),
        ({"ep": 2}, 1, "ep"),
        ({"tp": 2, "ep": 4}, 4, "ep"),
        ({"tp": 2, "pp": 2}, 6, "tp 2 x pp 2"),
    ],
)
def test_a_layout_that_the_processes_cannot_have_names_its_key(
    config: dict[str, Any], processes: int, key: str
) -> None:
    with pytest.raises(UserError, match=key):
        ParallelLayout.from_config(LayoutConfig(**config), processes)
