"""The iteration plan: which phases a run has, and which earlier outputs each of them starts from.

R-Zero (arXiv 2508.05004, section 3.1): Q_i is trained from Q_{i-1} against S_{i-1}; Q_i writes the questions, S_{i-1}
labels them, and S_i is trained on them from S_{i-1}. Q_0 and S_0 are the base model. With labelled data an iteration
is the last of these alone. `challenger.start` and `solver.start` may put the base model in the place of Q_{i-1} and
S_{i-1} where these are trained from, and nowhere else. With `verifier.train` a third role follows the labels: V_i is
trained from V_{i-1} on the votes of iteration i, and has a say in the labels of iteration i + 1, in no earlier ones.
With `critic.train` it is a Critic in the same place: C_i is trained from C_{i-1} on the scored answers of iteration i,
scores what the Solver of iteration i answers, and in iteration i + 1 what is answered before C_{i+1}. After iteration
`critic.frozen_after` none is trained, and the last one scores.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType

from rzero_mega.coevolution.label_guard import Decision
from rzero_mega.coevolution.streams import permutation
from rzero_mega.config.panel import Voter, asks_paraphrases, vote_sources, widened
from rzero_mega.config.schema import Config, TrainingConfig
from rzero_mega.config.schema.labelled import VOTES
from rzero_mega.phase_name import PhaseName


@dataclass(frozen=True)
class Source:
    """An output of an earlier phase; without a phase, what the run was given.

    That is the base model, the labelled data, or the guard's panel.
    """

    iteration: int
    phase: PhaseName | None
    name: str

    def __str__(self) -> str:
        """For instance "base" or "2/challenger/model"."""
        return self.name if self.phase is None else f"{self.iteration}/{self.phase}/{self.name}"


BASE = Source(0, None, "base")
NO_DECISIONS: Mapping[int, Decision] = MappingProxyType({})
LABELLED_DATA = Source(0, None, "labelled.data")
GUARDS_PANEL = Source(0, None, "labels.guard.panel")


@dataclass(frozen=True)
class EarlierDataSets:
    """What iterations 1 to `last` trained their Solvers on: a number, for a list in each of them would be quadratic."""

    last: int

    def __iter__(self) -> Iterator[Source]:
        """Each of them."""
        return (_output(PhaseName.LABELS, number) for number in range(1, self.last + 1))

    def __str__(self) -> str:
        """For instance "1..3/labels/dataset"."""
        which = "1" if self.last == 1 else f"1..{self.last}"
        return f"{which}/{PhaseName.LABELS}/{_OUTPUTS[PhaseName.LABELS]}" if self.last else ""


@dataclass(frozen=True)
class ChallengerInputs:
    """The Challenger that is trained, and the frozen Solver it learns against.

    The KL reference is the Challenger itself, as it is at the start of the phase. `earlier` is what it is not to ask
    again, `base` the base model where the phase compares or averages with it. `critic` scores the Solver's answers.
    """

    challenger: Source
    solver: Source
    earlier: EarlierDataSets = EarlierDataSets(0)
    base: Source | None = None
    critic: Source | None = None


@dataclass(frozen=True)
class QuestionsInputs:
    """The Challenger that writes."""

    challenger: Source


@dataclass(frozen=True)
class OtherVoters:
    """Models that `labels.panel` gives votes besides the Solver, or, `by_guard`, `labels.guard.panel` in its place.

    Which of the two it is counts as one of them: both may ask the same models.
    """

    models: tuple[tuple[Voter, Source], ...]
    by_guard: bool = False

    def __iter__(self) -> Iterator[Source]:
        """Each of them."""
        yield from (source for _, source in self.models)
        if self.by_guard:
            yield GUARDS_PANEL

    def __str__(self) -> str:
        """For instance "base, 2/solver/model", by the guard "base, labels.guard.panel"."""
        return ", ".join(map(str, self))


@dataclass(frozen=True)
class Paraphrasers:
    """Who writes questions in other words, and whose answers say whether they mean the same."""

    writer: Source
    checker: Source

    def __iter__(self) -> Iterator[Source]:
        """Both of them."""
        yield from (self.writer, self.checker)

    def __str__(self) -> str:
        """For instance "1/solver/model, base"."""
        return ", ".join(map(str, self))


@dataclass(frozen=True)
class LabelsInputs:
    """The Solver that votes, the questions, and the data sets of earlier iterations that they are compared with.

    `verifier` is whose verdicts the votes are held against, if the gate on it is open; `critic` scores the answers.
    """

    solver: Source
    questions: Source
    earlier: EarlierDataSets
    others: OtherVoters = OtherVoters(())
    paraphrasers: Paraphrasers | None = None
    verifier: Source | None = None
    critic: Source | None = None

    def model(self, voter: Voter) -> Source:
        """The model of one who votes."""
        return {Voter.SOLVER: self.solver, **dict(self.others.models)}[voter]


@dataclass(frozen=True)
class VerifierInputs:
    """The Verifier that is trained, itself the KL reference as in `ChallengerInputs`, and its iteration's votes."""

    verifier: Source
    labelled: Source
    base: Source | None = None


@dataclass(frozen=True)
class CriticInputs:
    """The Critic that is trained, or the base model, and the answers of its iteration's labels.

    `rival` is whose answers are to be worse than those; None where the Solver who gave them is that one. `first` is
    the first Critic, and `fixed` the answers that all of them score; None where they are this one and these. `solver`
    gave the answers, and is asked for parts of the questions, if it is. `base` as in `ChallengerInputs`.
    """

    critic: Source
    scored: Source
    rival: Source | None = None
    first: Source | None = None
    fixed: Source | None = None
    solver: Source | None = None
    base: Source | None = None


@dataclass(frozen=True)
class SolverInputs:
    """The Solver that is trained, itself the KL reference as in `ChallengerInputs`, and its data set.

    `earlier` are further data sets that it is trained on, `critic` scores its answers.
    """

    solver: Source
    dataset: Source
    earlier: EarlierDataSets = EarlierDataSets(0)
    base: Source | None = None
    critic: Source | None = None


@dataclass(frozen=True)
class LabelledInputs:
    """The Solver that is trained, and the data with known answers that it is trained on."""

    solver: Source
    data: Source
    base: Source | None = None


@dataclass(frozen=True)
class EvaluateInputs:
    """The Solver that is measured."""

    solver: Source


PhaseInputs = (
    ChallengerInputs
    | QuestionsInputs
    | LabelsInputs
    | VerifierInputs
    | CriticInputs
    | SolverInputs
    | LabelledInputs
    | EvaluateInputs
)

_NAMES: dict[type[PhaseInputs], PhaseName] = {
    ChallengerInputs: PhaseName.CHALLENGER,
    QuestionsInputs: PhaseName.QUESTIONS,
    LabelsInputs: PhaseName.LABELS,
    VerifierInputs: PhaseName.VERIFIER,
    CriticInputs: PhaseName.CRITIC,
    SolverInputs: PhaseName.SOLVER,
    LabelledInputs: PhaseName.SOLVER,
    EvaluateInputs: PhaseName.EVALUATE,
}
_OUTPUTS = {
    PhaseName.CHALLENGER: "model",
    PhaseName.QUESTIONS: "questions",
    PhaseName.LABELS: "dataset",
    PhaseName.VERIFIER: "model",
    PhaseName.CRITIC: "model",
    PhaseName.SOLVER: "model",
    PhaseName.EVALUATE: "scores",
}


@dataclass(frozen=True)
class PhasePlan:
    """One phase of an iteration, and what it starts from."""

    iteration: int
    inputs: PhaseInputs

    @property
    def name(self) -> PhaseName:
        """Which phase takes these inputs."""
        return _NAMES[type(self.inputs)]

    @property
    def sources(self) -> tuple[Source, ...]:
        """Everything that has to exist before the phase can begin."""
        found: list[Source] = []
        for field in fields(self.inputs):
            value = getattr(self.inputs, field.name)
            found += (value,) if isinstance(value, Source) else value or ()
        return tuple(found)

    def __str__(self) -> str:
        """For instance "2/labels: 1/solver/model, 2/questions/questions, 1/labels/dataset -> dataset"."""
        sources = [str(getattr(self.inputs, field.name) or "") for field in fields(self.inputs)]
        return f"{self.iteration}/{self.name}: {', '.join(filter(None, sources))} -> {self.output.name}"

    @property
    def output(self) -> Source:
        """What the phase leaves for later ones; of an evaluation, its scores."""
        return _output(self.name, self.iteration)


def iteration_plan(config: Config, decisions: Mapping[int, Decision] = NO_DECISIONS) -> list[PhasePlan]:
    """All phases of a run in order. Iteration 0 has only the evaluation of the base model.

    There is no evaluation without benchmarks and gauges, none of the base without benchmarks or with
    `evaluation.base_model` false, no challenger phase with `challenger.train` false, where the base model writes the
    questions of every iteration, and no Verifier or Critic without `verifier.train` or `critic.train`. With a
    `labelled.method` an iteration trains its Solver on `labelled.data`, and there is no other role.

    `decisions` are those of the guard so far, by iteration: what the phases are does not depend on them, but which
    Solver one starts from, and who votes.
    """
    evaluates = bool(config.evaluation.benchmarks)
    plan = []
    if evaluates and config.evaluation.base_model:
        plan.append(_evaluation(0))
    for iteration in range(1, config.iterations + 1):
        if config.labelled.method == VOTES:
            plan += _iteration(iteration, config, decisions.get(iteration - 1))
        else:
            solver = _model(PhaseName.SOLVER, iteration - 1)
            base = _base_of(config.solver.training)
            plan.append(PhasePlan(iteration, LabelledInputs(solver, LABELLED_DATA, base)))
        if evaluates or has_gauges(config):
            plan.append(_evaluation(iteration))
    return plan


def has_gauges(config: Config) -> bool:
    """Whether every Solver is asked the fixed questions that `labels.gauges` are read from."""
    return config.labelled.method == VOTES and config.labels.gauges.questions > 0


def still_needed(plan: Sequence[PhasePlan], finished: Container[tuple[int, PhaseName]]) -> set[Source]:
    """What the phases that are not finished start from."""
    return {source for phase in plan if (phase.iteration, phase.name) not in finished for source in phase.sources}


def solver_batch(n_kept: int, step: int, prompts_per_step: int, seed: int) -> list[int]:
    """Indices of the kept questions that a step (counted from 1) trains on.

    The steps walk through one endless row of epochs, each a new random order of all questions, so that every question
    is seen as often as every other, give or take one. With fewer questions than `prompts_per_step` a batch spans epochs
    and holds questions more than once. Nothing is remembered between steps: a resumed run draws the same batches.
    """
    if n_kept < 1 or step < 1:
        raise ValueError(f"step {step} over {n_kept} questions; both start at 1")
    return solver_row(n_kept, (step - 1) * prompts_per_step, prompts_per_step, seed)


def solver_row(n_kept: int, first: int, count: int, seed: int) -> list[int]:
    """So many indices out of that row, from place `first` on, counted from 0."""
    epochs = range(first // n_kept, (first + count - 1) // n_kept + 1)
    row = [index for epoch in epochs for index in permutation(n_kept, "solver_batch", seed, epoch)]
    offset = first - epochs.start * n_kept
    return row[offset : offset + count]


def further_questions(n_kept: int, step: int, batch: Sequence[int], seed: int) -> list[int]:
    """Indices of the kept questions that a step may ask besides those of its `batch`, in a random order of its own."""
    asked = set(batch)
    return [index for index in permutation(n_kept, "further_questions", seed, step) if index not in asked]


def _evaluation(iteration: int) -> PhasePlan:
    return PhasePlan(iteration, EvaluateInputs(_model(PhaseName.SOLVER, iteration)))


def _iteration(iteration: int, config: Config, decided: Decision | None) -> list[PhasePlan]:
    before = iteration - 1 if decided is None else decided.start
    by_guard = decided is not None and decided.widened
    config = widened(config) if by_guard else config
    solver, challenger, plans = _model(PhaseName.SOLVER, before), BASE, []
    earlier, none = EarlierDataSets(iteration - 1), EarlierDataSets(0)
    has_critic = config.critic.train
    scorer = _critic_of(iteration - 1, config) if has_critic and iteration > 1 else None
    if config.challenger.train:
        start = BASE if config.challenger.start == "base" else _model(PhaseName.CHALLENGER, iteration - 1)
        remembered = earlier if config.challenger.reward.memory.weight else none
        base = _base_of(config.challenger.training)
        plans.append(PhasePlan(iteration, ChallengerInputs(start, solver, remembered, base, scorer)))
        challenger = plans[-1].output
    questions = PhasePlan(iteration, QuestionsInputs(challenger))
    others, paraphrasers = _others(before, config, by_guard), None
    if asks_paraphrases(config.labels):
        writer = challenger if config.labels.panel.paraphrase.writer == "challenger" else solver
        paraphrasers = Paraphrasers(writer, checker=BASE)
    has_verifier = config.verifier.train
    verifier = _model(PhaseName.VERIFIER, iteration - 1) if has_verifier and iteration > 1 else None
    labels = PhasePlan(
        iteration, LabelsInputs(solver, questions.output, earlier, others, paraphrasers, verifier, scorer)
    )
    third = [_verifier(iteration, config)] if has_verifier else []
    newest = _critic_of(iteration, config) if has_critic else None
    third += [_critic(iteration, solver, config)] if newest == _model(PhaseName.CRITIC, iteration) else []
    start = BASE if config.solver.start == "base" else solver
    trained_on = earlier if config.solver.accumulate else none
    train = SolverInputs(start, labels.output, trained_on, _base_of(config.solver.training), newest)
    return [*plans, questions, labels, *third, PhasePlan(iteration, train)]


def _verifier(iteration: int, config: Config) -> PhasePlan:
    before, votes = _model(PhaseName.VERIFIER, iteration - 1), Source(iteration, PhaseName.LABELS, "labelled")
    return PhasePlan(iteration, VerifierInputs(before, votes, _base_of(config.verifier.training)))


def _critic_of(iteration: int, config: Config) -> Source:
    """The Critic after the labels of an iteration."""
    frozen_after = config.critic.frozen_after
    return _model(PhaseName.CRITIC, iteration if frozen_after is None else min(iteration, frozen_after))


def _critic(iteration: int, solver: Source, config: Config) -> PhasePlan:
    rival = BASE if solver != BASE and config.critic.rival_answers else None
    first = fixed = None
    if iteration > 1 and config.critic.fixed_answers:
        first, fixed = _model(PhaseName.CRITIC, 1), Source(1, PhaseName.LABELS, "scored")
    scored = Source(iteration, PhaseName.LABELS, "scored")
    before, asked = _model(PhaseName.CRITIC, iteration - 1), solver if config.critic.recombined_answers else None
    base = _base_of(config.critic.comparing.training) if config.critic.generative else None
    return PhasePlan(iteration, CriticInputs(before, scored, rival, first, fixed, asked, base))


def _base_of(training: TrainingConfig) -> Source | None:
    """The base model, if the phase needs it besides the model that it trains."""
    compared = training.grpo.kl_base_coefficient > 0
    averaged = training.average.share > 0 and training.average.anchor == "base"
    return BASE if compared or averaged else None


def _others(solver: int, config: Config, by_guard: bool) -> OtherVoters:
    """Those beside the Solver of iteration `solver`."""
    models = {Voter.BASE: BASE, Voter.EARLIER: _model(PhaseName.SOLVER, max(0, solver - 1))}
    voters = dict.fromkeys(source.voter for source in vote_sources(config.labels))
    return OtherVoters(tuple((voter, models[voter]) for voter in voters if voter in models), by_guard)


def _model(role: PhaseName, iteration: int) -> Source:
    return _output(role, iteration) if iteration else BASE


def _output(phase: PhaseName, iteration: int) -> Source:
    return Source(iteration, phase, _OUTPUTS[phase])
