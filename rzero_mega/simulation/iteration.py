"""An iteration phase by phase, in the plan's order, and what its GPUs do meanwhile.

Steps of a training phase are alike: one is simulated, and counts as often as there are steps. Of very many draws in one
call a part is simulated (`drawing.PER_SLOT`). Where questions stream into votes (`rollout.sglang.roles: together`) one
role is simulated after the other, since nothing says how two servers on a GPU slow each other. With a Critic it is an
iteration in which there is an earlier one and one is trained: from the second on, up to `critic.frozen_after`; with a
Verifier one in which it has a say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from rzero_mega.coevolution.plan import iteration_plan
from rzero_mega.coevolution.stretch import Stretch, stretches
from rzero_mega.config.schema import SamplingConfig, TrainingConfig, WarmUpConfig
from rzero_mega.config.schema.labelled import SFT
from rzero_mega.errors import UserError
from rzero_mega.phase_name import PhaseName
from rzero_mega.planning.step_time import step_time
from rzero_mega.planning.workload import Workload
from rzero_mega.simulation import asked, costs
from rzero_mega.simulation.asked import Call
from rzero_mega.simulation.drawing import Lengths, draw
from rzero_mega.simulation.sending import next_model
from rzero_mega.simulation.site import Site

START, ROLLOUTS, VOTES, HOST = "start", "rollouts", "votes", "first rank"
TRAINING, SCORING, SENDING, VERIFYING = "training", "a Critic's scores", "sending weights", "verification"
TURNS, CHECKPOINTS, MODEL = "turns", "checkpoints", "model folder"


@dataclass(frozen=True)
class Activity:
    """What a phase does for so many seconds; `busy` are GPU-seconds of work in them, `draws` what was drawn."""

    name: str
    seconds: float
    busy: float = 0.0
    draws: int = 0


@dataclass(frozen=True)
class PhaseTime:
    """A phase of an iteration."""

    phase: PhaseName
    gpus: int
    activities: tuple[Activity, ...]

    @property
    def seconds(self) -> float:
        """All of it."""
        return sum(activity.seconds for activity in self.activities)

    @property
    def busy(self) -> float:
        """GPU-seconds in which a server has work, or the learner trains."""
        return sum(activity.busy for activity in self.activities)

    @property
    def idle(self) -> float:
        """Share of the GPUs' time without either."""
        return 1 - self.busy / (self.gpus * self.seconds) if self.seconds else 0.0

    @property
    def gpu_hours(self) -> float:
        """All GPUs of the job, whatever they do."""
        return self.gpus * self.seconds / 3600

    @property
    def by_activity(self) -> dict[str, float]:
        """{activity: seconds}, most first."""
        return _by_activity(self.activities)

    @property
    def draws(self) -> int:
        """Samples drawn."""
        return sum(activity.draws for activity in self.activities)


@dataclass(frozen=True)
class IterationTime:
    """All phases of an iteration."""

    gpus: int
    phases: tuple[PhaseTime, ...]

    @property
    def seconds(self) -> float:
        """From its first phase's start to its last one's end."""
        return sum(phase.seconds for phase in self.phases)

    @property
    def gpu_hours(self) -> float:
        """All GPUs of the job, whatever they do."""
        return self.gpus * self.seconds / 3600

    @property
    def idle(self) -> float:
        """As of a phase."""
        busy = sum(phase.busy for phase in self.phases)
        return 1 - busy / (self.gpus * self.seconds) if self.seconds else 0.0

    @property
    def by_activity(self) -> dict[str, float]:
        """As of a phase."""
        return _by_activity([activity for phase in self.phases for activity in phase.activities])


def _by_activity(activities: Sequence[Activity]) -> dict[str, float]:
    found: dict[str, float] = {}
    for activity in activities:
        found[activity.name] = found.get(activity.name, 0.0) + activity.seconds
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def iteration_time(site: Site) -> IterationTime:
    """The first iteration's phases; UserError for a configuration that no iteration can be made of."""
    phases = list[PhaseTime]()
    for _, stretch in stretches(Stretch(1).of(iteration_plan(site.config)), site.job_per):
        started: set[str] = set()
        begin = [Activity(START, site.assumptions.costs.job_start_s)]
        for phase in stretch:
            activities = (*begin, *_PHASES[phase.name](site, started))
            phases.append(PhaseTime(phase.name, site.gpus, activities))
            begin = []
    return IterationTime(site.gpus, tuple(phases))


def _challenger(site: Site, started: set[str]) -> list[Activity]:
    """See phases/challenger.py."""
    config, responses = site.config, site.assumptions.responses
    training = config.challenger.training
    begin = [*_engine(site, "solver", started), *_learner_and_engine(site, "challenger", started)]
    lengths = asked.challenger_lengths(responses)
    written = _drawn(site, ROLLOUTS, asked.written(config, responses))
    votes = _drawn(site, VOTES, asked.votes(config, responses))
    begin += _critics_start(site, started, has_place=False)
    rewarded = _rewarded(site, votes[0].draws, config.challenger.votes.sampling, has_place=False)
    drawing = [*written, *votes, *rewarded]
    # From the Challenger to the Solver for the votes, and back for the update.
    return [*begin, *_steps(site, training, drawing, responses.challenger_prompt, lengths, turns=2)]


def _questions(site: Site, started: set[str]) -> list[Activity]:
    config, responses = site.config, site.assumptions.responses
    drawing = _drawn(site, ROLLOUTS, asked.questions(config, responses), as_it_comes=True)
    return [*_engine(site, "challenger", started), *drawing]


def _labels(site: Site, started: set[str]) -> list[Activity]:
    config, responses = site.config, site.assumptions.responses
    call = asked.answers(config, responses)
    curated = sum(kind.prompts for kind in call) * site.assumptions.costs.curate_question_s
    drawing = _drawn(site, VOTES, call, as_it_comes=True)
    scored = [*_critics_start(site, started), *_rewarded(site, drawing[0].draws, config.labels.votes.sampling)]
    begin = _engine(site, "solver", started)
    return [*begin, *drawing, *scored, *_opinion(site, started), Activity(HOST, curated)]


def _opinion(site: Site, started: set[str]) -> list[Activity]:
    """A Verifier that has a say gives its verdicts on the Solver's servers, see phases/opinion.py."""
    config = site.config
    if not (config.verifier.train and config.verifier.use):
        return []
    call = asked.verdicts_on_votes(config, site.assumptions.responses)
    return [*_engine(site, "solver", started), *_drawn(site, VOTES, call, as_it_comes=True)]


def _solver(site: Site, started: set[str]) -> list[Activity]:
    config, responses = site.config, site.assumptions.responses
    training, lengths = config.solver.training, asked.solver_lengths(responses)
    if config.labelled.method == SFT:
        return [*_learner(site), *_fine_tuning(site, responses.solver_prompt, lengths)]
    enough = training.prompts_per_step if config.solver.over_provision else None
    drawing = _drawn(site, ROLLOUTS, asked.rollouts(config, responses), groups=enough)
    drawing += _rewarded(site, training.prompts_per_step * training.rollouts_per_prompt, training.sampling)
    begin = [*_learner_and_engine(site, "solver", started), *_critics_start(site, started)]
    # To the Critic's verdicts, and back for the update.
    turns = 2 if _has_critic(site) and config.critic.generative else 0
    return [*begin, *_steps(site, training, drawing, responses.solver_prompt, lengths, turns)]


def _verifier(site: Site, started: set[str]) -> list[Activity]:
    config, responses = site.config, site.assumptions.responses
    measured = asked.verdicts_measured(config, responses)
    return _verdicts_learnt(site, started, config.verifier.training, config.verifier.warm_up, measured)


def _verdicts_learnt(
    site: Site, started: set[str], training: TrainingConfig, warm_up: WarmUpConfig, measured: Call
) -> list[Activity]:
    """A role that writes verdicts, on the Solver's servers; these are taken to be as long as its answers."""
    responses = site.assumptions.responses
    drawing = _drawn(site, ROLLOUTS, asked.verdicts_learnt(training, responses))
    begin = _learner_and_engine(site, "solver", started)
    lengths = asked.solver_lengths(responses)
    trained = _steps(site, training, drawing, responses.solver_prompt, lengths, turns=0)
    size = warm_up.sft.sequences_per_update
    warm_s = _train_seconds(
        site, size, size, asked.sequence_tokens(training, responses.solver_prompt, lengths), scoring=0
    )
    warm = [Activity(TRAINING, (seconds := warm_up.steps * warm_s), seconds * site.config.learner.processes)]
    told = _drawn(site, VOTES, measured, as_it_comes=True)
    return [*(warm if warm_up.steps else []), *begin, *trained, *_engine(site, "solver", started), *told]


def _critic(site: Site, started: set[str]) -> list[Activity]:
    """The base's answers, then training, and what the new Critic and the first one say to be measured."""
    config, responses = site.config, site.assumptions.responses
    calls = [
        *([asked.rival_answers(config, responses)] if config.critic.rival_answers else []),
        *([asked.part_answers(config, responses)] if config.critic.recombined_answers else []),
    ]
    drawing = [(_engine(site, "solver", started), _drawn(site, VOTES, call, as_it_comes=True)) for call in calls]
    trained = _generative_critic(site, started) if config.critic.generative else _scalar_critic(site)
    return [*(activity for engine, drawn in drawing for activity in (*engine, *drawn)), *trained]


def _scalar_critic(site: Site) -> list[Activity]:
    config, responses = site.config, site.assumptions.responses
    size, steps, sampling = config.critic.loss.sequences_per_update, config.critic.steps, config.labels.votes.sampling
    train = _train_seconds(site, size, size, _answer_tokens(site, sampling), scoring=0, critic=True)
    scorers = 2 if config.critic.fixed_answers else 1
    return [
        *_learner(site),
        Activity(TRAINING, steps * train, steps * train * config.learner.processes),
        Activity(CHECKPOINTS, costs.checkpoints(site, steps, train)),
        Activity(MODEL, costs.model_folder(site)),
        *_learner(site) * scorers,
        _scored(site, asked.critic_measured(config, responses).scored, sampling),
    ]


def _generative_critic(site: Site, started: set[str]) -> list[Activity]:
    """The first one is sent to the servers after the new one."""
    config, responses = site.config, site.assumptions.responses
    comparing, told = config.critic.comparing, asked.critic_measured(config, responses)
    measured = asked.verdicts_on_two(config, told.verdicts(comparing.opponents), responses)
    first = _engine(site, "solver", started) if told.fixed else []
    return [*_verdicts_learnt(site, started, comparing.training, comparing.warm_up, measured), *first]


def _critics_start(site: Site, started: set[str], has_place: bool = True) -> list[Activity]:
    """The Critic that rewards is read and built by the learner's ranks, where one does.

    A generative one gets the Challenger's servers, if these are its place.
    """
    if not _has_critic(site):
        return []
    if site.config.critic.generative:
        return _engine(site, "challenger", started) if has_place else []
    return _learner(site)


def _rewarded(site: Site, answers: int, sampling: SamplingConfig, has_place: bool = True) -> list[Activity]:
    """The Critic scores so many answers in one call, where one does.

    A generative one without servers of its own is sent to the Solver's, and the Solver after it.
    """
    if not (_has_critic(site) and answers):
        return []
    if not site.config.critic.generative:
        return [_scored(site, answers, sampling)]
    verdicts = answers * site.config.critic.comparing.opponents
    call = asked.verdicts_on_two(site.config, verdicts, site.assumptions.responses)
    sent = [] if has_place else [Activity(SENDING, 2 * next_model(site))]
    return [*_drawn(site, SCORING, call, as_it_comes=True), *sent]


def _has_critic(site: Site) -> bool:
    return site.config.critic.train and site.config.critic.weight > 0


def _scored(site: Site, answers: int, sampling: SamplingConfig) -> Activity:
    """So many answers drawn with these settings, in a forward pass; and the Critic's way to the GPUs and back."""
    if not answers:
        return Activity(SCORING, 0.0)
    tokens = _answer_tokens(site, sampling)
    without, with_one = (_train_seconds(site, answers, answers, tokens, passes, critic=True) for passes in (0, 1))
    seconds = with_one - without
    return Activity(SCORING, seconds + costs.critic_moves(site), seconds * site.config.learner.processes)


def _answer_tokens(site: Site, sampling: SamplingConfig) -> float:
    """Of a question with its answer."""
    responses = site.assumptions.responses
    return responses.solver_prompt + asked.solver_lengths(responses).mean(sampling.max_new_tokens)


def _evaluate(site: Site, started: set[str]) -> list[Activity]:
    config, responses = site.config, site.assumptions.responses
    gauges = config.labels.gauges.questions > 0 and config.labelled.method == "votes"
    call = asked.evaluated(config, responses, gauges)
    return [*_engine(site, "solver", started), *_drawn(site, VOTES, call, as_it_comes=True)]


_PHASES: dict[PhaseName, Callable[[Site, set[str]], list[Activity]]] = {
    PhaseName.CHALLENGER: _challenger,
    PhaseName.QUESTIONS: _questions,
    PhaseName.LABELS: _labels,
    PhaseName.VERIFIER: _verifier,
    PhaseName.CRITIC: _critic,
    PhaseName.SOLVER: _solver,
    PhaseName.EVALUATE: _evaluate,
}


def _engine(site: Site, role: str, started: set[str]) -> list[Activity]:
    """A role's servers with a model: started on it, or sent it if they are there; others give up their GPUs."""
    others = started - {role}
    asleep = others and site.config.rollout.sglang.roles == "in_turn"
    activities = [Activity(TURNS, costs.turn(site))] if asleep else []
    if role in started:
        activities.append(Activity(SENDING, next_model(site)))
    else:
        activities.append(Activity(START, costs.servers_start(site)))
    started.add(role)
    return activities


def _learner_and_engine(site: Site, role: str, started: set[str]) -> list[Activity]:
    """Servers with GPUs of their own start while the learner does; that are there already, get their model after it."""
    *before, servers = _engine(site, role, started)
    (learner,) = _learner(site)
    if site.colocated or servers.name != START:
        return [learner, *before, servers]
    return [*before, Activity(START, max(learner.seconds, servers.seconds))]


def _learner(site: Site) -> list[Activity]:
    return [Activity(START, costs.learner_start(site))]


def _drawn(site: Site, name: str, call: Call, as_it_comes: bool = False, groups: int | None = None) -> list[Activity]:
    """What servers draw in one call; `as_it_comes` says that units of it are turned into text while others are drawn.

    With `groups` it is over when so many prompts have all samples. Every step then begins with fresh ones: neither
    questions that a step waits for nor answers that go on are modelled.

    The first rank reads answers while others are drawn: it is what counts where it is slower than all servers. What is
    trained on it hands to all ranks.
    """
    found, assumed = draw(site.fleet, call, site.calls_of, groups), site.assumptions.costs
    trained_on = any(kind.logprobs for kind in call)
    reading = found.tokens * (assumed.rank_0_token_s if trained_on else assumed.rank_0_read_token_s)
    texts = found.tokens * assumed.text_token_s
    behind = max(0.0, reading + (texts if as_it_comes else 0.0) - found.seconds) + (0.0 if as_it_comes else texts)
    if trained_on and site.config.learner.processes > 1:
        behind += found.tokens * assumed.broadcast_token_s
    busy = found.busy_s * site.config.rollout.sglang.tp
    return [Activity(name, found.seconds, busy, found.draws), Activity(HOST, behind)]


def _steps(
    site: Site, training: TrainingConfig, drawing: Sequence[Activity], prompt: float, lengths: Lengths, turns: int
) -> list[Activity]:
    """All steps of a training phase; `drawing` is what one draws, in so many `turns` of its two roles."""
    learner, steps = site.config.learner, training.steps
    tokens = asked.sequence_tokens(training, prompt, lengths)
    train = train_seconds(site, training, tokens)
    host = Activity(HOST, site.assumptions.costs.reward_step_s)
    rolled = [*drawing, host]
    together = site.config.rollout.sglang.roles == "together"
    turned = 0.0 if together else turns * costs.turn(site)
    if site.colocated:
        # In a step the learner makes room once: a role takes its memory and gives it back, then takes the new weights.
        between = turns if site.config.weights.verify.probe_every else turns / 2
        turned = costs.turn(site, 1.5 + between) + costs.parking(site)
    # Nobody draws with the weights after the last step.
    sent = max(0, steps - 1)
    drawn_s = sum(activity.seconds for activity in rolled) + (0.0 if site.colocated else turned)
    overlapped = (steps - 1) * min(drawn_s, train) if training.ahead and steps else 0.0
    step_s = drawn_s + train + costs.send(site)
    return [
        *(Activity(a.name, steps * a.seconds, steps * a.busy, steps * a.draws) for a in rolled),
        # While the next step's rollouts are drawn the learner trains, and only what is longer counts.
        Activity(TRAINING, steps * train - overlapped, steps * train * learner.processes),
        Activity(SENDING, sent * costs.send(site)),
        Activity(VERIFYING, costs.hashing(site, sent) + costs.probes(site, steps)),
        Activity(TURNS, steps * turned),
        Activity(CHECKPOINTS, costs.checkpoints(site, steps, step_s)),
        Activity(MODEL, costs.model_folder(site)),
    ]


def _fine_tuning(site: Site, prompt: float, lengths: Lengths) -> list[Activity]:
    training, size = site.config.solver.training, site.config.labelled.sft.sequences_per_update
    train = _train_seconds(site, size, size, asked.sequence_tokens(training, prompt, lengths), scoring=0)
    return [
        Activity(TRAINING, training.steps * train, training.steps * train * site.config.learner.processes),
        Activity(CHECKPOINTS, costs.checkpoints(site, training.steps, train)),
        Activity(MODEL, costs.model_folder(site)),
    ]


def train_seconds(site: Site, training: TrainingConfig, tokens: float) -> float:
    """Of a GRPO step on rollouts of so many tokens with their prompts: scoring passes and updates."""
    grpo, sequences = training.grpo, training.prompts_per_step * training.rollouts_per_prompt
    # In the first iteration the base model is what the phase begins with, and no pass of its own.
    scoring = (sequences > grpo.sequences_per_update) + (grpo.kl_coefficient > 0)
    return _train_seconds(site, sequences, grpo.sequences_per_update, tokens, scoring)


def _train_seconds(
    site: Site, sequences: int, per_update: int, tokens: float, scoring: int, critic: bool = False
) -> float:
    learner = site.config.learner
    length = max(1, round(tokens))
    if length > learner.tokens_per_micro_batch:
        raise UserError(
            f"learner.tokens_per_micro_batch: {learner.tokens_per_micro_batch} tokens do not hold a rollout of {length}"
        )
    work = Workload(
        sequences=sequences,
        length=length,
        tokens_per_micro_batch=learner.tokens_per_micro_batch,
        sequences_per_update=per_update,
        scoring_passes=scoring,
        element_bytes=4 if learner.dtype == "float32" else 2,
        fp8=learner.fp8.format != "none",
        adapter_rank=learner.lora.rank or 0,
        adapted=tuple(learner.lora.modules),
    )
    per_node = site.config.placement.gpus_per_node
    shape = replace(site.shape, scores=1) if critic else site.shape
    modelled = step_time(shape, site.candidate, work, site.gpu, per_node, site.assumptions.training)
    return site.assumptions.costs.train_factor * modelled.seconds
