"""Evaluations that are kept in a folder, one for each model: written, read again, judged again, shown side by side.

    benchmarks.jsonl    the problems, as `evaluation/texts.py` has them
    predictions.jsonl   every response, what it was taken for, and whether that is right
    scores.jsonl        every problem's score
    evaluation.json     written last: the figures

No torch: whoever has the folder can judge again, on any machine.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from rzero_mega import atomic
from rzero_mega.config.schema import Config
from rzero_mega.domains.domain import Domain
from rzero_mega.domains.registry import domain_of
from rzero_mega.errors import UserError
from rzero_mega.evaluation.benchmarks import Benchmark
from rzero_mega.evaluation.judge import second_look_of
from rzero_mega.evaluation.judge_report import SecondLook, grader_of
from rzero_mega.evaluation.predictions import Prediction
from rzero_mega.evaluation.problem_score import ProblemScore
from rzero_mega.evaluation.results import ModelScores
from rzero_mega.evaluation.scores import PREDICTIONS, SCORES, Evaluation, evaluation_of
from rzero_mega.evaluation.table import Contender
from rzero_mega.evaluation.texts import BENCHMARKS, benchmarks_text, parse_benchmarks
from rzero_mega.grading.grader import Grader
from rzero_mega.records import read_records
from rzero_mega.run import RunDirectory
from rzero_mega.run.journal import FILE as JOURNAL
from rzero_mega.run.sealed import read_sealed, write_sealed
from rzero_mega.terminal import say
from rzero_mega.text_file import MOST_BYTES_OF_ROWS, read_text
from rzero_mega.tracking.results import groups_of, results_of, show_results

PROBLEMS = Path("benchmarks.jsonl")
FINISHED = Path("evaluation.json")
LookAt: TypeAlias = Callable[[Path], SecondLook | None]


def write_finished(
    folder: Path, mark: str, config: Config, benchmarks: Sequence[Benchmark], evaluation: Evaluation
) -> None:
    """Keep a finished evaluation. `mark` says of what it is."""
    atomic.write_text(folder / PROBLEMS, benchmarks_text(benchmarks))
    evaluation.write(folder)
    _write_figures(folder, {"of": mark, "model": config.model.path, "seed": config.seed}, evaluation)
    with atomic.storage_errors(folder):
        (folder / JOURNAL).unlink(missing_ok=True)


def kept(folder: Path, mark: str) -> Evaluation | None:
    """The finished evaluation in the folder; None where there is none. UserError if it is of something else."""
    if not (folder / FINISHED).is_file():
        return None
    if _figures(folder).get("of") != mark:
        raise UserError(
            f"{folder}: holds an evaluation of another model, of other benchmarks, or asked otherwise; "
            "remove it, or choose another --output"
        )
    return _read(folder)


@dataclass(frozen=True)
class Regraded:
    """A folder whose predictions were judged again, and how many verdicts of how many are other ones now."""

    folder: Path
    evaluation: Evaluation
    changed: int

    def __str__(self) -> str:
        """One line."""
        before = len(self.evaluation.predictions)
        return f"{self.folder}: {before} predictions judged again, {self.changed} verdicts changed"


def regrade(folder: Path, config: Config, look: LookAt = lambda _: None) -> list[Regraded]:
    """Judge what is kept in the folder, or in those in it, again; of a run's evaluate phase nothing is written.

    `look` has the judge's for a folder; what that says is kept there, and not asked again.
    UserError if nothing is kept there.
    """
    within = sorted(path.parent for path in folder.glob(f"*/{PREDICTIONS}"))
    folders = [folder] if (folder / PREDICTIONS).is_file() else within
    if not folders:
        raise UserError(f"--regrade {folder}: holds no {PREDICTIONS}; name a folder of --output, or a phase's in a run")
    domain = domain_of(config)
    with domain.open_grader(config.grading) as grader:
        return [_regrade(path, domain, grader, look(path)) for path in folders]


def regrade_and_say(folder: Path, config: Config) -> None:
    """As `regrade`, by the configuration's rules and judge, and printed."""
    found = regrade(folder, config, partial(second_look_of, config))
    say_evaluations({entry.folder.name: entry.evaluation for entry in found})
    for entry in found:
        say(str(entry), error=True)


def say_evaluations(found: Mapping[str, Evaluation]) -> None:
    """One model's figures as JSON; the table of several."""
    if len(found) == 1:
        (evaluation,) = found.values()
        say(json.dumps(evaluation.summary, indent=2))
        return
    groups: dict[str, str] = {}
    columns = []
    for name, evaluation in found.items():
        groups |= groups_of(evaluation.summary)
        model = ModelScores.of(evaluation.scores)
        columns.append(Contender(name, {0: model}, graded=grader_of(evaluation.summary)))
    show_results(results_of(columns, groups))


def _regrade(folder: Path, domain: Domain, grader: Grader, look: SecondLook | None) -> Regraded:
    predictions = read_records(folder / PREDICTIONS, Prediction)
    in_run = not (folder / FINISHED).is_file()
    benchmarks = _of_run(folder) if in_run else parse_benchmarks(read_text(folder / PROBLEMS, MOST_BYTES_OF_ROWS))
    _check(folder, predictions, benchmarks)
    evaluation = evaluation_of(benchmarks, [prediction.response for prediction in predictions], domain, grader, look)
    before = {prediction.response: prediction.judgement.right for prediction in predictions}
    changed = sum(before[found.response] != found.judgement.right for found in evaluation.predictions)
    if not in_run:
        facts = _figures(folder)
        evaluation.write(folder)
        _write_figures(folder, facts, evaluation)
    return Regraded(folder, evaluation, changed)


def _check(folder: Path, predictions: Sequence[Prediction], benchmarks: Sequence[Benchmark]) -> None:
    """UserError unless every problem has been answered, and nothing else has."""
    wanted = {(benchmark.name, number) for benchmark in benchmarks for number in range(len(benchmark.problems))}
    answered = {(prediction.response.benchmark, prediction.response.problem) for prediction in predictions}
    if wanted != answered:
        name, number = min(wanted ^ answered)
        what = "is not answered" if (name, number) in wanted else "is none of the problems that lie beside it"
        raise UserError(f"{folder / PREDICTIONS}: problem {number} of {name} {what}; evaluate again")


def _of_run(folder: Path) -> list[Benchmark]:
    """The benchmarks of the run of whose evaluate phase this is the folder."""
    run = folder.resolve().parents[2]
    if folder.resolve().parent.parent.name != "iterations" or not (run / "run.json").is_file():
        raise UserError(f"{folder}: has no {FINISHED}, and is no phase of a run; evaluate again")
    text = RunDirectory.open_existing(run).text(BENCHMARKS)
    if text is None:
        raise UserError(f"{run}: has kept no benchmarks; evaluate again")
    return parse_benchmarks(text)


def _read(folder: Path) -> Evaluation:
    facts = _figures(folder)
    predictions = read_records(folder / PREDICTIONS, Prediction)
    return Evaluation(predictions, read_records(folder / SCORES, ProblemScore), facts["summary"])


def _figures(folder: Path) -> dict[str, Any]:
    facts = read_sealed(folder / FINISHED, f"remove {folder} to evaluate again")
    if not isinstance(facts.get("summary"), dict):
        raise UserError(f"{folder / FINISHED}: malformed; remove {folder} to evaluate again")
    return facts


def _write_figures(folder: Path, facts: Mapping[str, Any], evaluation: Evaluation) -> None:
    write_sealed(folder / FINISHED, {**facts, "summary": evaluation.summary})
