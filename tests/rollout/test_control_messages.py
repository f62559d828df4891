"""While servers speak, ranks wait on the CPU, for as long as it takes, and are sent no more than they need."""

from __future__ import annotations

from typing import Any

import pytest

from tests.processes import two_ranks
from tests.rollout.control_ranks import LEARNERS_LIMIT_S
from tests.rollout.sharded_ranks import REQUESTS

pytestmark = pytest.mark.gloo
SPOKEN = ("rollouts", "10 votes", "100 votes", "embedded")


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return two_ranks("tests.rollout.control_ranks", tmp_path_factory.mktemp("ranks"), patience_s=300)


def nbytes(rank: dict[str, Any], during: str) -> int:
    return sum(size for what, _, _, size in rank["seen"] if what == during)


def test_no_collective_of_the_learner_s_group_is_issued_while_servers_speak(ranks: list[dict[str, Any]]) -> None:
    """With GPUs that group is NCCL's, of which a waiting rank runs a kernel; the other is gloo's there, too."""
    for rank in ranks:
        assert {during for during, *_ in rank["seen"]} == {*SPOKEN, "learner"}
        over = {(during, learners, backend) for during, learners, backend, _ in rank["seen"]}
        assert over == {*((during, False, "gloo") for during in SPOKEN), ("learner", True, "gloo")}


def test_ranks_wait_longer_for_servers_than_a_collective_may_take(ranks: list[dict[str, Any]]) -> None:
    assert all(rank["took"] > LEARNERS_LIMIT_S for rank in ranks)
    assert [rank["rollouts"] for rank in ranks] == [40, 40]
    assert [rank["embedded"] for rank in ranks] == [sum(request.n for request in REQUESTS)] * 2


def test_of_votes_nothing_is_sent_to_other_ranks(ranks: list[dict[str, Any]]) -> None:
    """Ten times as many take the same messages: that there is something to draw, and that it is drawn."""
    assert [[rank["10 votes"], rank["100 votes"]] for rank in ranks] == [[10, 100], [0, 0]]
    for rank in ranks:
        assert nbytes(rank, "10 votes") == nbytes(rank, "100 votes") < 200
        assert nbytes(rank, "rollouts") > 40 * 12  # these are trained on by all
