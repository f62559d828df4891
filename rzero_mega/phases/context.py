"""What every phase needs: the configuration, the run directory, the models of earlier phases, engines, the grader."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal, ParamSpec

import torch

from rzero_mega import spmd
from rzero_mega.atomic import sha256
from rzero_mega.coevolution.plan import PhasePlan, Source
from rzero_mega.coevolution.prompts import PromptTemplate, load_prompt
from rzero_mega.config.layout import ParallelLayout
from rzero_mega.config.schema import Config
from rzero_mega.errors import UserError, first_line
from rzero_mega.evaluation.benchmarks import Benchmark, load_benchmark
from rzero_mega.grading import GradingPool
from rzero_mega.phase_name import PhaseName
from rzero_mega.rollout.embedded import EmbeddedEngine
from rzero_mega.rollout.protocol import RolloutEngine, Sample
from rzero_mega.rollout.sglang.pool.server_pool import ServerPool
from rzero_mega.rollout.sharded import ShardedEngine
from rzero_mega.rollout.tokenization import PromptEncoder
from rzero_mega.run import PhaseDirectory, RunDirectory
from rzero_mega.run.stop import Stopped, StopRequest
from rzero_mega.tracking.progress import Progress
from rzero_mega.tracking.wandb_run import WandbRun

P = ParamSpec("P")
Role = Literal["challenger", "solver"]


@dataclass
class Stopwatch:
    """Seconds by what they were spent on, since the last `take`."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def measure(self, what: str) -> Iterator[None]:
        """Add the time spent inside the block."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[what] = self.seconds.get(what, 0.0) + time.perf_counter() - began

    def take(self) -> dict[str, float]:
        """Seconds by name; starts anew."""
        taken, self.seconds = self.seconds, {}
        return taken


@dataclass
class Workbench:
    """What it takes to let models speak and to grade them.

    Rank 0 alone has a grading pool. `server_pool` is there if SGLang's servers are the engine.
    """

    config: Config
    encoder: PromptEncoder
    pool: GradingPool | None
    server_pool: ServerPool | None = field(default=None, kw_only=True)
    stopwatch: Stopwatch = field(default_factory=Stopwatch, kw_only=True)

    @cached_property
    def challenger_prompt(self) -> PromptTemplate:
        """The Challenger's prompt."""
        return load_prompt(self.config.prompts.challenger)

    @cached_property
    def solver_prompt(self) -> PromptTemplate:
        """The Solver's prompt."""
        return load_prompt(self.config.prompts.solver)

    @cached_property
    def benchmarks(self) -> list[Benchmark]:
        """What is evaluated, and kept out of the training questions."""
        return [load_benchmark(name) for name in self.config.evaluation.benchmarks]

    def engine(self, role: Role, model: Path) -> RolloutEngine:
        """An engine that speaks for the model of the folder, in the role's place: a role has one engine at a time."""
        if self.server_pool is not None:
            return self.server_pool.engine(role, model)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        rollout = self.config.rollout
        return ShardedEngine(EmbeddedEngine(model, rollout.dtype, rollout.batch_sequences, device))

    def rest_servers(self) -> None:
        """Have servers that share the learner's GPUs give their memory back, where there are any. For all ranks."""
        if self.server_pool is not None:
            self.server_pool.rest()

    def texts(self, samples: Sequence[Sample]) -> list[str]:
        """What the samples say, without special tokens."""
        return self.encoder.decode([sample.tokens for sample in samples])


@dataclass
class RunContext(Workbench):
    """One run as its phases see it. Rank 0 alone has W&B."""

    run: RunDirectory
    layout: ParallelLayout
    base: Path
    progress: Progress
    wandb: WandbRun | None
    stop: StopRequest = field(default_factory=StopRequest, kw_only=True)
    open_phases: dict[PhasePlan, PhaseDirectory] = field(default_factory=dict, kw_only=True)

    @cached_property
    def rollout_thread(self) -> ThreadPoolExecutor | None:
        """A thread to draw rollouts in while the learner trains; None where that takes the same processes.

        It lives as long as this process: what it starts (graders, servers) would end with it.
        """
        return None if self.server_pool is None else ThreadPoolExecutor(1, "rollouts")

    @cached_property
    def base_sha256(self) -> str:
        """Hash of the base model's folder."""
        return spmd.on_rank_0(sha256, self.base)

    def may_stop(self, save: Callable[P, None] | None = None, *arguments: P.args, **options: P.kwargs) -> None:
        """Between two steps or parts: if somebody asked this job to stop, `save` what is not saved and raise `Stopped`.

        Every rank makes the same calls.
        """
        if not spmd.on_rank_0(self._asked_to_stop):
            return
        if save is not None:
            save(*arguments, **options)
        if spmd.rank() == 0:
            self.run.event("stopped")
        raise Stopped("stopped and saved, as asked; the same command goes on from here" if spmd.rank() == 0 else "")

    def _asked_to_stop(self) -> bool:
        return self.stop.requested

    def phase(self, plan: PhasePlan) -> PhaseDirectory:
        """The folder of a phase; one object for the whole run, since it knows whether it was begun."""
        if plan not in self.open_phases:
            self.open_phases[plan] = self.run.phase(plan.iteration, plan.name)
        return self.open_phases[plan]

    def path(self, source: Source) -> Path:
        """Where the output of an earlier phase lies."""
        if source.phase is None:
            return self.base
        return self.run.phase(source.iteration, source.phase).output(source.output)

    def inputs(self, plan: PhasePlan) -> Mapping[str, str]:
        """SHA-256 of everything that the phase starts from, by name."""
        return {str(source): self._sha256(source) for source in plan.inputs}

    def _sha256(self, source: Source) -> str:
        if source.phase is None:
            return self.base_sha256
        manifest = self.run.phase(source.iteration, source.phase).manifest()
        self.path(source)
        assert manifest is not None
        return manifest.outputs[source.output].sha256

    def seed_key(self, plan: PhasePlan, *parts: str | int) -> str:
        """Name of a random stream of this phase."""
        return "/".join(str(part) for part in (self.config.seed, plan.iteration, plan.name, *parts))


def load_encoder(model: Path) -> PromptEncoder:
    """The tokenizer of a model folder; UserError if it cannot be read."""
    from transformers import AutoTokenizer

    try:
        return PromptEncoder(AutoTokenizer.from_pretrained(model, trust_remote_code=False, local_files_only=True))
    except (OSError, ValueError) as error:
        raise UserError(f"{model}: no readable tokenizer: {first_line(error)}") from None


def steps_of(config: Config, plan: PhasePlan) -> int:
    """How many steps or parts the phase has, for its progress bar."""
    if plan.name is PhaseName.CHALLENGER:
        return config.challenger.training.steps
    if plan.name is PhaseName.SOLVER:
        return config.solver.training.steps
    if plan.name is PhaseName.QUESTIONS:
        return -(-config.questions.count // config.questions.per_part)
    if plan.name is PhaseName.LABELS:
        return -(-config.questions.count // config.labels.questions_per_part)
    return len(config.evaluation.benchmarks)
