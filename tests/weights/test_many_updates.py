"""A thousand updates in a row on one server: it keeps its memory, and its weights are the last ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from rzero_mega.weights.shape import shape_of
from rzero_mega.weights.transports.collective import CollectiveTransport
from rzero_mega.weights.transports.session import update_servers
from rzero_mega.weights.verification.checksums import ExpectedChecksums, check_checksums
from tests.rollout.sglang.measures import memory_bytes
from tests.weights.updates import stream

pytestmark = [pytest.mark.sglang, pytest.mark.slow]

UPDATES, WARM_UP = 1000, 200
GROWTH = 0.02


def test_a_thousand_updates_leave_the_servers_memory_as_it_was(
    tiny_model: Callable[..., Any], sglang_server: Callable[..., Any], tmp_path: Path
) -> None:
    models = [tiny_model("qwen3", seed) for seed in range(2)]
    models[0].save_pretrained(tmp_path)
    process = sglang_server(tmp_path, replica="many updates")
    client, transport = process.client(), CollectiveTransport("gloo", "127.0.0.1")
    memory = {}
    try:
        for number in range(1, UPDATES + 1):
            update_servers([client], transport, stream(models[number % 2]), str(number))
            if number in (WARM_UP, UPDATES):
                memory[number] = memory_bytes(process)
        last = models[UPDATES % 2]
        expected = ExpectedChecksums(shape_of(last.config), 1, torch.float32)
        report = update_servers([client], transport, expected.watch(stream(last)), "last")
        assert check_checksums(client, expected, "last").available
    finally:
        transport.close()
    growth = memory[UPDATES] / memory[WARM_UP] - 1
    print(f"memory after {WARM_UP} updates {memory[WARM_UP]:,}, after {UPDATES} {memory[UPDATES]:,}: {growth:+.2%}")
    assert report.buckets > 1
    assert growth < GROWTH
