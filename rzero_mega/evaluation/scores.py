"""From responses to scores: what each answers, whether it is right, and what that makes of problems and benchmarks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from rzero_mega.atomic import write_jsonl
from rzero_mega.coevolution.votes import majority_vote
from rzero_mega.domains.domain import Domain
from rzero_mega.evaluation.benchmarks import Benchmark
from rzero_mega.evaluation.judge_report import SUMMARY, Graded, SecondLook
from rzero_mega.evaluation.predictions import Judgement, Prediction, Response
from rzero_mega.evaluation.problem_score import ProblemScore
from rzero_mega.evaluation.readings import OfQuality, Reading, reading_named
from rzero_mega.evaluation.statistics import accuracy, mean_of
from rzero_mega.grading.grader import Grader

SCORES, PREDICTIONS = Path("scores.jsonl"), Path("predictions.jsonl")


@dataclass(frozen=True)
class Evaluation:
    """What a model made of the benchmarks: every response with its verdict, every problem's score, and the figures."""

    predictions: Sequence[Prediction]
    scores: Sequence[ProblemScore]
    summary: dict[str, Any]

    def write(self, folder: Path) -> None:
        """The rows of the first two into files of the folder."""
        write_jsonl(folder / PREDICTIONS, (prediction.as_json() for prediction in self.predictions))
        write_jsonl(folder / SCORES, (score.as_json() for score in self.scores))


def judge(benchmark: Benchmark, responses: Sequence[Response], domain: Domain, grader: Grader) -> list[Judgement]:
    """Read and judge responses to problems of one benchmark."""
    reading, problems = reading_named(benchmark.reading, domain), benchmark.problems
    predictions = [
        reading.prediction(response.text, problems[response.problem]) if response.finished else None
        for response in responses
    ]
    given = [
        (prediction, problems[response.problem])
        for prediction, response in zip(predictions, responses, strict=True)
        if prediction is not None
    ]
    if isinstance(reading, OfQuality):
        worth = iter(reading.qualities(given))
        qualities = [0.0 if prediction is None else next(worth) for prediction in predictions]
        return [Judgement(text, quality == 1.0, quality) for text, quality in zip(predictions, qualities, strict=True)]
    verdicts = iter(reading.verdicts(given, grader))
    return [Judgement(prediction, prediction is not None and next(verdicts)) for prediction in predictions]


def evaluation_of(
    benchmarks: Sequence[Benchmark],
    responses: Sequence[Response],
    domain: Domain,
    grader: Grader,
    look: SecondLook | None = None,
) -> Evaluation:
    """The responses, to all problems of all benchmarks and in any order, read and judged.

    `grader` is the domain's. `look` is a judge's, after the rules; the figures then say what it did.
    Rows come in the order of the benchmarks, of their problems and of the samples, the greedy answer last.
    """
    predictions: list[Prediction] = []
    scores: list[ProblemScore] = []
    by_benchmark: dict[str, list[Response]] = defaultdict(list)
    for response in sorted(responses, key=lambda response: response.place):
        by_benchmark[response.benchmark].append(response)
    judged = [judge(benchmark, by_benchmark[benchmark.name], domain, grader) for benchmark in benchmarks]
    looked: dict[str, Any] = {}
    if look is not None:
        graded = [
            _graded(benchmark, response, judgement)
            for benchmark, own in zip(benchmarks, judged, strict=True)
            for response, judgement in zip(by_benchmark[benchmark.name], own, strict=True)
        ]
        verdicts, report = look(graded)
        rest = iter(verdicts)
        judged = [[replace(judgement, right=next(rest)) for judgement in own] for own in judged]
        looked = {SUMMARY: report.as_json()}
    for benchmark, judgements in zip(benchmarks, judged, strict=True):
        own = by_benchmark[benchmark.name]
        predictions += map(Prediction, own, judgements)
        scores += problem_scores(benchmark, own, judgements, domain, grader)
    figures = summary(scores, {bench.name: bench.group for bench in benchmarks})
    return Evaluation(predictions, scores, {**figures, **looked})


def _graded(benchmark: Benchmark, response: Response, judgement: Judgement) -> Graded:
    problem = benchmark.problems[response.problem]
    return Graded(problem.question, problem.answers, judgement.prediction, judgement.right, problem.options)


def problem_scores(
    benchmark: Benchmark,
    responses: Sequence[Response],
    judgements: Sequence[Judgement],
    domain: Domain,
    grader: Grader,
) -> list[ProblemScore]:
    """The scores of all problems of a benchmark. `responses` hold at least one to each."""
    greedy: dict[int, Judgement] = {}
    samples: dict[int, list[tuple[int, Judgement]]] = defaultdict(list)
    for response, judgement in zip(responses, judgements, strict=True):
        if response.sample is None:
            greedy[response.problem] = judgement
        else:
            samples[response.problem].append((response.sample, judgement))
    drawn = {problem: [judgement for _, judgement in sorted(some, key=_index)] for problem, some in samples.items()}
    votes = _votes(reading_named(benchmark.reading, domain), drawn, grader)
    scores = []
    for number, problem in enumerate(benchmark.problems):
        mean = fmean(judgement.worth for judgement in drawn[number]) if number in drawn else None
        score = mean if mean is not None else greedy[number].worth
        found = (score, mean, greedy[number].right if number in greedy else None, votes.get(number))
        scores.append(ProblemScore(benchmark.name, problem.level, problem.question, problem.answers, *found))
    return scores


def _index(entry: tuple[int, Judgement]) -> int:
    return entry[0]


def _votes(reading: Reading, drawn: Mapping[int, Sequence[Judgement]], grader: Grader) -> dict[int, bool]:
    """Whether the majority of each problem's samples is right: the verdict on the first answer of its class."""
    groups = [[judgement.prediction for judgement in some] for some in drawn.values()]
    votes = {}
    for (number, some), group, classes in zip(drawn.items(), groups, reading.classes(groups, grader), strict=True):
        answer = majority_vote(classes, group).answer
        votes[number] = answer is not None and some[group.index(answer)].right
    return votes


def summary(scores: Sequence[ProblemScore], groups: Mapping[str, str]) -> dict[str, Any]:
    """Accuracies by benchmark and by level of each, and their means over benchmarks, of which each counts alike.

    `groups` says the group of each benchmark. What is of the group transfer has a mean of its own. A figure is None
    where nothing has it. `intervals` are the ends of each figure's, 95 %, over problems.
    """
    benchmarks = _grouped(scores, lambda score: score.benchmark)
    accuracies = {name: _accuracy(some) for name, some in benchmarks.items()}
    transfer = [name for name in accuracies if groups[name] == "transfer"]
    trained = [name for name in accuracies if name not in transfer] or transfer
    # A level's name says nothing outside its benchmark.
    several = len(benchmarks) > 1
    levels = _grouped(scores, lambda score: f"{score.benchmark}: {score.level}" if several else score.level)
    figures = {
        "value": (trained, "score"),
        "transfer": (transfer, "score"),
        "pass1_mean": (trained, "mean"),
        "pass1_greedy": (trained, "greedy"),
        "vote_accuracy": (trained, "vote"),
    }
    intervals = {key: _interval([benchmarks[name] for name in names], m) for key, (names, m) in figures.items()}
    return {
        **{key: _mean([accuracies[name][measure] for name in names]) for key, (names, measure) in figures.items()},
        "intervals": {key: ends for key, ends in intervals.items() if ends is not None},
        "problems": len(scores),
        "by_benchmark": {
            name: {**accuracies[name], "problems": len(some), "group": groups[name]}
            for name, some in benchmarks.items()
        },
        "by_level": {level: _accuracy(some) for level, some in sorted(levels.items())},
    }


def _grouped(scores: Sequence[ProblemScore], key: Callable[[ProblemScore], str]) -> dict[str, list[ProblemScore]]:
    groups: dict[str, list[ProblemScore]] = defaultdict(list)
    for score in scores:
        groups[key(score)].append(score)
    return groups


def _accuracy(scores: Sequence[ProblemScore]) -> dict[str, float | None]:
    return {name: _mean([getattr(score, name) for score in scores]) for name in ("score", "mean", "greedy", "vote")}


def _interval(benchmarks: Sequence[Sequence[ProblemScore]], measure: str) -> list[float] | None:
    """Of the mean over the benchmarks that have the measure."""
    drawn = [[getattr(score, measure) for score in scores] for scores in benchmarks]
    known = [[float(value) for value in values] for values in drawn if None not in values]
    if not known:
        return None
    found = accuracy(known[0]) if len(known) == 1 else mean_of(known)
    return [found.low, found.high]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
