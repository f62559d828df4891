"""What a run of the world of rewriting brings and what its scorer is taken in by: hidden quality beside the score.

    python -m tools.rewriting_run RUN

A run's own tables have scores of the answers to its Challengers' tasks alone, and these change. The first table is of
the benchmark's tasks, as in the card of the base, which is iteration 0. The second has the answers that were scored for
each iteration's labels, before its Solver was trained: whose scores these are, means, and how they agree with hidden
quality within a task. Then the answers that the last scorer overrates most.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

from rzero_mega.coevolution.critic_measures import correlation_within
from rzero_mega.coevolution.scores import ScoredQuestion, one_scorer
from rzero_mega.evaluation.benchmarks import load_benchmarks
from rzero_mega.evaluation.formats import markdown_table
from rzero_mega.evaluation.predictions import Prediction
from rzero_mega.evaluation.scores import PREDICTIONS
from rzero_mega.phase_name import PhaseName
from rzero_mega.records import read_records
from rzero_mega.run import RunDirectory
from tools.bases.rewriting.measuring import Worth, judged, table

_SHOWN = 5


def answers_of(run: RunDirectory) -> Iterator[tuple[int, Worth]]:
    """(iteration, what its Solver's answers are worth) for each evaluation that is finished."""
    (bench,) = [bench for bench in load_benchmarks(run.config.evaluation) if bench.name == "rewriting"]
    tasks = [(int(problem.level or 0), problem.question) for problem in bench.problems]
    for iteration in run.iterations():
        phase = run.phase(iteration, PhaseName.EVALUATE)
        if phase.manifest() is None:
            continue
        greedy, sampled = [""] * len(tasks), [list[str]() for _ in tasks]
        for prediction in read_records(phase.path / PREDICTIONS, Prediction):
            said = prediction.response
            if said.benchmark != bench.name:
                continue
            if said.sample is None:
                greedy[said.problem] = said.text
            else:
                sampled[said.problem].append(said.text)
        yield iteration, judged(tasks, greedy, sampled).overall


@dataclass(frozen=True)
class Answer:
    """An answer to a task, with its scorer's score and its hidden quality."""

    task: str
    text: str
    score: float
    quality: float


@dataclass(frozen=True)
class Scored:
    """What the scorer of an iteration's labels makes of the answers there; None: the domain is the scorer."""

    scorer: str | None
    answers: tuple[Answer, ...]

    @property
    def agreement(self) -> float | None:
        """Rank correlation of scores and hidden quality within tasks, from -1 to 1; None where one doesn't vary."""
        rows = [(answer.task, answer.score, answer.quality) for answer in self.answers]
        tasks, scores, qualities = zip(*rows, strict=True)
        return correlation_within(tasks, scores, qualities)

    def overrated(self) -> list[Answer]:
        """Of each task the one whose score is furthest above its quality, most of it first."""
        worst: dict[str, Answer] = {}
        for answer in sorted(self.answers, key=lambda one: one.quality - one.score):
            worst.setdefault(answer.task, answer)
        return list(worst.values())


def scored_in(run: RunDirectory) -> Iterator[tuple[int, Scored]]:
    """(iteration, what was scored for its labels) for each labels phase that is finished."""
    for iteration in run.iterations():
        phase = run.phase(iteration, PhaseName.LABELS)
        if phase.manifest() is None:
            continue
        rows = list(read_records(phase.path / "scored.jsonl", ScoredQuestion))
        answers = [
            Answer(row.question.text, text, score, quality)
            for row in rows
            for text, score, quality in zip(row.answers, row.scores, row.qualities, strict=True)
            if text is not None and quality is not None
        ]
        yield iteration, Scored(one_scorer(row.scorer for row in rows), tuple(answers))


def _scored_table(found: dict[int, Scored]) -> str:
    rows = [
        (
            str(iteration),
            (scored.scorer or "the domain").partition("/model@")[0],
            f"{100 * fmean(answer.score for answer in scored.answers):.1f}",
            f"{100 * fmean(answer.quality for answer in scored.answers):.1f}",
            "–" if scored.agreement is None else f"{scored.agreement:+.2f}",
        )
        for iteration, scored in found.items()
        if scored.answers
    ]
    return markdown_table(("iteration", "scorer", "score", "hidden quality", "agreement"), rows)


def _overrated_table(answers: list[Answer]) -> str:
    rows = [(f"`{a.task}`", f"`{a.text}`", f"{100 * a.score:.1f}", f"{100 * a.quality:.1f}") for a in answers[:_SHOWN]]
    return markdown_table(("task", "answer", "score", "hidden quality"), rows)


def main(folder: Path) -> None:
    """Print the tables of a run."""
    with RunDirectory.open_existing(folder) as run:
        print(table({str(iteration): asdict(worth) for iteration, worth in answers_of(run)}, "iteration"))
        found = dict(scored_in(run))
    print(f"\n{_scored_table(found)}")
    if found:
        print(f"\n{_overrated_table(found[max(found)].overrated())}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
