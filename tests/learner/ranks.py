"""Learners in several processes over gloo, for tests: `python -m tests.learner.ranks CASES.json`.

A case is a layout and what to do under it; cases run one after another. Every rank is forked from this process, which
has imported everything once and started nothing. Rank 0 leaves what it found as JSON and safetensors.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from rzero_mega.learner.megatron import compat

compat.install()

import torch  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from torch import Tensor  # noqa: E402

from rzero_mega import spmd  # noqa: E402
from rzero_mega.config.schema import (  # noqa: E402
    GrpoConfig,
    LearnerConfig,
    LoraConfig,
    LossConfig,
    OptimizerConfig,
    SftConfig,
)
from rzero_mega.errors import UserError  # noqa: E402
from rzero_mega.learner.batch import TrainingSequence  # noqa: E402
from rzero_mega.learner.learner import Learner  # noqa: E402
from rzero_mega.learner.megatron.model import tensor_shard  # noqa: E402
from rzero_mega.learner.megatron.process_groups import start_process_groups  # noqa: E402
from rzero_mega.run.checksums import folder_hashes  # noqa: E402
from rzero_mega.weights import hf_folder  # noqa: E402
from rzero_mega.weights.adapters import adapters_in, peft_tensors  # noqa: E402
from rzero_mega.weights.bucket import TOGETHER  # noqa: E402
from rzero_mega.weights.mapping import entries  # noqa: E402
from rzero_mega.weights.model_parts import write_model  # noqa: E402
from rzero_mega.weights.reshard.placement import gather_placement, local_shards  # noqa: E402
from rzero_mega.weights.reshard.plan import Destination, plan_reshard  # noqa: E402
from rzero_mega.weights.reshard.validation import placement_violations  # noqa: E402
from rzero_mega.weights.sources import PlannedWeights, WeightSource, tensors_of  # noqa: E402
from tests.learner.buckets import small_buckets  # noqa: E402
from tests.learner.forked_ranks import LayoutCase, main, run_program  # noqa: E402
from tests.weights.plan_checks import plan_violations  # noqa: E402

# Several files for every rank of most layouts.
SHARD_BYTES = 10_000


@dataclass(frozen=True)
class TrainingCase(LayoutCase):
    """Train `model` for the steps `first`..`last` under a layout, beginning and ending at a checkpoint if one is given.

    `grpo` and `optimizer` hold values that differ from the defaults; with `sft` the loss is that of fine-tuning, with
    updates of the size that `grpo` says; with `lora` adapters train. `base` is the model of the KL term to the base.
    With `reversed_order` each update's rollouts come last first. With `bucket_bytes` the trained weights are also taken
    by the fast executor, in buckets of that size, by the last rank, and after another step by all ranks.
    """

    model: str
    bucket_bytes: int | None = None
    tokens_per_micro_batch: int = 64
    reversed_order: bool = False
    first: int = 1
    last: int = 3
    load: str | None = None
    save: str | None = None
    grpo: dict[str, Any] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)
    sft: bool = False
    base: str | None = None
    lora: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What a case left: metrics by step, the log-probabilities of step 1's rollouts before and after, the weights."""

    metrics: list[dict[str, float]]
    scores_before: list[list[float]]
    scores_after: list[list[float]]
    weights: dict[str, Tensor]
    error: str | None


def rollouts(step: int, vocabulary: int) -> list[TrainingSequence]:
    """Nine sequences of 3 to 48 tokens, some of which don't train; the same in every process."""
    draw = random.Random(step)
    found = []
    for index in range(9):
        prompt, response = draw.randint(2, 18), draw.randint(1, 30)
        tokens = [draw.randrange(vocabulary) for _ in range(prompt + response)]
        logprobs = tuple(-4.0 + draw.uniform(-1.5, 1.5) for _ in range(response))
        advantage = draw.uniform(-2.0, 2.0)
        found.append(
            TrainingSequence(tuple(tokens[:prompt]), tuple(tokens[prompt:]), logprobs, advantage, train=index != 4)
        )
    return found


def run_cases(cases: Sequence[TrainingCase], folder: Path) -> dict[str, Outcome]:
    """Run the cases in processes of their own; AssertionError with their output if one breaks."""
    run_program(__name__, cases, folder)
    return {case.name: _outcome(folder, case.name) for case in cases}


def _outcome(folder: Path, name: str) -> Outcome:
    found = json.loads((folder / f"{name}.json").read_text())
    weights = folder / f"{name}.safetensors"
    return Outcome(**found, weights=load_file(weights) if weights.is_file() else {})


def _run(case: TrainingCase, folder: Path) -> None:
    start_process_groups(case.layout, 0)
    lora = LoraConfig(**case.lora)
    settings = LearnerConfig(dtype="float32", tokens_per_micro_batch=case.tokens_per_micro_batch, lora=lora)
    optimizer = OptimizerConfig(**case.optimizer)
    loss: LossConfig = GrpoConfig(**case.grpo)
    if case.sft:
        loss = SftConfig(loss.sequences_per_update)
    base = None if case.base is None else Path(case.base)
    with small_buckets():
        learner = Learner(Path(case.model), case.layout, settings, loss, optimizer, 30, base_folder=base)
    vocabulary = learner._model.shape.vocab
    found: dict[str, Any] = {"metrics": [], "scores_before": [], "scores_after": [], "error": None}
    try:
        if case.load is not None:
            assert learner.load(Path(case.load)) == case.first - 1
    except UserError as error:
        found["error"] = str(error)
    else:
        found["scores_before"] = learner.score(rollouts(1, vocabulary))
        for step in range(case.first, case.last + 1):
            found["metrics"].append(asdict(learner.train_step(_in_order(case, rollouts(step, vocabulary)))))
        found["scores_after"] = learner.score(rollouts(1, vocabulary))
        if case.save is not None:
            learner.save(Path(case.save), case.last)
    weights = {name: tensor.clone() for name, tensor in learner.export()}
    if case.bucket_bytes is not None:
        _check_adapters(learner, case)
        _check_parts(learner, case, folder / f"{case.name}-parts")
        _check_executor(learner, case)
    if torch.distributed.get_rank() == 0:
        (folder / f"{case.name}.json").write_text(json.dumps(found))
        save_file(weights, folder / f"{case.name}.safetensors")
    torch.distributed.barrier()


def _in_order(case: TrainingCase, sequences: list[TrainingSequence]) -> list[TrainingSequence]:
    if not case.reversed_order:
        return sequences
    size = GrpoConfig(**case.grpo).sequences_per_update
    return [s for i in range(0, len(sequences), size) for s in reversed(sequences[i : i + size])]


def _check_adapters(learner: Learner, case: TrainingCase) -> None:
    """Adapters come apart as well, by both executors: added to the base they are what is handed out."""
    sums = {name: tensor.clone() for name, tensor in learner.export()}
    for executor in ("fast", "reference") if case.lora else ():
        settings: Any = SimpleNamespace(executor=executor, bucket_bytes=case.bucket_bytes)
        found = adapters_in(learner.weights(range(torch.distributed.get_world_size()), settings))
        assert found is not None
        tensors, scale = peft_tensors(tensors_of(found.source)), found.lora.alpha / (found.lora.rank or 1)
        with hf_folder.HfWeights(Path(case.model)) as base:
            for name in (name for name in tensors if name.endswith(".lora_B.weight")):
                product = tensors[name] @ tensors[name.replace("lora_B", "lora_A")]
                own = name.removeprefix("base_model.model.").replace("lora_B.", "")
                torch.testing.assert_close(base.tensor(own) + scale * product, sums[own])


def _check_executor(learner: Learner, case: TrainingCase) -> None:
    """The fast executor gives the reference bytes, in buckets within their size, and again after a further step."""
    ranks, rank = torch.distributed.get_world_size(), torch.distributed.get_rank()
    some = fast_weights(learner, [ranks - 1], case.bucket_bytes or 1)
    _assert_same_bytes(some, learner, case, receives=rank == ranks - 1)
    everyone = fast_weights(learner, range(ranks), case.bucket_bytes or 1)
    learner.train_step(rollouts(99, learner.shape.vocab)[:3])  # one update
    _assert_same_bytes(everyone, learner, case, receives=True)


def _write_on_rank_0(folder: Path, stream: Iterator[tuple[str, Tensor]], template: Path) -> None:
    if spmd.rank() == 0:
        hf_folder.write_hf_folder(folder, stream, template)


def _check_parts(learner: Learner, case: TrainingCase, folder: Path) -> None:
    """All ranks write the files that one does, byte for byte, by both executors, and say what they hold."""
    rank, ranks = torch.distributed.get_rank(), torch.distributed.get_world_size()
    alone, template = folder / "alone", Path(case.model)
    with patch.object(hf_folder, "SHARD_BYTES", SHARD_BYTES):
        stream = learner.export()
        spmd.all_ranks_write(stream, _write_on_rank_0, alone, stream, template)
        for executor in ("fast", "reference"):
            settings: Any = SimpleNamespace(executor=executor, bucket_bytes=case.bucket_bytes)
            parted = learner.parted_weights(settings)
            assert {part.rank for part in parted.parts} == set(range(ranks)) and len(parted.parts) >= 3
            tensors = tensors_of(parted.source)
            written = write_model(folder / executor, parted.parts, tensors, tensors, template)
            if rank == 0:
                hashes = {name: (file.sha256, file.bytes) for name, file in folder_hashes(alone).items()}
                assert written == hashes
                assert {name: (f.sha256, f.bytes) for name, f in folder_hashes(folder / executor).items()} == hashes
                assert sorted(path.name for path in folder.iterdir()) == sorted({"alone", "fast", executor})


def fast_weights(learner: Learner, receivers: Sequence[int], bucket_bytes: int) -> WeightSource:
    """`Learner.weights` with buckets smaller than a megabyte."""
    model, rank = learner._model, torch.distributed.get_rank()
    table, destinations = entries(model.shape), [Destination(receiver) for receiver in receivers]
    placement = gather_placement(local_shards(rank, model.local_weights(), tensor_shard))
    assert placement_violations(table, model.shape, placement, destinations) == []
    plan = plan_reshard(table, model.shape, placement, destinations, bucket_bytes)
    assert plan_violations(plan) == [] and len(plan.buckets) > 3
    return PlannedWeights(plan, model.local_weights, rank, torch.device("cpu"))


def _assert_same_bytes(source: WeightSource, learner: Learner, case: TrainingCase, receives: bool) -> None:
    reference = {name: tensor.clone() for name, tensor in learner.export()}
    found = {}
    for bucket in source:
        last = bucket.slots[-1].name
        within = bucket.data.nbytes <= (case.bucket_bytes or 0)
        assert within or len(bucket.slots) == 1 or last.endswith(TOGETHER[1])
        found.update({name: tensor.clone() for name, tensor in bucket.tensors()})
    assert list(found) == (list(reference) if receives else [])
    for name, tensor in found.items():
        assert torch.equal(tensor.view(torch.uint8), reference[name].view(torch.uint8)), name


if __name__ == "__main__":
    main(TrainingCase, _run)
