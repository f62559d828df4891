"""From scores of problems to figures of benchmarks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rzero_mega.config.schema import EvaluationConfig
from rzero_mega.config.schema.run import ProtocolConfig
from rzero_mega.domains.benchmark import Protocol
from rzero_mega.domains.mathematics.domain import MATHEMATICS
from rzero_mega.domains.problem import Problem
from rzero_mega.evaluation.asking import asking
from rzero_mega.evaluation.benchmarks import Benchmark
from rzero_mega.evaluation.predictions import Response
from rzero_mega.evaluation.problem_score import ProblemScore
from rzero_mega.evaluation.scores import judge, problem_scores, summary
from rzero_mega.grading.workers.pool import GradingPool


@pytest.fixture(scope="module")
def grader() -> Iterator[GradingPool]:
    with GradingPool(1, time_limit_s=5.0, memory_limit_mb=1024) as pool:
        yield pool


def score(benchmark: str, level: str, mean: float) -> ProblemScore:
    return ProblemScore(benchmark, level, "?", ("!",), mean, mean, mean > 0.5, mean > 0.5)


def test_benchmarks_and_their_levels_are_kept_apart() -> None:
    scores = [score("large", "1", 1.0)] * 9 + [score("small", "1", 0.0)]
    found = summary(scores, {"large": "mathematics", "small": "general"})
    # Each benchmark counts alike, whatever its number of problems; of both together nine in ten are right.
    figures = ("value", "pass1_mean", "pass1_greedy", "vote_accuracy")
    assert [found[figure] for figure in figures] == [0.5] * 4
    assert found["by_benchmark"] == {
        "large": {"score": 1.0, "mean": 1.0, "greedy": 1.0, "vote": 1.0, "problems": 9, "group": "mathematics"},
        "small": {"score": 0.0, "mean": 0.0, "greedy": 0.0, "vote": 0.0, "problems": 1, "group": "general"},
    }
    assert {level: values["mean"] for level, values in found["by_level"].items()} == {"large: 1": 1.0, "small: 1": 0.0}


def test_transfer_stays_out_of_the_mean() -> None:
    scores = [score("trained", "1", 1.0), score("other", "1", 0.25)]
    found = summary(scores, {"trained": "mathematics", "other": "transfer"})
    assert (found["value"], found["pass1_mean"], found["transfer"]) == (1.0, 1.0, 0.25)


def test_a_figure_has_the_interval_of_its_benchmarks() -> None:
    scores = [score("a", "1", 1.0), score("a", "1", 0.0), score("b", "1", 1.0), score("other", "1", 0.25)]
    found = summary(scores, {"a": "mathematics", "b": "general", "other": "transfer"})["intervals"]
    assert found["value"] == [0.5, 1.0] and found["transfer"] == [0.25, 0.25]


def test_what_no_benchmark_draws_has_no_figure() -> None:
    greedy = ProblemScore("a", "all", "?", ("!",), 1.0, None, True, None)
    found = summary([greedy], {"a": "general"})
    assert (found["value"], found["pass1_mean"], found["pass1_greedy"], found["vote_accuracy"]) == (
        1.0,
        None,
        1.0,
        None,
    )
    assert found["intervals"].keys() == {"value", "pass1_greedy"}


def test_a_benchmark_is_asked_by_its_protocol_and_one_without_as_the_run_says() -> None:
    config = EvaluationConfig(samples=3)
    problems = (Problem("?", ("1",)),)
    plain = asking(Benchmark("a", problems), config)
    assert (plain.greedy, plain.samples, plain.greedy_sampling.temperature) == (True, 3, 0.0)
    greedy = asking(Benchmark("a", problems, protocol=Protocol()), config)
    assert (greedy.greedy, greedy.samples, greedy.sampling.max_new_tokens) == (True, 0, 4096)
    several = Benchmark("a", problems, protocol=Protocol(32, 0.6, 0.95))
    mean = asking(several, config)
    assert (mean.greedy, mean.samples, mean.sampling.temperature, mean.sampling.top_p) == (False, 32, 0.6, 0.95)
    config.protocol = ProtocolConfig(samples=4, max_new_tokens=7)
    assert (asking(several, config).samples, asking(several, config).sampling.max_new_tokens) == (4, 7)


@pytest.mark.parametrize(
    ("reading", "options", "answers", "texts", "expected"),
    [
        # Samples 0 to 3 and the greedy answer; the first two are right.
        ("mathematics", (), ("1/2", "0.5 m"), (r"\boxed{0.5}", r"\boxed{\frac12}", r"\boxed{2}", ""), (0.5, True)),
        ("choices", ("x", "y"), ("B",), ("The answer is (B).", "B", "The answer is A.", "Hm."), (0.5, True)),
        ("text", (), ("yes, no",), ("The answer is yes,no", "The answer is Yes, No.", "No", "no"), (0.5, True)),
        (
            "text",
            (),
            ("7",),
            ("The answer is 8", "The answer is 8", "The answer is 7", r"\boxed{7}"),
            (0.5, False),
        ),
    ],
)
def test_samples_and_their_majority_are_judged_by_the_reading(
    reading: str,
    options: tuple[str, ...],
    answers: tuple[str, ...],
    texts: tuple[str, ...],
    expected: tuple[float, bool],
    grader: GradingPool,
) -> None:
    benchmark = Benchmark("a", (Problem("?", answers, options=options),), reading)
    # In the order in which they came.
    responses = [Response("a", 0, i, text, 1, "stop") for i, text in reversed(list(enumerate(texts)))]
    responses += [Response("a", 0, None, texts[0], 1, "stop")]
    (found,) = problem_scores(
        benchmark, responses, judge(benchmark, responses, MATHEMATICS, grader), MATHEMATICS, grader
    )
    assert (found.mean, found.vote) == expected and found.score == found.mean
    assert found.greedy is (texts[0] != "The answer is 8")


def test_a_response_that_was_cut_off_answers_nothing(grader: GradingPool) -> None:
    benchmark = Benchmark("a", (Problem("?", ("1",)),))
    (judgement,) = judge(benchmark, [Response("a", 0, None, r"\boxed{1}", 1, "length")], MATHEMATICS, grader)
    assert (judgement.prediction, judgement.right) == (None, False)
