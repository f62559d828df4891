"""The embedded engine: transformers in this process. The reference for other engines, and all that a laptop needs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from rzero_mega.config.schema import SamplingConfig
from rzero_mega.errors import UserError
from rzero_mega.rollout.decoding import Continuation, Decoder, Job
from rzero_mega.rollout.protocol import EngineHealth, Request, Sample
from rzero_mega.weights.hf_folder import dtype_named

if TYPE_CHECKING:
    from rzero_mega.rollout.protocol import NamedTensors


class EmbeddedEngine:
    """A `RolloutEngine` around a transformers model.

    The same requests give the same samples bit for bit on the same machine and number of threads.
    """

    def __init__(
        self,
        model_path: Path,
        dtype: str = "float32",
        batch_sequences: int = 256,
        device: str = "cpu",
        weight_version: int = 0,
    ) -> None:
        """Load the folder `model_path` (Hugging Face format, safetensors).

        `dtype` is that of the weights, "float32" or "bfloat16"; at most `batch_sequences` samples decode together.
        """
        self._model = _load(model_path, dtype_named(dtype), device)
        self._context = int(self._model.config.max_position_embeddings)
        self._decoder = Decoder(self._model, stop_tokens(model_path, self._model), self._context, batch_sequences)
        self._weight_version = weight_version

    def generate(self, requests: Sequence[Request]) -> list[Sample]:
        """All samples, request-major, then by index.

        Raises UserError if a prompt leaves no room in the model's context, or if the logits aren't finite.
        """
        self._check(requests)
        jobs = [
            Job(request.prompt_tokens, request.key, index)
            for request in requests
            for index in range(request.first_index, request.first_index + request.n)
        ]
        settings = [request.sampling for request in requests for _ in range(request.n)]
        continuations = self._decode_by_setting(jobs, settings)
        self._check_finite(continuations)
        return [self._sample(job, continuation) for job, continuation in zip(jobs, continuations, strict=True)]

    def update_weights(self, tensors: NamedTensors, version: int) -> None:
        """Replace every weight; the old ones stay if the stream isn't exactly the model's tensors."""
        parameters = dict(self._model.named_parameters())
        staged = _stage(tensors, parameters, self._tied_to())
        for name, parameter in parameters.items():
            parameter.data = staged[name]
        self._weight_version = version

    def health(self) -> EngineHealth:
        """Always ready; which weights it serves."""
        return EngineHealth(ready=True, weight_version=self._weight_version)

    def close(self) -> None:
        """Free the model. The engine can't be used afterwards."""
        del self._decoder, self._model

    def _check(self, requests: Sequence[Request]) -> None:
        for request in requests:
            length = len(request.prompt_tokens)
            if not 0 < length < self._context:
                raise UserError(
                    f"the prompt of request {request.key!r} has {length} tokens; the model's context of "
                    f"{self._context} takes 1 to {self._context - 1} and one new token"
                )

    def _decode_by_setting(self, jobs: list[Job], settings: list[SamplingConfig]) -> list[Continuation]:
        groups: dict[tuple[object, ...], list[int]] = {}
        for i, sampling in enumerate(settings):
            groups.setdefault(astuple(sampling), []).append(i)
        done: dict[int, Continuation] = {}
        for group in groups.values():
            continuations = self._decoder.decode([jobs[i] for i in group], settings[group[0]])
            done.update(zip(group, continuations, strict=True))
        return [done[i] for i in range(len(jobs))]

    def _check_finite(self, continuations: list[Continuation]) -> None:
        if all(math.isfinite(sum(continuation.logprobs)) for continuation in continuations):
            return
        # What is not a number would outlive its rows: a masked position still enters the sum as 0 * value.
        self._decoder.release()
        raise UserError(
            f"the weights of version {self._weight_version} give logits that are not finite; "
            "go back to an earlier step and lower learning_rate"
        )

    def _sample(self, job: Job, continuation: Continuation) -> Sample:
        return Sample(
            key=job.key,
            index=job.index,
            prompt_tokens=job.prompt,
            tokens=continuation.tokens,
            logprobs=continuation.logprobs,
            finish=continuation.finish,
            weight_version=self._weight_version,
        )

    def _tied_to(self) -> dict[str, str]:
        """Names that a checkpoint may hold for a parameter that it also holds under another name."""
        if not self._model.config.tie_word_embeddings:
            return {}
        owner = {id(parameter): name for name, parameter in self._model.named_parameters()}
        return {
            name: owner[id(parameter)]
            for name, parameter in self._model.named_parameters(remove_duplicate=False)
            if owner[id(parameter)] != name
        }


def stop_tokens(model_path: Path, model: PreTrainedModel) -> frozenset[int]:
    """Every end-of-sequence id that the generation config, the config or the tokenizer names."""
    sources = [model.config.eos_token_id, model.generation_config.eos_token_id if model.generation_config else None]
    if (model_path / "tokenizer_config.json").is_file():
        tokenizer = AutoTokenizer.from_pretrained(model_path, local_files_only=True, trust_remote_code=False)
        sources.append(tokenizer.eos_token_id)
    found: set[int] = set()
    for source in sources:
        found.update(source if isinstance(source, list) else [] if source is None else [source])
    return frozenset(found)


def _load(model_path: Path, dtype: torch.dtype, device: str) -> PreTrainedModel:
    try:
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            model_path,
            dtype=dtype,
            attn_implementation="sdpa",
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
        )
    except (OSError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"{model_path}: not loadable as a model in Hugging Face format: {reason}") from None
    if any(kind != "full_attention" for kind in getattr(model.config, "layer_types", None) or ()):
        raise UserError(f"{model_path}: sliding-window attention is not supported by the embedded engine; use SGLang")
    model.requires_grad_(False)
    return model.to(device).eval()


def _stage(tensors: NamedTensors, parameters: dict[str, torch.nn.Parameter], tied: dict[str, str]) -> dict[str, Tensor]:
    """Copies of the whole stream in the model's type and place, checked against its parameters.

    Copies, for the sender may reuse its buffer for the next tensor.
    """
    staged: dict[str, Tensor] = {}
    for name, tensor in tensors:
        like = parameters.get(tied.get(name, name))
        if like is None:
            raise UserError(f"tensor {name} is not one of the model's; send a checkpoint of the same model")
        if name in staged:
            raise UserError(f"tensor {name} came twice")
        if tensor.shape != like.shape:
            raise UserError(f"tensor {name} has shape {list(tensor.shape)}, the model's has {list(like.shape)}")
        staged[name] = tensor.detach().to(device=like.device, dtype=like.dtype, copy=True)
    missing = [name for name in parameters if name not in staged]
    if missing:
        raise UserError(f"tensor {missing[0]} is missing from the update ({len(missing)} missing in all)")
    for name, original in tied.items():
        if name in staged and not torch.equal(staged[name], staged[original]):
            raise UserError(f"tensor {name} differs from {original}, but the model ties the two")
    return staged
