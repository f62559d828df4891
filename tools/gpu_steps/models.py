"""What the steps share: random models in Hugging Face format, packed batches, gradients, and comparisons of tensors."""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from rzero_mega.config.layout import ParallelLayout
from rzero_mega.config.schema import Fp8Config, GrpoConfig, LearnerConfig, OptimizerConfig
from rzero_mega.learner.megatron import compat
from tools.random_model import write_random_model

compat.install()  # before anything of Megatron's

from rzero_mega.learner.batch import LocalUpdate, MicroBatch, TrainingSequence, build_micro_batch  # noqa: E402
from rzero_mega.learner.forward_backward import accumulate_gradients, score  # noqa: E402
from rzero_mega.learner.learner import Learner  # noqa: E402
from rzero_mega.learner.megatron.context_parallel import TokenSplit  # noqa: E402
from rzero_mega.learner.megatron.fp8 import token_multiple  # noqa: E402
from rzero_mega.learner.megatron.model import build_model, load_weights  # noqa: E402
from rzero_mega.learner.megatron.optimizer import build_optimizer  # noqa: E402
from rzero_mega.learner.megatron.process_groups import device, start_process_groups  # noqa: E402
from rzero_mega.learner.megatron.spec import LayerSpec, layer_spec  # noqa: E402
from rzero_mega.weights.shape import read_shape  # noqa: E402

# Advantages of one, no KL term, no importance weights and nothing to clip: maximum likelihood of the responses.
LIKELIHOOD = GrpoConfig(kl_coefficient=0.0, importance_cap=None, sequences_per_update=1 << 20)


@dataclass(frozen=True)
class Sizes:
    """A Qwen3 model; with `experts` a mixture of them, each of width `expert_ffn`, of which a token has `per_token`."""

    layers: int = 4
    hidden: int = 1024
    ffn: int = 3072
    heads: int = 8
    kv_heads: int = 4
    head_dim: int = 128
    vocab: int = 32000
    experts: int = 0
    per_token: int = 8
    expert_ffn: int = 768

    def write(self, folder: Path, dtype: torch.dtype = torch.bfloat16, seed: int = 0) -> Path:
        """Write the model with random weights into a folder; returns the folder."""
        config = {
            "model_type": "qwen3",
            "num_hidden_layers": self.layers,
            "hidden_size": self.hidden,
            "intermediate_size": self.ffn,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_dim,
            "vocab_size": self.vocab,
            "max_position_embeddings": 40960,
            "tie_word_embeddings": False,
        }
        if self.experts:
            config |= {
                "model_type": "qwen3_moe",
                "num_experts": self.experts,
                "num_experts_per_tok": self.per_token,
                "moe_intermediate_size": self.expert_ffn,
                "norm_topk_prob": True,
                "mlp_only_layers": [],
                "decoder_sparse_step": 1,
            }
        write_random_model(folder, config, dtype, seed)
        return folder


@dataclass(frozen=True)
class Gap:
    """How far two sets of tensors are apart. `relative` is the norm of the difference over the norm of the first."""

    relative: float
    cosine: float
    largest: float
    lowest_cosine: float
    lowest_cosine_of: str


def alone(deterministic: bool = False) -> ParallelLayout:
    """The layout of one process, started."""
    layout = ParallelLayout()
    start_process_groups(layout, 0, deterministic=deterministic)
    return layout


def chains(count: int, length: int, vocab: int, seed: int, successors: int = 4) -> list[TrainingSequence]:
    """Sequences of a Markov chain in which every token has `successors` equally likely ones, seeded.

    A model can learn them down to log(successors) nats per token. The first token is the prompt. Rollout
    log-probabilities are 0, so that the learner's `logprob_difference` is the negative log-likelihood per token.
    """
    draw = random.Random(seed)
    found = []
    for _ in range(count):
        tokens = [draw.randrange(vocab)]
        while len(tokens) < length:
            # A fixed multiplicative scramble: the same chain for all seeds.
            tokens.append((tokens[-1] * 7919 + 104729 * (1 + draw.randrange(successors))) % vocab)
        response = tuple(tokens[1:])
        found.append(TrainingSequence((tokens[0],), response, (0.0,) * len(response), 1.0))
    return found


def one_micro_batch(sequences: Sequence[TrainingSequence], fp8: Fp8Config | None = None) -> MicroBatch:
    """All sequences in one micro-batch on this process's device; every response token has the same weight."""
    weight = 1.0 / sum(len(sequence.response) for sequence in sequences)
    split = TokenSplit(token_multiple=token_multiple(fp8) if fp8 else 1)
    return build_micro_batch(sequences, [weight] * len(sequences), range(len(sequences)), split, device())


def logprobs_and_gradients(
    folder: Path,
    learner: LearnerConfig,
    sequences: Sequence[TrainingSequence],
    spec: LayerSpec = layer_spec,
    passes: int = 1,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Log-probabilities [response tokens] and the gradient by Megatron's names of one batch, in host memory.

    `passes` counts backward passes, of which the last one's gradient is given: FP8 with delayed scaling knows the
    size of gradients only after a first one.
    """
    model = build_model(read_shape(folder), alone(), learner, spec)
    load_weights(model, folder)
    build_optimizer(model, OptimizerConfig())  # gives the model its main gradients' scale
    micro_batch = one_micro_batch(sequences, learner.fp8)
    scores = score(model, [micro_batch])
    assert scores is not None  # there is one pipeline stage
    for _ in range(passes):
        accumulate_gradients(model, LocalUpdate([micro_batch]), LIKELIHOOD)
    # The type of Transformer Engine's FP8 weights does not matter here: main gradients are plain fp32.
    parameters: dict[str, Any] = model.parameters
    gradients = {name: p.main_grad.to("cpu", torch.float32, copy=True) for name, p in parameters.items()}
    return scores[0][micro_batch.response_mask].float().cpu(), gradients


def learner_of(folder: Path, learner: LearnerConfig, learning_rate: float, longest: int) -> Learner:
    """A learner that maximises likelihood."""
    optimizer = OptimizerConfig(learning_rate=learning_rate, weight_decay=0.0)
    return Learner(folder, alone(learner.deterministic), learner, LIKELIHOOD, optimizer, longest)


def gap(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> Gap:
    """Compare two sets of tensors of the same names; sums are in float64."""
    if first.keys() != second.keys():
        raise ValueError(f"names differ: {sorted(first.keys() ^ second.keys())[:3]}")
    dot, squares, other_squares, difference, largest = 0.0, 0.0, 0.0, 0.0, 0.0
    cosines: dict[str, float] = {}
    for name, a in first.items():
        x, y = a.double().flatten(), second[name].double().flatten()
        xy, xx, yy = float(x @ y), float(x @ x), float(y @ y)
        cosines[name] = xy / (xx * yy) ** 0.5 if xx and yy else float(xx == yy)
        dot, squares, other_squares = dot + xy, squares + xx, other_squares + yy
        change = x - y
        difference += float(change @ change)
        largest = max(largest, float(change.abs().max()))
    worst = min(cosines, key=lambda name: cosines[name])
    both = (squares * other_squares) ** 0.5
    relative = (difference / squares) ** 0.5 if squares else float(difference > 0)
    return Gap(relative, dot / both if both else 0.0, largest, cosines[worst], worst)


def free_memory() -> None:
    """Give back what is unused, after a model has been let go of."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def synchronize() -> None:
    """Wait for the GPU, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def median_seconds(once: Callable[[], object], passes: int, wait: Callable[[], None] = synchronize) -> float:
    """Of so many passes, each by itself; `wait` for what it starts, by default for the whole GPU."""
    found = []
    for _ in range(passes):
        wait()
        start = time.perf_counter()
        once()
        wait()
        found.append(time.perf_counter() - start)
    return median(found)
