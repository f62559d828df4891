"""Places of the learner's ranks and of servers on a job's nodes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rzero_mega.config import Config, load_config
from rzero_mega.config.placement import on_one_machine, placement_of
from rzero_mega.errors import UserError

PAPER = load_config(["paper"], ["rollout.engine=sglang"])


def config(nodes: int, per_node: int, processes: int, replicas: int, tp: int, servers: str) -> Config:
    sglang = replace(PAPER.rollout.sglang, replicas=replicas, tp=tp)
    return replace(
        PAPER,
        placement=replace(PAPER.placement, nodes=nodes, gpus_per_node=per_node, servers=servers),
        learner=replace(PAPER.learner, processes=processes),
        rollout=replace(PAPER.rollout, sglang=sglang),
    )


def test_split_servers_have_the_gpus_that_the_learner_leaves() -> None:
    placement = placement_of(config(1, 8, 4, 4, 1, "split"))
    assert placement.ranks == (range(0, 4),)
    assert [(place.node, place.first_gpu) for place in placement.servers] == [(0, 4), (0, 5), (0, 6), (0, 7)]
    assert not placement.shared_gpus


def test_split_over_nodes_gives_whole_nodes_to_servers() -> None:
    placement = placement_of(config(3, 8, 16, 2, 4, "split"))
    assert placement.ranks == (range(0, 8), range(8, 16), range(16, 16))
    assert [(place.node, place.first_gpu) for place in placement.servers] == [(2, 0), (2, 4)]


def test_colocated_servers_share_the_learners_gpus() -> None:
    placement = placement_of(config(2, 8, 16, 4, 4, "colocated"))
    assert [(place.node, place.first_gpu) for place in placement.servers] == [(0, 0), (0, 4), (1, 0), (1, 4)]
    assert placement.shared_gpus


def test_the_embedded_engine_has_no_servers() -> None:
    assert placement_of(load_config(["paper", "nano"])).servers == ()


def test_one_machine_without_gpus_has_room_for_any_number() -> None:
    placement = on_one_machine(config(1, 1, 2, 5, 2, "split"))
    assert (placement.ranks, len(placement.servers), placement.shared_gpus) == ((range(2),), 5, False)
    assert on_one_machine(config(1, 1, 2, 5, 2, "colocated")).shared_gpus
    assert on_one_machine(load_config(["paper", "nano"])).servers == ()


@pytest.mark.parametrize(
    ("arguments", "key"),
    [((1, 8, 16, 1, 1, "split"), "learner.processes"), ((1, 8, 8, 1, 1, "split"), "rollout.sglang.replicas")],
)
def test_what_does_not_fit_is_named(arguments: tuple[int, int, int, int, int, str], key: str) -> None:
    with pytest.raises(UserError, match=key):
        placement_of(config(*arguments))


@given(
    st.integers(1, 4), st.integers(1, 8), st.integers(1, 32), st.integers(1, 8), st.integers(1, 4),
    st.sampled_from(["colocated", "split"]),
)  # fmt: skip
def test_every_place_exists_and_is_given_once(
    nodes: int, per_node: int, processes: int, replicas: int, tp: int, servers: str
) -> None:
    try:
        placement = placement_of(config(nodes, per_node, processes, replicas, tp, servers))
    except UserError:
        return
    assert [rank for here in placement.ranks for rank in here] == list(range(processes))
    taken = [(place.node, place.first_gpu + offset) for place in placement.servers for offset in range(tp)]
    assert len(set(taken)) == len(taken) == replicas * tp
    learner = {(node, gpu) for node, here in enumerate(placement.ranks) for gpu in range(len(here))}
    assert all(node < nodes and gpu < per_node for node, gpu in taken)
    assert set(taken) <= learner if servers == "colocated" else not set(taken) & learner
