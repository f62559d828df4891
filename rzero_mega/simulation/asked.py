"""What models are asked in an iteration, as the phases ask it: how many draws of which kind, and in which calls."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil

from rzero_mega.config.panel import vote_sources
from rzero_mega.config.schema import Config, SamplingConfig, TrainingConfig
from rzero_mega.config.steps import labels_parts, parts
from rzero_mega.domains.domain import ScoredAnswers
from rzero_mega.domains.registry import domain_of
from rzero_mega.evaluation.asking import asking
from rzero_mega.evaluation.benchmarks import Benchmark, load_benchmark
from rzero_mega.evaluation.definition import benchmark_names, defined_benchmark
from rzero_mega.planning.assumptions import Responses
from rzero_mega.simulation.drawing import Asked, Lengths

Call = tuple[Asked, ...]
"""What one call of an engine draws."""


def challenger_lengths(responses: Responses) -> Lengths:
    """Of the Challenger's responses."""
    return Lengths(responses.challenger_median, responses.challenger_sigma, responses.challenger_cut_off)


def solver_lengths(responses: Responses) -> Lengths:
    """Of the Solver's answers."""
    return Lengths(responses.solver_median, responses.solver_sigma, responses.solver_cut_off)


def written(config: Config, responses: Responses) -> Call:
    """The Challenger's rollouts of a step (phases/challenger.py)."""
    training = config.challenger.training
    asked = _of_challenger(training.prompts_per_step, training.rollouts_per_prompt, training.sampling, responses)
    return (replace(asked, logprobs=True),)


def votes(config: Config, responses: Responses) -> Call:
    """The frozen Solver's answers to the well-formed ones of them."""
    training, votes = config.challenger.training, config.challenger.votes
    questions = round(responses.well_formed_share * training.prompts_per_step * training.rollouts_per_prompt)
    return (_of_solver(questions, votes.samples, votes.sampling, responses),)


def questions(config: Config, responses: Responses) -> Call:
    """The iteration's questions, all parts in one call (phases/questions.py)."""
    sampling = config.questions.sampling
    planned = parts(config.questions.count, config.questions.per_part)
    return tuple(_of_challenger(1, len(part), sampling, responses) for part in planned)


def answers(config: Config, responses: Responses) -> Call:
    """The votes on them: parts and sources of votes in one queue (phases/rounds.py)."""
    count = round(responses.well_formed_share * config.questions.count)
    cut = labels_parts(count, config.labels.replay.questions, config.labels.questions_per_part)
    sampling = config.labels.votes.sampling
    return tuple(
        _of_solver(len(part), source.samples, sampling, responses)
        for source in vote_sources(config.labels)
        for part in cut
    )


def rollouts(config: Config, responses: Responses) -> Call:
    """The Solver's of a step (phases/solver.py)."""
    training = config.solver.training
    prompts = training.prompts_per_step + ceil(config.solver.over_provision * training.prompts_per_step)
    asked = _of_solver(prompts, training.rollouts_per_prompt, training.sampling, responses)
    return (replace(asked, logprobs=True),)


def verdicts_learnt(training: TrainingConfig, responses: Responses) -> Call:
    """The rollouts of a step, of a role that writes verdicts (phases/verdict_training.py)."""
    asked = _of_solver(training.prompts_per_step, training.rollouts_per_prompt, training.sampling, responses)
    return (replace(asked, logprobs=True),)


def verdicts_measured(config: Config, responses: Responses) -> Call:
    """Its verdicts on known pairs, when it is trained."""
    verifier = config.verifier
    return (_of_solver(2 * verifier.gate.pairs, verifier.samples, verifier.sampling, responses),)


def verdicts_on_votes(config: Config, responses: Responses) -> Call:
    """A Verifier's on answers that the votes of an iteration gave (phases/opinion.py)."""
    verifier = config.verifier
    answers = round(responses.verified_share * responses.well_formed_share * config.questions.count)
    return (_of_solver(answers, verifier.samples, verifier.sampling, responses),)


def rival_answers(config: Config, responses: Responses) -> Call:
    """The base's answers that a Critic's Solver is to surpass (phases/critic_answers.py)."""
    count = round(responses.well_formed_share * config.questions.count)
    return (_of_solver(count, config.critic.rival_answers, config.labels.votes.sampling, responses),)


def part_answers(config: Config, responses: Responses) -> Call:
    """The Solver's to the parts of questions, of which each is taken to have two, no shorter than the whole."""
    count = 2 * round(responses.well_formed_share * config.questions.count)
    return (_of_solver(count, config.critic.recombined_answers, config.labels.votes.sampling, responses),)


@dataclass(frozen=True)
class CriticMeasured:
    """What a trained Critic is measured by: pairs of known order, answers, and some that the first one scores, too."""

    pairs: int
    answers: int
    fixed: int

    @property
    def scored(self) -> int:
        """Answers that a scalar one scores; those that the first one scores again are among them."""
        return 2 * self.pairs + self.answers + 2 * self.fixed

    def verdicts(self, opponents: int) -> int:
        """Those of a generative one, and of the first."""
        return 2 * self.pairs + opponents * (self.answers + 2 * self.fixed)


def critic_measured(config: Config, responses: Responses) -> CriticMeasured:
    """Of every kind of pairs there are taken to be as many as answers, or as the gate looks at."""
    critic, domain = config.critic, domain_of(config)
    count = round(responses.well_formed_share * config.questions.count)
    answers = round(critic.gate.share * count) * config.labels.votes.samples
    corruptions = domain.answers.corruptions if isinstance(domain.answers, ScoredAnswers) else {}
    drawn = (round(critic.gate.share * count) * own for own in (critic.rival_answers, critic.recombined_answers))
    kinds = [answers] * len(corruptions) + list(drawn)
    pairs = sum(min(critic.gate.pairs, of_kind) for of_kind in kinds)
    return CriticMeasured(pairs, min(critic.gate.pairs, answers), min(critic.fixed_answers, count))


def verdicts_on_two(config: Config, verdicts: int, responses: Responses) -> Call:
    """So many of a generative Critic, whose prompts have two answers; all of these are taken to be different."""
    answers = 2 * solver_lengths(responses).mean(config.labels.votes.sampling.max_new_tokens)
    sampling = SamplingConfig(max_new_tokens=config.critic.comparing.max_new_tokens)
    asked = _of_solver(verdicts, 1, sampling, responses)
    return (replace(asked, prompt_tokens=round(responses.solver_prompt + answers)),)


def evaluated(config: Config, responses: Responses, gauges: bool) -> Call:
    """All benchmarks and the gauges' questions, long answers first, in one call (phases/asking_queue.py)."""
    found = []
    for name in config.evaluation.benchmarks:
        problems, benchmark = _problems(name, config)
        how = asking(benchmark, config.evaluation)
        found += [_of_solver(problems, how.samples, how.sampling, responses)] if how.samples else []
        found += [_of_solver(problems, 1, how.greedy_sampling, responses)] if how.greedy else []
    found.sort(key=lambda asked: -asked.limit)
    if gauges:
        labels = config.labels
        found.append(_of_solver(labels.gauges.questions, labels.gauges.votes + 1, labels.votes.sampling, responses))
    return tuple(found)


def sequence_tokens(training: TrainingConfig, prompt: float, lengths: Lengths) -> float:
    """Mean tokens of a rollout that is trained on, with its prompt."""
    return prompt + lengths.mean(training.sampling.max_new_tokens)


def _of_challenger(prompts: int, samples: int, sampling: SamplingConfig, responses: Responses) -> Asked:
    prompt, limit = round(responses.challenger_prompt), sampling.max_new_tokens
    return Asked(prompts, samples, prompt, limit, challenger_lengths(responses), one_prompt=True)


def _of_solver(prompts: int, samples: int, sampling: SamplingConfig, responses: Responses) -> Asked:
    return Asked(prompts, samples, round(responses.solver_prompt), sampling.max_new_tokens, solver_lengths(responses))


def _problems(name: str, config: Config) -> tuple[int, Benchmark]:
    """(how many, a benchmark that says how they are asked). The data of public ones need not be on this machine."""
    kind, _, size = name.partition(":")
    if kind not in benchmark_names():
        benchmark = load_benchmark(name, config.evaluation.data)
        return len(benchmark.problems), benchmark
    definition = defined_benchmark(kind)
    count = definition.items if definition.items is not None else len(load_benchmark(name).problems)
    of_part = min(count, int(size)) if size.isdecimal() else count
    return of_part, Benchmark(kind, (), protocol=definition.protocol)
