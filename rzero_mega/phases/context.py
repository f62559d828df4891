"""What every phase works with: prompts, engines and the grader; the run; the phase's own folder and progress bar."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Literal, ParamSpec

import torch

from rzero_mega import spmd
from rzero_mega.coevolution.plan import GUARDS_PANEL, LABELLED_DATA, Source
from rzero_mega.coevolution.prompts import PromptTemplate, parse_prompt
from rzero_mega.config.layout import ParallelLayout
from rzero_mega.config.schema import Config
from rzero_mega.domains.domain import Domain
from rzero_mega.domains.prompts import PromptRole, prompt_key, prompt_name, prompt_of
from rzero_mega.domains.registry import domain_of
from rzero_mega.evaluation.benchmarks import Benchmark, load_benchmarks
from rzero_mega.evaluation.labelled import LabelledExample, load_labelled, parse_labelled
from rzero_mega.evaluation.texts import BENCHMARKS, LABELLED, parse_benchmarks
from rzero_mega.grading.grader import Grader
from rzero_mega.phases.servers_watched import ServersWatched
from rzero_mega.phases.stopwatch import Stopwatch
from rzero_mega.records import R, read_records
from rzero_mega.rollout.embedded import EmbeddedEngine
from rzero_mega.rollout.protocol import RolloutEngine, Sample
from rzero_mega.rollout.sglang.nodes.job_files import job_node_from
from rzero_mega.rollout.sglang.pool.choices import placement_here, served_adapters
from rzero_mega.rollout.sglang.pool.server_pool import ServerPool
from rzero_mega.rollout.sglang.pool.server_work import Observer
from rzero_mega.rollout.sharded import ShardedEngine
from rzero_mega.rollout.tokenization import PromptEncoder, load_tokenizer
from rzero_mega.run import PhaseDirectory, RunDirectory
from rzero_mega.run.stop import Stopped, StopRequest
from rzero_mega.tracking.progress import PhaseProgress, Progress
from rzero_mega.tracking.wandb_run import WandbRun
from rzero_mega.weights.model_files import model_sha256

P = ParamSpec("P")
Role = Literal["challenger", "solver"]
"""Whose servers draw: those of the Solver for a Verifier, too, as for all other models that are asked in turn.

A Critic that scores has a place in whichever of the two has nothing else to say."""


@dataclass
class InferenceContext:
    """What it takes to have models answer, and to read and grade what they say.

    `grader` is the domain's, and starts its processes when it is first asked, which rank 0 alone does. `server_pool` is
    None where the engine is embedded; `servers_watched` is whom a run's servers tell what they do.
    """

    config: Config
    encoder: PromptEncoder
    grader: Grader
    server_pool: ServerPool | None
    stopwatch: Stopwatch = field(default_factory=Stopwatch, kw_only=True)
    servers_watched: ServersWatched | None = field(default=None, kw_only=True)
    _templates: dict[PromptRole, PromptTemplate] = field(default_factory=dict, init=False)

    @cached_property
    def domain(self) -> Domain:
        """What questions and answers are of."""
        return domain_of(self.config)

    def challenger_prompt(self) -> tuple[int, ...]:
        """Tokens of the prompt that asks for a question."""
        return self.encoder.encode_prompt(self._template("challenger"))

    def solver_prompt(self, question: str) -> tuple[int, ...]:
        """Tokens of the prompt that asks the question."""
        return self.encoder.encode_prompt(self._template("solver"), question=question)

    def verifier_prompt(self, question: str, answer: str) -> tuple[int, ...]:
        """Tokens of the prompt that asks whether the answer is right."""
        return self.encoder.encode_prompt(self._template("verifier"), question=question, answer=answer)

    def critic_prompt(self, question: str, first: str, second: str) -> tuple[int, ...]:
        """Tokens of the prompt that asks which of two answers is better."""
        return self.encoder.encode_prompt(self._template("critic"), question=question, first=first, second=second)

    def paraphrase_prompt(self, question: str) -> tuple[int, ...]:
        """Tokens of the prompt that asks for the question in other words."""
        return self.encoder.encode_prompt(self._template("paraphrase"), question=question)

    def program_prompt(self, question: str) -> tuple[int, ...]:
        """Tokens of the prompt that asks for a program that answers the question."""
        return self.encoder.encode_prompt(self._template("program"), question=question)

    def equal_answers(self, pairs: Sequence[tuple[str, str]]) -> list[bool]:
        """Whether the answers of each pair are equal. For rank 0 alone."""
        return [verdict.equal for verdict in self.grader.equivalent_pairs(pairs)]

    @cached_property
    def benchmarks(self) -> list[Benchmark]:
        """What is evaluated, and kept out of the training questions."""
        return load_benchmarks(self.config.evaluation)

    def engine(self, role: Role, model: Path, wait: bool = True) -> RolloutEngine:
        """An engine on the model of the folder, in the role's place: a role has one engine at a time.

        Without `wait` servers may still be starting when it returns.
        """
        if self.server_pool is not None:
            return self.server_pool.engine(role, model, wait)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        rollout = self.config.rollout
        return ShardedEngine(EmbeddedEngine(model, rollout.dtype, rollout.batch_sequences, device))

    @property
    def servers_apart(self) -> bool:
        """Whether there are servers, and they take none of the learner's memory."""
        return self.server_pool is not None and self.server_pool.apart

    def rest_servers(self) -> None:
        """Have servers that share the learner's GPUs give their memory back, if there are any. For all ranks."""
        if self.server_pool is not None:
            self.server_pool.rest()

    def servers_figures(self, trained: Role) -> dict[str, float]:
        """What servers have done since the last call, on rank 0, see `ServersWatched.take`; nothing without servers."""
        return {} if self.servers_watched is None else self.servers_watched.take(trained)

    def texts(self, samples: Sequence[Sample]) -> list[str]:
        """What the samples say, without special tokens."""
        return self.encoder.decode([sample.tokens for sample in samples])

    def _template(self, role: PromptRole) -> PromptTemplate:
        if role not in self._templates:
            self._templates[role] = self._read_prompt(role)
        return self._templates[role]

    def _read_prompt(self, role: PromptRole) -> PromptTemplate:
        return prompt_of(self.config, role)


@dataclass
class RunContext(InferenceContext):
    """One run as its phases see it. Rank 0 alone has W&B."""

    run: RunDirectory
    layout: ParallelLayout
    base: Path
    progress: Progress
    wandb: WandbRun | None
    stop: StopRequest

    @cached_property
    def rollout_thread(self) -> ThreadPoolExecutor | None:
        """A thread to draw rollouts in while the learner trains; None where that takes the same processes.

        It lives as long as this process: what it starts (graders, servers) would end with it.
        """
        return None if self.server_pool is None else ThreadPoolExecutor(1, "rollouts")

    @cached_property
    def benchmarks(self) -> list[Benchmark]:
        """Those that the run began with, whatever becomes of their files."""
        text = self.run.text(BENCHMARKS)
        return super().benchmarks if text is None else parse_benchmarks(text)

    @cached_property
    def labelled(self) -> list[LabelledExample]:
        """The labelled data that the run began with, whatever becomes of their file."""
        text = self.run.text(LABELLED)
        return load_labelled(self.config) if text is None else parse_labelled(text)

    def _read_prompt(self, role: PromptRole) -> PromptTemplate:
        """As the run began with it, whatever becomes of its file."""
        text = self.run.text(prompt_key(role))
        return super()._read_prompt(role) if text is None else parse_prompt(text, prompt_name(self.config, role))

    @cached_property
    def base_sha256(self) -> str:
        """Hash of the base model's files."""
        return spmd.on_rank_0(model_sha256, self.base)

    def stop_if_asked(self, save: Callable[P, None] | None = None, *arguments: P.args, **options: P.kwargs) -> None:
        """Between two steps or parts: if this job was asked to stop, `save` what is not saved and raise `Stopped`.

        Every rank makes the same calls.
        """
        if not spmd.on_rank_0(self._asked_to_stop):
            return
        if save is not None:
            save(*arguments, **options)
        if spmd.rank() == 0:
            self.run.event("stopped")
        raise Stopped("stopped and saved, as asked; the same command goes on from here" if spmd.rank() == 0 else "")

    def path(self, source: Source) -> Path:
        """Where the output of an earlier phase lies. UserError if that phase is not finished."""
        return self.base if source.phase is None else self.run.phase(source.iteration, source.phase).output(source.name)

    def model(self, source: Source) -> Path:
        """The model of an earlier phase, unchanged since that phase finished: each rank reads some of its files.

        For all ranks. UserError names a file that has changed, or the phase if it is not finished.
        """
        if source.phase is not None:
            phase = self.run.phase(source.iteration, source.phase)
            spmd.on_all_ranks(phase.check_output, source.name, spmd.share(phase.output_files(source.name)))
        return self.path(source)

    def records(self, source: Source, kind: type[R]) -> list[R]:
        """Records that an earlier phase left; UserError as `model`."""
        return read_records(self.path(source), kind, sha256=self._sha256(source))

    def hashes(self, sources: Sequence[Source]) -> dict[str, str]:
        """SHA-256 of the sources by name. UserError if the phase that leaves one is not finished."""
        return {str(source): self._sha256(source) for source in sources}

    def _sha256(self, source: Source) -> str:
        if source == LABELLED_DATA:
            return self.run.info.texts[LABELLED]
        if source == GUARDS_PANEL:  # that it votes; how many votes it gives whom may change, as with any panel
            return sha256(str(source).encode()).hexdigest()
        if source.phase is None:
            return self.base_sha256
        return self.run.phase(source.iteration, source.phase).artefact(source.name).sha256

    def _asked_to_stop(self) -> bool:
        return self.stop.requested


@dataclass(frozen=True)
class ActivePhase:
    """The phase under way: its folder, its progress bar, and the run's seed."""

    directory: PhaseDirectory
    bar: PhaseProgress
    seed: int

    def seed_key(self, *parts: str | int) -> str:
        """The name of a random stream of this phase."""
        return "/".join(map(str, (self.seed, self.directory.iteration, self.directory.phase, *parts)))


def new_grader(config: Config) -> Grader:
    """The domain's grader. Nothing is started yet; it is a context manager that ends what is."""
    return domain_of(config).open_grader(config.grading)


@contextmanager
def open_server_pool(config: Config, logs: Path, observer: Observer | None = None) -> Iterator[ServerPool | None]:
    """The servers of the configuration, writing into `logs`, until the block ends; None for the embedded engine."""
    if config.rollout.engine != "sglang":
        yield None
        return
    job = job_node_from(os.environ)
    placement, adapters = placement_here(config), served_adapters(config)
    with closing(ServerPool(config.rollout, config.weights, placement, job, logs, observer, adapters)) as pool:
        yield pool


def load_encoder(model: Path) -> PromptEncoder:
    """The tokenizer of a model folder; UserError if it cannot be read."""
    return PromptEncoder(load_tokenizer(model))
