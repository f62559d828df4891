"""What rank 0 does for all ranks, and how an error of one ends all."""

from __future__ import annotations

from typing import Any

import pytest

from rzero_mega import spmd
from rzero_mega.errors import UserError
from tests.processes import two_ranks

pytestmark = pytest.mark.gloo


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return two_ranks("tests.spmd_ranks", tmp_path_factory.mktemp("ranks"), patience_s=120)


def test_rank_0_works_and_all_get_its_result(ranks: list[dict[str, Any]]) -> None:
    assert [rank["result"] for rank in ranks] == [["returned", "result of rank 0"]] * 2
    assert [rank["calls"] for rank in ranks] == [["result"], []]


def test_what_rank_0_keeps_and_gathers_stays_there(ranks: list[dict[str, Any]]) -> None:
    assert [rank["kept"] for rank in ranks] == [["returned", "kept of rank 0"], ["returned", None]]
    assert [rank["gathered"] for rank in ranks] == [["of rank 0", "of rank 1"], []]
    assert [rank["error on 0, kept"] for rank in ranks] == [rank["error on 0"] for rank in ranks]


def test_an_error_of_rank_0_ends_all_and_is_its_own_to_tell(ranks: list[dict[str, Any]]) -> None:
    assert [rank["error on 0"] for rank in ranks] == [["UserError", "no such folder"], ["PeerFailed", "no such folder"]]


def test_an_error_of_any_rank_ends_all_and_rank_0_tells(ranks: list[dict[str, Any]]) -> None:
    message = "rank 1 has no room"
    assert [rank["error on 1"] for rank in ranks] == [["UserError", message], ["PeerFailed", message]]
    assert [rank["no error"] for rank in ranks] == [["returned", None]] * 2


@pytest.mark.parametrize("failed", [0, 1])
def test_a_write_of_all_ranks_that_fails_on_one_ends_all_after_the_stream(
    failed: int, ranks: list[dict[str, Any]]
) -> None:
    said = f"rank {failed} has no room"
    assert [rank[f"write failed on {failed}"] for rank in ranks] == [["UserError", said], ["PeerFailed", said]]
    assert [rank[f"taken, failed on {failed}"] for rank in ranks] == [[0, 1, 2]] * 2


def test_two_threads_with_groups_of_their_own_do_not_mix_up_their_messages(ranks: list[dict[str, Any]]) -> None:
    expected = [f"{name} {number} of rank 0" for name in ("thread", "main") for number in range(20)]
    assert [rank["threads"] for rank in ranks] == [expected] * 2


def test_one_process_is_rank_0() -> None:
    def fail() -> None:
        raise UserError("alone")

    assert spmd.rank() == 0 and spmd.new_group() is None
    assert spmd.on_rank_0(lambda first, second: first - second, 3, second=1) == 2
    assert spmd.kept_on_rank_0(len, "kept") == 4 and spmd.gather(1) == [1]
    for together in (spmd.on_rank_0, spmd.on_all_ranks):
        with pytest.raises(UserError, match="alone"):
            together(fail)
    spmd.barrier()
