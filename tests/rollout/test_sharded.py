"""Sharing requests out over ranks."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rzero_mega.config.schema import SamplingConfig
from rzero_mega.rollout.protocol import Request
from rzero_mega.rollout.sharded import RequestSlice, ShardedEngine, split_requests
from rzero_mega.weights.sources import GatheredWeights
from tests.rollout import sharded_ranks
from tests.rollout.sharded_ranks import REQUESTS, StreamEngine

requests = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 5)), max_size=12).map(
    lambda shapes: [Request(f"r{i}", (1,), n, SamplingConfig(), first) for i, (n, first) in enumerate(shapes)]
)


@given(requests, st.integers(1, 9))
def test_every_sample_falls_to_one_rank_and_all_ranks_have_as_many(requests: list[Request], ranks: int) -> None:
    split = split_requests(requests, ranks)
    drawn = [(cut.request, cut.first_index + i) for slices in split for cut in slices for i in range(cut.n)]
    assert sorted(drawn) == [
        (r, requests[r].first_index + i) for r in range(len(requests)) for i in range(requests[r].n)
    ]
    loads = [sum(cut.n for cut in slices) for slices in split]
    assert max(loads) - min(loads) <= 1


@given(requests, st.integers(1, 9))
def test_few_requests_are_cut(requests: list[Request], ranks: int) -> None:
    pieces = sum(len(slices) for slices in split_requests(requests, ranks))
    assert pieces <= sum(request.n > 0 for request in requests) + ranks - 1


def test_one_prompt_of_many_samples_is_shared() -> None:
    split = split_requests([Request("a", (1,), 128, SamplingConfig())], 2)
    assert split == [[RequestSlice(0, 0, 64)], [RequestSlice(0, 64, 64)]]


def test_neighbouring_requests_go_to_different_ranks() -> None:
    split = split_requests([Request(f"r{i}", (1,), 10, SamplingConfig()) for i in range(6)], 3)
    assert [[cut.request for cut in slices] for slices in split] == [[0, 3], [1, 4], [2, 5]]


def test_without_a_process_group_the_engine_answers_itself() -> None:
    engine = StreamEngine()
    sharded = ShardedEngine(engine)
    assert sharded.generate(REQUESTS) == StreamEngine().generate(REQUESTS)
    sharded.update_weights(GatheredWeights(lambda: iter(()), 1), version=5)
    assert engine.updates == [5]


@pytest.mark.gloo
def test_two_ranks_draw_half_each_get_all_and_fail_together(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ranks = [context.Process(target=sharded_ranks.run, args=(rank, 2, tmp_path), daemon=True) for rank in range(2)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(120)
    assert [process.exitcode for process in ranks] == [0, 0]
    findings = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(2)]
    assert sum(f["drawn"] for f in findings) == sum(request.n for request in REQUESTS)
    for finding in findings:
        assert finding["equal"] and finding["after_errors"] and finding["empty"] == []
        assert finding["user_error"] == ["UserError", "prompt too long"]
        assert "inside" in finding["bug"][1]
        for versions in (finding["versions"], finding["unit_versions"]):
            assert versions[0] == "RuntimeError" and "[4, 5]" in versions[1]
        assert "inside" in finding["unit_error"][1]
    assert [finding["unit"] for finding in findings] == [[True], []]  # handed over on the first rank alone
    assert {finding["bug"][0] for finding in findings} == {"ZeroDivisionError", "RuntimeError"}


def test_the_ranks_of_the_test_cut_a_request() -> None:
    cut_requests = [cut.request for slices in split_requests(REQUESTS, 2) for cut in slices]
    assert len(cut_requests) == len(set(cut_requests)) + 1
