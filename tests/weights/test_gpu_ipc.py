"""Weights through a CUDA-IPC handle: another process on the GPU reads the learner's own memory."""

from __future__ import annotations

import base64
import pickle
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import torch

from rzero_mega.weights.bucket import to_buckets
from rzero_mega.weights.transports.tensor import TensorTransport

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"),
]


def read_payload(payload: str) -> tuple[str, list[float]]:
    """What a server does with a payload; (device, values of the first tensor)."""
    content: dict[str, Any] = pickle.loads(base64.b64decode(payload))
    first, data = content["metadata"][0], content["flattened_tensor"]
    values = data[first.start_idx : first.end_idx].view(first.dtype).view(first.shape)
    found = str(data.device.type), values.flatten().tolist()
    del content, data, values
    return found


class ReadingServer:
    """Stands in for a server: reads every payload in a process of its own."""

    name, url, tp = "reader", "http://reader", 1

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self.payloads: list[str] = []
        self.read: list[tuple[str, list[float]]] = []

    def post(self, path: str, body: dict[str, Any], timeout_s: float | None = None) -> Any:
        self.payloads += body["serialized_named_tensors"]
        self.read.append(self._pool.apply(read_payload, (self.payloads[-1],)))
        return {"success": True}


def test_another_process_reads_a_bucket_through_its_handle() -> None:
    big = torch.arange(1 << 20, dtype=torch.float32, device="cuda")
    tensors = [("a", torch.tensor([1.5, -2.5], device="cuda")), ("b", big)]
    with get_context("spawn").Pool(1) as pool:
        server = ReadingServer(pool)
        TensorTransport(handles=True).send([server], to_buckets(tensors, 1 << 30))  # type: ignore[list-item]
    assert server.read == [("cuda", [1.5, -2.5])]
    assert len(server.payloads[0]) < 10_000  # a handle, not four megabytes


@pytest.mark.sglang
def test_a_server_on_the_same_gpu_answers_with_the_weights_that_were_sent(tmp_path: Path) -> None:
    pytest.importorskip("sglang")
    from tools.gpu_steps import cuda_ipc

    found = cuda_ipc.run(cuda_ipc.Settings(log=tmp_path / "server.log"))
    assert found.logprob_difference < cuda_ipc.TOLERANCE < found.logprob_difference_of_old_weights
