"""Several ranks hand weights out, each to the servers of its node; the first one alone speaks to servers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rzero_mega.config.placement import Placement, ServerPlace
from rzero_mega.config.schema import RolloutConfig, WeightsConfig
from rzero_mega.rollout.sglang.pool.server_pool import ServerPool
from rzero_mega.weights.transports.choice import senders
from tests.processes import two_ranks

PLACES = (ServerPlace(0, 0), ServerPlace(0, 4), ServerPlace(2, 0))


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return two_ranks("tests.rollout.sglang.sender_ranks", tmp_path_factory.mktemp("ranks"), patience_s=120)


@pytest.mark.gloo
def test_servers_of_both_nodes_have_every_tensor_of_both_stages(ranks: list[dict[str, Any]]) -> None:
    first, other = (rank["updates"] for rank in ranks)
    assert first["receivers"] == other["receivers"] == [0, 1]
    assert first["after 1"] == {"solver-0-a1": [1.0, 2.0], "solver-1-a1": [1.0, 2.0]}
    assert other["after 1"] == {}  # it has started nothing


@pytest.mark.gloo
def test_an_update_of_which_another_node_s_server_dies_is_repeated_by_all_senders(ranks: list[dict[str, Any]]) -> None:
    assert ranks[0]["updates"]["after 2"] == {"solver-0-a1": [1.0, 4.0], "solver-1-a2": [1.0, 4.0]}


@pytest.mark.gloo
def test_no_rank_begins_a_pass_after_one_that_failed_on_the_first_rank(ranks: list[dict[str, Any]]) -> None:
    assert [rank["updates"]["passes"] for rank in ranks] == [["base"], ["base"]]


@pytest.mark.gloo
def test_another_sender_s_buckets_become_fp8_there_and_what_can_not_is_named_by_the_first_rank(
    ranks: list[dict[str, Any]],
) -> None:
    assert ranks[0]["right"] == pytest.approx([2.0, 4.0, 6.0])
    (message,) = ranks[0]["wrong"]
    assert message.startswith("node 1: model.layers.0.mlp.up_proj.weight") and "could become FP8" in message
    assert ranks[1]["right"] == ranks[1]["wrong"] == []


@pytest.mark.parametrize(
    ("transport", "shared_gpus", "found"),
    [("tensor", True, {0: 0, 2: 16}), ("tensor", False, {0: 0}), ("disk", True, {0: 0}), ("collective", True, {0: 0})],
)
def test_a_rank_of_each_node_with_servers_sends_where_handles_can_be_what_is_sent(
    transport: str, shared_gpus: bool, found: dict[int, int]
) -> None:
    placement = Placement(3, (range(8), range(8, 16), range(16, 24)), PLACES, shared_gpus)
    assert senders(transport, placement) == found


@pytest.mark.parametrize(
    ("sync", "quantization", "hands"),
    [("collective", "none", False), ("disk", "none", True), ("tensor", "none", True), ("tensor", "fp8_block", False)],
)
def test_servers_read_a_model_s_folder_themselves_unless_a_broadcast_reaches_them_or_it_changes_form(
    sync: str, quantization: str, hands: bool, tmp_path: Path
) -> None:
    weights = WeightsConfig(sync=sync, quantization=quantization)
    pool = ServerPool(RolloutConfig(engine="sglang"), weights, Placement(1, (range(1),), (), False), None, tmp_path)
    assert pool.hands_folders == hands
