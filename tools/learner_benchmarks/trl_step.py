"""Optimizer steps of TRL's GRPOTrainer against the learner's: the same model, rollouts, rewards and loss.

Generation is left out of both. TRL gets its rollouts from a `rollout_func` that hands out fixed tokens and its rewards
from a list, and otherwise runs its own `train()`: a step is what lies between its callbacks `on_step_begin` and
`on_step_end`, with the reference's log-probabilities, as in our `train_step`. After each of TRL's steps follows one of
ours. Both compute in fp32 without recomputing activations, and TRL in micro-batches of several sizes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

from rzero_mega.config.schema import GrpoConfig, OptimizerConfig
from rzero_mega.learner.learner import Learner
from tools.learner_benchmarks.packed import new_learner
from tools.learner_benchmarks.rollouts import GROUP, LONGEST_RESPONSE, SCALE, Rollouts, rollouts, write_model

MICRO_BATCHES = (4, 16, 64)


@dataclass
class TrlStep:
    """Median seconds of a step; the gradient norms of the first step show that both compute the same."""

    trl_version: str
    trl_micro_batch: int
    sequences: int
    tokens: int
    ours_s: float
    trl_s: float
    ours_gradient_norm: float
    trl_gradient_norm: float


def available() -> bool:
    """Whether TRL is installed."""
    return find_spec("trl") is not None and find_spec("datasets") is not None


def run(repeats: int, folder: Path) -> list[TrlStep]:
    """Measure TRL's every size of micro-batch."""
    model = write_model(folder / "model")
    return [_compare(size, repeats, model, folder) for size in MICRO_BATCHES]


def _compare(size: int, repeats: int, model: Path, folder: Path) -> TrlStep:
    import trl
    from transformers import TrainerCallback

    batch, learner = rollouts("solver"), new_learner(Learner, model)
    ours: list[float] = []
    theirs: list[float] = []
    norms: dict[str, list[float]] = {"ours": [], "trl": []}

    class InTurn(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.began = time.process_time()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            theirs.append(time.process_time() - self.began)
            start = time.process_time()
            norms["ours"].append(learner.train_step(batch.sequences).grad_norm)
            ours.append(time.process_time() - start)

        def on_log(self, *_: Any, logs: dict[str, float] | None = None, **__: Any) -> None:
            if logs and "grad_norm" in logs:
                norms["trl"].append(float(logs["grad_norm"]))

    _trainer(size, repeats + 1, batch, model, folder, InTurn()).train()
    if not math.isclose(norms["ours"][0], norms["trl"][0], rel_tol=1e-2):
        raise SystemExit(f"bench_learner: TRL computes something else: gradient norms {norms}")
    return TrlStep(
        trl_version=trl.__version__,
        trl_micro_batch=size,
        sequences=len(batch.sequences),
        tokens=batch.tokens,
        ours_s=median(ours[1:]),
        trl_s=median(theirs[1:]),
        ours_gradient_norm=norms["ours"][0],
        trl_gradient_norm=norms["trl"][0],
    )


def _trainer(size: int, steps: int, batch: Rollouts, model: Path, folder: Path, callback: Any) -> Any:
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl import GRPOConfig, GRPOTrainer

    grpo, optimizer = GrpoConfig(), OptimizerConfig()
    arguments = GRPOConfig(
        output_dir=str(folder / "trl"),
        use_cpu=True,
        bf16=False,
        model_init_kwargs={"dtype": "float32"},
        gradient_checkpointing=False,
        per_device_train_batch_size=size,
        gradient_accumulation_steps=len(batch.sequences) // size,
        num_generations=GROUP,
        max_completion_length=LONGEST_RESPONSE // SCALE,
        max_steps=steps,
        shuffle_dataset=False,
        beta=grpo.kl_coefficient,
        epsilon=grpo.clip_low,
        epsilon_high=grpo.clip_high,
        loss_type="dapo",  # the mean over all tokens of the batch
        learning_rate=optimizer.learning_rate,
        weight_decay=optimizer.weight_decay,
        lr_scheduler_type="constant",
        max_grad_norm=optimizer.clip_gradient_norm,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
    prompts = [str(number) for number in range(len(batch.sequences) // GROUP)]
    return GRPOTrainer(
        model=str(model),
        args=arguments,
        processing_class=AutoTokenizer.from_pretrained(model, local_files_only=True),
        train_dataset=Dataset.from_dict({"prompt": prompts}),
        rollout_func=lambda asked, _trainer: _fixed(asked, batch),
        reward_funcs=lambda prompts, **_: [batch.rewards[i] for i in _indices(prompts)],
        callbacks=[callback],
    )


def _indices(prompts: Sequence[str]) -> list[int]:
    """Which rollouts the prompts stand for: each number in turn for those of its group."""
    seen: dict[str, int] = {}
    found = []
    for prompt in prompts:
        found.append(int(prompt) * GROUP + seen.get(prompt, 0))
        seen[prompt] = seen.get(prompt, 0) + 1
    return found


def _fixed(prompts: Sequence[str], batch: Rollouts) -> dict[str, list[list[Any]]]:
    chosen = [batch.sequences[i] for i in _indices(prompts)]
    return {
        "prompt_ids": [list(sequence.prompt) for sequence in chosen],
        "completion_ids": [list(sequence.response) for sequence in chosen],
        "logprobs": [list(sequence.rollout_logprobs) for sequence in chosen],
    }
