"""Which model of a run: the one that a finished phase left, held against the checksums that the phase noted."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from rzero_mega.coevolution.prompts import PromptTemplate, parse_prompt
from rzero_mega.config.schema import SamplingConfig
from rzero_mega.domains.prompts import prompt_key, prompt_name, prompt_text_of
from rzero_mega.errors import UserError
from rzero_mega.phase_name import PhaseName
from rzero_mega.run import PhaseDirectory, RunDirectory

Role = Literal["solver", "challenger"]
MODEL = "model"
# Hashing lets go of Python's lock, and one thread reads no disk of a cluster to its limit.
_THREADS = 8


@dataclass(frozen=True)
class TrainedPrompt:
    """How a role was asked: its prompt file's text, that text read, and how its answers are sampled."""

    text: str
    template: PromptTemplate
    takes_question: bool
    sampling: SamplingConfig


@dataclass(frozen=True)
class TrainedModel:
    """The model that a role's training phase left."""

    run: RunDirectory
    phase: PhaseDirectory
    role: Role

    @property
    def iteration(self) -> int:
        """After which iteration."""
        return self.phase.iteration

    @property
    def name(self) -> str:
        """For instance nano-seed0-solver-3."""
        return f"{self.run.path.resolve().name}-{self.role}-{self.iteration}"

    @property
    def folder(self) -> Path:
        """Where it lies in the run."""
        return self.phase.output(MODEL)

    @property
    def nbytes(self) -> int:
        """Bytes of all its files."""
        return self.phase.artefact(MODEL).bytes

    def check(self) -> None:
        """Read all of it; UserError names a file that is not what it was when the phase finished."""
        with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
            files = [[file] for file in self.phase.output_files(MODEL)]
            list(pool.map(partial(self.phase.check_output, MODEL), files))

    def prompt(self) -> TrainedPrompt:
        """The role's prompt as the run has it, and its sampling: of evaluations, or of written questions."""
        config, solves = self.run.config, self.role == "solver"
        text = self.run.text(prompt_key(self.role))
        text = prompt_text_of(config, self.role) if text is None else text
        sampling = config.evaluation.sampling if solves else config.questions.sampling
        return TrainedPrompt(text, parse_prompt(text, prompt_name(config, self.role)), solves, sampling)


def trained_model(run: RunDirectory, role: Role, iteration: int | None) -> TrainedModel:
    """The role's model after an iteration, the last one that has it by default.

    UserError if that iteration has none: its phase is not finished, or its model was removed.
    """
    if iteration == 0:
        raise UserError(f"iteration 0: is the base model, {run.config.model.path}; nothing of it was trained here")
    finished = [phase for phase in map(partial(_phase, run, role), run.iterations()) if _has_model(phase)]
    there = [phase for phase in finished if phase.output(MODEL).is_dir()]
    numbers = ", ".join(str(phase.iteration) for phase in there) or "none"
    if iteration is None:
        if not there:
            raise UserError(f"{run.path}: has no {role} of a finished phase; `rzero-mega status` says how far it is")
        return TrainedModel(run, there[-1], role)
    for phase in finished:
        if phase.iteration == iteration:
            if phase not in there:
                why = "was removed by run.keep_models" if phase.is_removed(MODEL) else "is missing"
                raise UserError(f"{phase.output(MODEL)}: {why}; there is the {role} of these iterations: {numbers}")
            return TrainedModel(run, phase, role)
    raise UserError(f"iteration {iteration}: has no finished {role}; these iterations have: {numbers}")


def _phase(run: RunDirectory, role: Role, iteration: int) -> PhaseDirectory:
    return run.phase(iteration, PhaseName(role))


def _has_model(phase: PhaseDirectory) -> bool:
    manifest = phase.manifest()
    return manifest is not None and MODEL in manifest.outputs
