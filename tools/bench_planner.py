"""The planner's memory against what torch holds: `python -m tools.bench_planner [--json]`.

Builds models with random weights, trains each for one step, and compares every kind of memory with the prediction for
the same model, tokens and modules: on a GPU Transformer Engine's, on a CPU Megatron's local ones.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from typing import Annotated, Any

from rzero_mega.learner.megatron import compat

compat.install()  # before anything of Megatron's

import torch  # noqa: E402
import typer  # noqa: E402
from torch import Tensor  # noqa: E402

from rzero_mega.assets import nano_base_path  # noqa: E402
from rzero_mega.config.layout import ParallelLayout  # noqa: E402
from rzero_mega.config.schema import GrpoConfig, LearnerConfig, LossConfig, OptimizerConfig, PairwiseConfig  # noqa: E402
from rzero_mega.learner.batch import LocalUpdate, MicroBatch, TrainingSequence, build_micro_batch  # noqa: E402
from rzero_mega.learner.forward_backward import accumulate_gradients  # noqa: E402
from rzero_mega.learner.megatron.context_parallel import TokenSplit  # noqa: E402
from rzero_mega.learner.megatron.model import Model, build_model  # noqa: E402
from rzero_mega.learner.megatron.optimizer import build_optimizer  # noqa: E402
from rzero_mega.learner.megatron.process_groups import device, start_process_groups  # noqa: E402
from rzero_mega.learner.scorer import scored_sequence  # noqa: E402
from rzero_mega.planning.candidate import Candidate, Recompute  # noqa: E402
from rzero_mega.planning.memory import learner_memory  # noqa: E402
from rzero_mega.planning.models import model_named  # noqa: E402
from rzero_mega.planning.workload import Workload  # noqa: E402
from rzero_mega.weights.shape import ModelShape  # noqa: E402
from tools.learner_benchmarks.logprob_memory import likelihood  # noqa: E402
from tools.torch_memory import peak_allocated  # noqa: E402

_QWEN3 = model_named("Qwen3-0.6B")
ALONE = ParallelLayout()
KINDS = ("weights", "gradients", "optimizer", "activations", "logits", "peak")


@dataclass(frozen=True)
class Case:
    """A model and a step: `sequences` of `length` tokens in one micro-batch.

    Without `steps` the optimizer does not step, and its memory is not measured: its moments appear with the first step.
    """

    name: str
    shape: ModelShape
    dtype: str = "bfloat16"
    recompute: Recompute = "none"
    sequences: int = 4
    length: int = 128
    steps: bool = True


@dataclass(frozen=True)
class Row:
    """Bytes of one kind."""

    case: str
    kind: str
    predicted: float
    measured: float

    @property
    def error(self) -> float:
        """Relative error of the prediction."""
        return self.predicted / self.measured - 1


def cases(step_1b: bool = False) -> list[Case]:
    """From the nano base to a billion parameters."""
    nano = model_named(str(nano_base_path()))
    mid = replace(_QWEN3, layers=12, hidden=768, ffn=2560, heads=8, kv_heads=4, head_dim=96, vocab=16000)
    big = replace(_QWEN3, layers=20, hidden=2048, ffn=6144, heads=16, vocab=32000)
    return [
        Case("nano fp32", nano, "float32"),
        Case("nano bf16", nano),
        Case("100m fp32", mid, "float32"),
        Case("100m bf16", mid),
        Case("100m bf16 selective", mid, recompute="selective"),
        Case("100m bf16 full", mid, recompute="full"),
        Case("1b bf16", big, steps=step_1b),
        Case("1b bf16 full", big, recompute="full", steps=False),
    ]


def compare(case: Case) -> list[Row]:
    """Predicted and measured bytes of every kind."""
    work = workload(case)
    memory = learner_memory(case.shape, Candidate(recompute=case.recompute), work)
    predicted = {**asdict(memory), "peak": memory.training - memory.resident}
    measured = measure(case)
    return [Row(case.name, kind, predicted[kind], measured[kind]) for kind in KINDS if kind in measured]


def workload(case: Case) -> Workload:
    """The case's step as the planner takes it."""
    return Workload(
        sequences=case.sequences,
        length=case.length,
        tokens_per_micro_batch=case.sequences * case.length,
        sequences_per_update=case.sequences,
        element_bytes=4 if case.dtype == "float32" else 2,
        transformer_impl="transformer_engine" if torch.cuda.is_available() else "local",
    )


def measure(case: Case, layout: ParallelLayout = ALONE) -> dict[str, int]:
    """Bytes by kind of one training step in this process; `peak` is the most beyond what stays between steps.

    `peak` and `logits` are measured where this process is alone, the latter of a policy.
    """
    start_process_groups(layout, 0)
    settings = LearnerConfig(dtype=case.dtype, recompute=case.recompute, overlap_gradient_reduction=False)
    model = build_model(case.shape, layout, settings)
    with torch.no_grad():
        for weight in model.parameters.values():
            weight.normal_(0.0, 0.02)
    optimizer = build_optimizer(model, OptimizerConfig())
    activations = _saved_by_forward(model, _micro_batch(case, layout))
    buffers = [b for chunk in model.chunks for b in (*chunk.buffers, *chunk.expert_parallel_buffers)]
    weights = list(model.parameters.values())
    if case.steps:
        compat.calls_megatron(optimizer.step)()
    found = {
        "weights": _storage_bytes(weights),
        "gradients": _storage_bytes(buffer.grad_data for buffer in buffers),
        "activations": activations,
    }
    if layout == ALONE:
        found["peak"] = _training_peak(model, _micro_batch(case, layout))
        if not case.shape.scores:
            found["logits"] = _logits_peak(case)
    if case.steps:
        states = [tensor for part in _parts(optimizer) for tensor in _optimizer_tensors(part)]
        found["optimizer"] = _storage_bytes(states, besides=weights)
    return found


def _micro_batch(case: Case, layout: ParallelLayout) -> MicroBatch:
    # The planner takes all tokens for those of responses; a Critic scores at the last one.
    tokens = tuple(i % case.shape.vocab for i in range(case.length))
    sequence = TrainingSequence(tokens[:1], tokens[1:], (-1.0,) * (case.length - 1), 1.0)
    if case.shape.scores:
        sequence = scored_sequence(tokens[1:])
    indices = range(case.sequences)
    split = TokenSplit(layout.cp)
    return build_micro_batch([sequence] * case.sequences, [1e-3] * case.sequences, indices, split, device())


def _saved_by_forward(model: Model, micro_batch: MicroBatch) -> int:
    """Bytes of the storages that the graph holds when the backward pass begins, without weights."""
    ours = {weight.untyped_storage().data_ptr() for chunk in model.chunks for weight in chunk.parameters()}
    held: dict[int, int] = {}
    backward = False

    def pack_hook(x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        if not backward and storage.data_ptr() not in ours:
            held[storage.data_ptr()] = storage.nbytes()
        return x

    def unpack_hook(x: Tensor) -> Tensor:
        nonlocal backward
        backward = True
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack_hook, unpack_hook):
        accumulate_gradients(model, LocalUpdate([micro_batch]), _loss(model))
    return sum(held.values())


def _parts(optimizer: Any) -> list[Any]:
    return list(getattr(optimizer, "chained_optimizers", [optimizer]))


def _optimizer_tensors(part: Any) -> Iterator[Tensor]:
    """Master weights and moments."""
    for group in part.optimizer.param_groups:
        yield from group["params"]
    for state in part.optimizer.state.values():
        yield from (value for value in state.values() if torch.is_tensor(value))


def _storage_bytes(tensors: Any, besides: Any = ()) -> int:
    others = {tensor.untyped_storage().data_ptr() for tensor in besides}
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(size for pointer, size in storages.items() if pointer not in others)


def _logits_peak(case: Case) -> int:
    """The most that one micro-batch's log-probabilities take beyond hidden states and output layer, there and back."""
    tokens, vocabulary, dtype = case.sequences * case.length, case.shape.vocab, getattr(torch, case.dtype)
    where = device()
    targets = torch.zeros(tokens, dtype=torch.long, device=where)
    hidden, weight = (
        torch.randn(n, case.shape.hidden, dtype=dtype, device=where, requires_grad=True) for n in (tokens, vocabulary)
    )

    def forward_and_backward() -> None:
        likelihood(hidden, weight, targets).backward()  # type: ignore[no-untyped-call]

    return peak_allocated(forward_and_backward)


def _training_peak(model: Model, micro_batch: MicroBatch) -> int:
    if not torch.cuda.is_available():
        # gloo copies the gradients to reduce them, even over one process; NCCL does not.
        for chunk in model.chunks:
            chunk.finish_grad_sync = lambda *_args, **_kwargs: None
    return peak_allocated(lambda: accumulate_gradients(model, LocalUpdate([micro_batch]), _loss(model)))


def _loss(model: Model) -> LossConfig:
    return PairwiseConfig() if model.shape.scores else GrpoConfig()


def main(
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
    only: Annotated[str, typer.Option(help="The models whose names begin so: nano, 100m, 1b.")] = "",
    step_1b: Annotated[bool, typer.Option(help="Measure the 1B model's optimizer too: takes 24 GB.")] = False,
) -> None:
    """Compare every case in a process of its own, one after another, and print a line per kind."""
    os.environ["OMP_NUM_THREADS"] = "1"
    if not as_json:
        typer.echo(f"{'model':24}{'kind':14}{'predicted MB':>14}{'measured MB':>14}{'error':>9}")
    rows: list[Row] = []
    chosen = [case for case in cases(step_1b) if case.name.startswith(only)]
    with get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for found in pool.imap(compare, chosen):
            rows += found
            for row in [] if as_json else found:
                sizes = f"{row.predicted / 1e6:14.2f}{row.measured / 1e6:14.2f}"
                typer.echo(f"{row.case:24}{row.kind:14}{sizes}{row.error:+9.1%}")
    if as_json:
        typer.echo(json.dumps([{**asdict(row), "error": row.error} for row in rows], indent=2))


if __name__ == "__main__":
    typer.run(main)
