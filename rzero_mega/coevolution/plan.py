"""The iteration plan: which phases a run has, and which earlier outputs each of them starts from.

R-Zero (arXiv 2508.05004, section 3.1): Q_i is trained from Q_{i-1} against S_{i-1}; Q_i writes the questions, S_{i-1}
labels them, and S_i is trained on them from S_{i-1}. Q_0 and S_0 are the base model.
"""

from __future__ import annotations

from dataclasses import dataclass

from rzero_mega.coevolution.streams import permutation
from rzero_mega.config.schema import Config, TrainingConfig
from rzero_mega.phase_name import PhaseName


@dataclass(frozen=True)
class Source:
    """An output of an earlier phase; without a phase, the base model."""

    iteration: int
    phase: PhaseName | None
    output: str

    def __str__(self) -> str:
        """For instance "base" or "2/challenger/model"."""
        return "base" if self.phase is None else f"{self.iteration}/{self.phase}/{self.output}"


BASE = Source(0, None, "model")


@dataclass(frozen=True)
class PhasePlan:
    """One phase: the models it speaks with, the data it reads, and the names of what it leaves.

    The model that is trained is `challenger` in the challenger phase and `solver` in the solver phase; the KL reference
    is that same model, as it is at the start of the phase. `earlier` are the data sets of earlier iterations, which new
    questions are compared with.
    """

    iteration: int
    name: PhaseName
    challenger: Source | None = None
    solver: Source | None = None
    data: Source | None = None
    earlier: tuple[Source, ...] = ()
    outputs: tuple[str, ...] = ()

    @property
    def inputs(self) -> tuple[Source, ...]:
        """Everything that has to exist before the phase can begin."""
        named = (self.challenger, self.solver, self.data, *self.earlier)
        return tuple(source for source in named if source is not None)


def iteration_plan(config: Config) -> list[PhasePlan]:
    """All phases of a run in order. Iteration 0 has only the evaluation of the base model.

    There is no evaluation without benchmarks, none of the base with `evaluation.base_model` false, and no challenger
    phase with `challenger.train` false, where the base model writes the questions of every iteration.
    """
    evaluates = bool(config.evaluation.benchmarks)
    plan = []
    if evaluates and config.evaluation.base_model:
        plan.append(_evaluation(0))
    for iteration in range(1, config.iterations + 1):
        plan += _iteration(iteration, config.challenger.train)
        if evaluates:
            plan.append(_evaluation(iteration))
    return plan


def updates_per_step(training: TrainingConfig) -> int:
    """Optimizer updates that one step's rollouts are split into."""
    sequences = training.prompts_per_step * training.rollouts_per_prompt
    if sequences % training.grpo.sequences_per_update:
        raise ValueError(f"{training.grpo.sequences_per_update} does not divide {sequences} sequences")
    return sequences // training.grpo.sequences_per_update


def solver_batch(n_kept: int, step: int, prompts_per_step: int, seed: int) -> list[int]:
    """Indices of the kept questions that a step (counted from 1) trains on.

    The steps walk through one endless row of epochs, each a new random order of all questions, so that every question
    is seen as often as every other, give or take one. With fewer questions than `prompts_per_step` a batch spans epochs
    and holds questions more than once. Nothing is remembered between steps: a resumed run draws the same batches.
    """
    if n_kept < 1 or step < 1:
        raise ValueError(f"step {step} over {n_kept} questions; both start at 1")
    first = (step - 1) * prompts_per_step
    epochs = range(first // n_kept, (first + prompts_per_step - 1) // n_kept + 1)
    row = [index for epoch in epochs for index in permutation(n_kept, "solver_batch", seed, epoch)]
    offset = first - epochs.start * n_kept
    return row[offset : offset + prompts_per_step]


def _evaluation(iteration: int) -> PhasePlan:
    return PhasePlan(iteration, PhaseName.EVALUATE, solver=_model(PhaseName.SOLVER, iteration), outputs=("scores",))


def _iteration(iteration: int, trains_challenger: bool) -> list[PhasePlan]:
    solver = _model(PhaseName.SOLVER, iteration - 1)
    challenger = BASE
    phases = []
    if trains_challenger:
        start = _model(PhaseName.CHALLENGER, iteration - 1)
        phases.append(PhasePlan(iteration, PhaseName.CHALLENGER, start, solver, outputs=("model",)))
        challenger = _model(PhaseName.CHALLENGER, iteration)
    questions = Source(iteration, PhaseName.QUESTIONS, "questions")
    *earlier, labels = (Source(number, PhaseName.LABELS, "dataset") for number in range(1, iteration + 1))
    return [
        *phases,
        PhasePlan(iteration, PhaseName.QUESTIONS, challenger=challenger, outputs=(questions.output,)),
        PhasePlan(
            iteration,
            PhaseName.LABELS,
            solver=solver,
            data=questions,
            earlier=tuple(earlier),
            outputs=(labels.output,),
        ),
        PhasePlan(iteration, PhaseName.SOLVER, solver=solver, data=labels, outputs=("model",)),
    ]


def _model(role: PhaseName, iteration: int) -> Source:
    return Source(iteration, role, "model") if iteration else BASE
