"""A training phase over gloo in which one rank is killed, for tests: `python -m tests.learner.killed_ranks CASES.json`.

Each case is an attempt at a run: the ranks roll out with the embedded engine, learn and save as in every run, until one
of them meets its end. What every attempt left is written down as JSON.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from rzero_mega.learner.megatron import compat

compat.install()

import torch  # noqa: E402

from rzero_mega.coevolution.plan import BASE  # noqa: E402
from rzero_mega.coevolution.streams import derive_seed  # noqa: E402
from rzero_mega.config import load_config  # noqa: E402
from rzero_mega.config.layout import ParallelLayout  # noqa: E402
from rzero_mega.config.schema import Config  # noqa: E402
from rzero_mega.learner import learner as learner_module  # noqa: E402
from rzero_mega.learner.checkpoints import async_save, checkpoint  # noqa: E402
from rzero_mega.learner.megatron.process_groups import start_process_groups  # noqa: E402
from rzero_mega.phase_name import PhaseName  # noqa: E402
from rzero_mega.phases.context import ActivePhase, RunContext  # noqa: E402
from rzero_mega.phases.prefetcher import Rollouts  # noqa: E402
from rzero_mega.phases.start import Start  # noqa: E402
from rzero_mega.phases.training import train_policy  # noqa: E402
from rzero_mega.rollout.protocol import Request, RolloutEngine, Sample  # noqa: E402
from rzero_mega.run import PhaseDirectory, RunDirectory  # noqa: E402
from rzero_mega.run.stop import StopRequest  # noqa: E402
from rzero_mega.weights import hf_folder, model_parts  # noqa: E402
from tests.learner.buckets import small_buckets  # noqa: E402
from tests.learner.forked_ranks import LayoutCase, run_ranks  # noqa: E402

STEPS, EVERY, VOCABULARY = 5, 2, 61


@dataclass(frozen=True)
class Attempt(LayoutCase):
    """An attempt at the run `run`, in which a rank is killed: in a "write", a "commit", a "step", a "reload", in the
    writing of the phase's "model", or never.

    "write": rank 1, while its thread writes the checkpoint of step 4 and the others are in step 5. "commit": rank 0,
    when the checkpoint of step 4 is complete and not yet committed. "step": rank 1, between the two optimizer updates
    of step 3. "reload": rank 1, when the weights are restored and the moments aren't. "model": rank 1, in the middle of
    a file of the model, when the other rank has its own.
    """

    model: str
    run: str
    kill: str | None = None
    ahead: int = 0


@cache
def configuration(processes: int, tp: int) -> Config:
    """Two optimizer updates a step; a checkpoint after steps 2, 4 and 5, the last of which outlives the phase."""
    return load_config(
        overrides=[
            f"learner.processes={processes}",
            f"learner.layout.tp={tp}",
            "learner.dtype=bfloat16",
            "learner.tokens_per_micro_batch=64",
            f"learner.checkpoint={{every: {EVERY}, keep_finished: true}}",
            "rollout.dtype=bfloat16",
            "weights.verify.probe_every=0",
            "run.minimum_free_mb=0",
            f"solver.training.steps={STEPS}",
            f"solver.training.ahead={attempt.ahead}",
            "solver.training.prompts_per_step=2",
            "solver.training.rollouts_per_prompt=4",
            "challenger.training.sampling.max_new_tokens=10",
            "solver.training.sampling.max_new_tokens=10",
            "solver.training.grpo.sequences_per_update=4",
            "solver.training.optimizer.learning_rate=1e-2",
        ]
    )


def _run(attempt: Attempt, _folder: Path) -> None:
    config = configuration(attempt.tp * attempt.dp, attempt.tp)
    layout = ParallelLayout.from_config(config.learner.layout, config.learner.processes)
    start_process_groups(layout, config.seed)
    rank = torch.distributed.get_rank()
    _replace(hf_folder, "SHARD_BYTES", 10_000)  # the model is several files
    _expose(attempt.kill, rank)
    run = RunDirectory.create_or_open(Path(attempt.run), config, writer=True) if rank == 0 else None
    torch.distributed.barrier()
    run = run or RunDirectory.create_or_open(Path(attempt.run), config, writer=False)
    untouched: Any = None  # the grader, the tokenizer and the progress bars have no part in this
    ctx = RunContext(
        config, untouched, untouched, None, run, layout, Path(attempt.model), untouched, wandb=None, stop=StopRequest()
    )
    bar: Any = SimpleNamespace(advance=lambda *_args, **_kwargs: None)
    phase = ActivePhase(run.phase(1, PhaseName.SOLVER), bar, config.seed)
    if rank == 0:
        phase.directory.begin({})
    training = config.solver.training

    def roll_out(step: int, engine: RolloutEngine) -> Rollouts:
        """Prompts by the step's place in the data, samples by the weights, rewards by the samples."""
        requests = [
            Request(phase.seed_key(step, i), _prompt(config.seed, step, i), 4, training.sampling) for i in range(2)
        ]
        samples = engine.generate(requests)
        return Rollouts(samples, [_reward(sample) for sample in samples], {})

    with small_buckets():
        train_policy(ctx, phase, "solver", Start(BASE), training, 6, roll_out)


def _prompt(seed: int, step: int, index: int) -> tuple[int, ...]:
    return tuple(derive_seed(seed, step, index, i) % VOCABULARY for i in range(4 + step % 3))


def _reward(sample: Sample) -> float:
    return sum(token % 2 for token in sample.tokens) / len(sample.tokens)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _expose(kill: str | None, rank: int) -> None:
    """Let this rank, if it is the one, be killed where `kill` says."""
    if kill == "write" and rank == 1:
        _die_writing(step=EVERY * 2)
    elif kill == "commit" and rank == 0:
        commit = PhaseDirectory.commit_checkpoint
        _replace(PhaseDirectory, "commit_checkpoint", lambda self, step, *keep: _die_at(step, 4, commit, self, *keep))
    elif kill == "step" and rank == 1:
        _die_at_update(2)  # after going on from step 2
    elif kill == "reload" and rank == 1:
        _replace(checkpoint, "_load_weights", _then_die(checkpoint._load_weights))
    elif kill == "model" and rank == 1:
        _replace(model_parts, "_on_cpu", _die_in_a_file)


def _die_at(step: int, last: int, commit: Callable[..., None], phase: PhaseDirectory, *keep: Any) -> None:
    if step == last:
        _die()
    commit(phase, step, *keep)


def _then_die(function: Callable[..., None]) -> Callable[..., None]:
    def dying(*arguments: Any) -> None:
        function(*arguments)
        _die()

    return dying


def _die_in_a_file(_part: Any, tensors: Iterator[tuple[str, torch.Tensor]]) -> Iterator[torch.Tensor]:
    _, tensor = next(tensors)
    yield tensor
    list(tensors)  # the other rank's files are there now
    _die()


def _die_writing(step: int) -> None:
    """Stop the writing thread at its fifth tensor until the main thread is in the next step, then die."""
    write, accumulate = async_save._write, vars(learner_module)["accumulate_gradients"]
    writing, in_next_step = threading.Event(), threading.Event()

    def accumulating(*arguments: Any, **options: Any) -> Any:
        if writing.is_set():
            in_next_step.set()
        return accumulate(*arguments, **options)

    class Copies:
        def __init__(self, copies: Any) -> None:
            self.copies, self.given = copies, 0

        def resolve_data(self, item: Any) -> torch.Tensor:
            self.given += 1
            if self.given == 5:
                assert threading.current_thread() is not threading.main_thread()
                writing.set()
                assert in_next_step.wait(60)
                _die()
            return self.copies.resolve_data(item)

    def dying(writer: Any, plan: Any, copies: Any) -> Any:
        watched: Any = Copies(copies) if writer.path.name == f"staging_{step:05d}" else copies
        return write(writer, plan, watched)

    _replace(async_save, "_write", dying)
    _replace(learner_module, "accumulate_gradients", accumulating)


def _die_at_update(number: int) -> None:
    """Die at this attempt's update of that number."""
    accumulate, seen = vars(learner_module)["accumulate_gradients"], [0]

    def counting(*arguments: Any, **options: Any) -> Any:
        seen[0] += 1
        if seen[0] == number:
            _die()
        return accumulate(*arguments, **options)

    _replace(learner_module, "accumulate_gradients", counting)


def _replace(owner: Any, name: str, value: Any) -> None:
    """In a rank, which is a process of its own and ends with the case."""
    setattr(owner, name, value)


def _left(run: Path) -> list[str]:
    return sorted(path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file())


if __name__ == "__main__":
    REQUEST = Path(sys.argv[1])
    for values in json.loads(REQUEST.read_text()):
        attempt = Attempt(**values)
        configuration(attempt.tp * attempt.dp, attempt.tp)  # once, and not in every rank
        survived = run_ranks(attempt, _run, REQUEST.parent)
        found = {"survived": survived, "files": _left(Path(values["run"]) / "iterations/1/solver")}
        (REQUEST.parent / f"{values['name']}.json").write_text(json.dumps(found))
