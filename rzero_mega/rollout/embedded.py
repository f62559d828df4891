"""The embedded engine: transformers in this process. The reference for other engines, and all that a laptop needs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from rzero_mega.errors import UserError, first_line
from rzero_mega.rollout.decoding import Continuation, Decoder
from rzero_mega.rollout.experts import checkpoint_views
from rzero_mega.rollout.limits import check_prompts, stop_tokens
from rzero_mega.rollout.protocol import Arrived, Draw, Request, Sample, Scored, draws_of, logprob_array, token_array
from rzero_mega.weights.hf_folder import dtype_named
from rzero_mega.weights.mapping.experts import HF_BIAS
from rzero_mega.weights.model_config import read_config
from rzero_mega.weights.shape import shape_of
from rzero_mega.weights.sources import tensors_of

if TYPE_CHECKING:
    from rzero_mega.weights.sources import WeightSource


class EmbeddedEngine:
    """A `RolloutEngine` around a transformers model.

    The same requests give the same samples bit for bit on the same machine and number of threads.
    """

    def __init__(
        self, model_path: Path, dtype: str = "float32", batch_sequences: int = 256, device: str = "cpu"
    ) -> None:
        """Load the folder `model_path` (Hugging Face format, safetensors).

        `dtype` is that of the weights, "float32" or "bfloat16"; at most `batch_sequences` samples decode together.
        """
        self._model = _load(model_path, dtype_named(dtype), device)
        self._context = int(self._model.config.max_position_embeddings)
        self._decoder = Decoder(self._model, stop_tokens(model_path), self._context, batch_sequences)
        self._weight_version = 0

    def generate(self, requests: Sequence[Request]) -> list[Sample]:
        """All samples, request-major, then by index.

        Raises UserError if a prompt leaves no room in the model's context, or if the logits aren't finite.
        """
        check_prompts(requests, self._context)
        draws = draws_of(requests)
        continuations = self._decode_by_sampling(draws)
        self._check_finite(continuations)
        return [self._sample(draw, continuation) for draw, continuation in zip(draws, continuations, strict=True)]

    def generate_units(self, units: Sequence[Sequence[Request]], arrived: Arrived) -> None:
        """One unit after the other."""
        for number, unit in enumerate(units):
            if not arrived(number, self.generate(unit)):
                return

    @property
    def context(self) -> int:
        """What the model was made for."""
        return self._context

    @property
    def receivers(self) -> Sequence[int]:
        """The first rank: alone, this engine serves one process."""
        return (0,)

    @torch.no_grad()
    def score(self, sequences: Sequence[Scored]) -> list[tuple[float, ...]]:
        """Log-probability at temperature 1 of every response token, by one forward pass per sequence."""
        return [self._score(sequence) for sequence in sequences]

    def prepare(self) -> None:
        """Nothing to do: they are here since the engine was made."""

    def update_weights(self, source: WeightSource, version: int) -> None:
        """Replace every weight; the old ones stay if the stream isn't exactly the model's tensors."""
        weights: dict[str, Tensor] = dict(self._model.named_parameters())
        weights |= {name: buffer for name, buffer in self._model.named_buffers() if name.endswith(HF_BIAS)}
        staged = _stage(source, weights, self._tied_to())
        for name, weight in weights.items():
            weight.data = staged[name]
        self._weight_version = version

    def close(self) -> None:
        """Free the model; the engine cannot be used afterwards."""
        del self._decoder, self._model

    def _score(self, sequence: Scored) -> tuple[float, ...]:
        tokens = torch.tensor([[*sequence.prompt_tokens, *sequence.response_tokens]], device=self._model.device)
        first = len(sequence.prompt_tokens)
        logits = self._model(tokens, use_cache=False).logits[0, first - 1 : -1].float()
        logprobs = logits.log_softmax(-1).gather(1, tokens[0, first:, None])[:, 0]
        return tuple(logprobs.tolist())

    def _decode_by_sampling(self, draws: list[Draw]) -> list[Continuation]:
        groups: dict[tuple[object, ...], list[Draw]] = {}
        for draw in draws:
            groups.setdefault(astuple(draw.request.sampling), []).append(draw)
        done: dict[int, Continuation] = {}
        for group in groups.values():
            continuations = self._decoder.decode(group, group[0].request.sampling)
            done.update(zip((draw.position for draw in group), continuations, strict=True))
        return [done[draw.position] for draw in draws]

    def _check_finite(self, continuations: list[Continuation]) -> None:
        if all(math.isfinite(sum(continuation.logprobs)) for continuation in continuations):
            return
        # What is not a number would outlive its rows: a masked position still enters the sum as 0 * value.
        self._decoder.release()
        raise UserError(
            f"the weights of version {self._weight_version} give logits that are not finite; "
            "go back to an earlier step and lower learning_rate"
        )

    def _sample(self, draw: Draw, continuation: Continuation) -> Sample:
        return Sample(
            key=draw.request.key,
            index=draw.index,
            prompt_tokens=draw.request.prompt_tokens,
            tokens=token_array(continuation.tokens),
            logprobs=logprob_array(continuation.logprobs if draw.request.logprobs else ()),
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


def _load(model_path: Path, dtype: torch.dtype, device: str) -> PreTrainedModel:
    config = read_config(model_path)
    shape_of(config)
    try:
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            model_path,
            config=config,
            dtype=dtype,
            attn_implementation="sdpa",
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
        )
    except (OSError, ValueError) as error:
        raise UserError(f"{model_path}: not loadable as a model in Hugging Face format: {first_line(error)}") from None
    model.requires_grad_(False)
    return model.to(device).eval()


def _stage(source: WeightSource, weights: Mapping[str, Tensor], tied: Mapping[str, str]) -> dict[str, Tensor]:
    """Copies of the whole stream in the model's type and place, checked against its weights.

    Copies, for the sender may reuse its buffer for the next tensor.
    """
    staged = {name: torch.empty_like(weight) for name, weight in weights.items()}
    views = checkpoint_views(staged)
    tied_copies: dict[str, Tensor] = {}
    missing = dict.fromkeys(views)
    for name, tensor in tensors_of(source):
        view = views.get(tied.get(name, name))
        if view is None:
            raise UserError(f"tensor {name} is not one of the model's; send a checkpoint of the same model")
        if name in tied_copies or (name not in tied and name not in missing):
            raise UserError(f"tensor {name} came twice")
        if tensor.shape != view.shape:
            raise UserError(f"tensor {name} has shape {list(tensor.shape)}, the model's has {list(view.shape)}")
        if name in tied:
            tied_copies[name] = tensor.detach().to(device=view.device, dtype=view.dtype, copy=True)
        else:
            view.copy_(tensor.detach())
            del missing[name]
    if missing:
        raise UserError(f"tensor {next(iter(missing))} is missing from the update ({len(missing)} missing in all)")
    for name, copy in tied_copies.items():
        if not torch.equal(copy, staged[tied[name]]):
            raise UserError(f"tensor {name} differs from {tied[name]}, but the model ties the two")
    return staged
