"""What tests of weight updates share: tensors of a model, its log-probabilities, and a server that records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from threading import Lock
from typing import Any

import torch
from torch import Tensor

from rzero_mega.errors import UserError
from rzero_mega.rollout.sglang.server.client import SglangClient
from rzero_mega.weights.bucket import Bucket, to_buckets
from rzero_mega.weights.mapping import entries
from rzero_mega.weights.shape import shape_of
from rzero_mega.weights.transports.protocol import ServerError
from tests.hf_tensors import split_experts

BUCKET_BYTES = 30_000


def named_tensors(model: Any) -> dict[str, Tensor]:
    """The tensors of a transformers model in the order of our tables."""
    state = split_experts({name: tensor.detach() for name, tensor in model.state_dict().items()})
    return {name: state[name] for entry in entries(shape_of(model.config)) for name in entry.hf}


def stream(model: Any) -> Iterator[Bucket]:
    """The model in small buckets."""
    return to_buckets(named_tensors(model).items(), BUCKET_BYTES)


@torch.no_grad()
def model_logprobs(model: Any, prompt: Sequence[int], output: Sequence[int]) -> list[float]:
    """Log-probability of each output token at T=1."""
    logits = model(torch.tensor([[*prompt, *output]])).logits[0].float()
    return torch.log_softmax(logits, -1)[len(prompt) - 1 : -1].gather(1, torch.tensor(output)[:, None])[:, 0].tolist()


def sample(client: SglangClient, prompt: Sequence[int], tokens: int) -> tuple[list[int], list[float], dict[str, Any]]:
    """Tokens, their log-probabilities and the meta information of one sample."""
    body = {
        "input_ids": [list(prompt)],
        "sampling_params": {"temperature": 1.0, "max_new_tokens": tokens, "ignore_eos": True},
        "return_logprob": True,
    }
    (answer,) = client.generate(body)
    return answer["output_ids"], [item[0] for item in answer["meta_info"]["output_token_logprobs"]], answer["meta_info"]


def check_versions(servers: Sequence[SglangClient], version: str) -> None:
    """UserError naming every server that does not hold `version`."""
    wrong = [f"{s.name} holds {_explain(found)}" for s in servers if (found := s.weight_version()) != version]
    if wrong:
        raise UserError(f"weights of version {version} are expected, but {'; '.join(wrong)}")


def _explain(found: str) -> str:
    if found.startswith("updating-"):
        return f"an unfinished update to version {found.removeprefix('updating-')}"
    return f"version {found} (it was restarted, or missed an update)"


class RecordingServer:
    """Stands in for a server where only the order of calls matters; fails at the paths in `failing`."""

    def __init__(self, name: str = "server", failing: Sequence[str] = (), tp: int = 1, node: int = 0) -> None:
        self.name, self.url, self.tp, self.node = name, f"http://{name}", tp, node
        self.failing = set(failing)
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.answers: dict[str, Any] = {}
        self._lock = Lock()

    def post(self, path: str, body: Mapping[str, Any], timeout_s: float | None = None) -> Any:
        with self._lock:
            self.calls.append((path, dict(body)))
        if path in self.failing:
            raise ServerError(f"{self.name}: {path}: refused")
        return self.answers.get(path, {"success": True})

    def get(self, path: str, timeout_s: float | None = None) -> Any:
        return self.answers[path]

    def weight_version(self) -> str:
        return str(self.answers["model_info"]["weight_version"])

    def checksums(self) -> list[dict[str, str]]:
        found: list[dict[str, str]] = self.answers["checksums"]
        return found

    def paths(self) -> list[str]:
        return [path for path, _ in self.calls]

    def versions(self) -> list[str]:
        return [body["new_version"] for path, body in self.calls if path == "update_weight_version"]
