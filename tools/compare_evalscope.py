"""Our greedy accuracy beside evalscope's, on the same model and the same problems, with every difference explained.

    python -m tools.compare_evalscope data RUN FOLDER            # problems, as evalscope takes them
    rzero-mega serve RUN --port 30000
    EVALSCOPE_PYTHON tools/run_evalscope.py FOLDER http://127.0.0.1:30000/v1 NAME OUTPUT [MAX_TOKENS]
    python -m tools.compare_evalscope table RUN OUTPUT

The message is the bare question, which the endpoint puts into the prompt that was trained on: both ask alike. What is
left are the responses, since two engines decode, and what is made of them. So evalscope's responses are also read and
graded by our rules: where that differs from evalscope's verdict on the same words, reading or grading is the cause.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rzero_mega.atomic import read_jsonl, write_jsonl
from rzero_mega.errors import UserError
from rzero_mega.evaluation.problem_score import ProblemScore
from rzero_mega.evaluation.statistics import accuracy, difference
from rzero_mega.grading import GradingPool, extract_answer
from rzero_mega.phase_name import PhaseName
from rzero_mega.records import read_records
from rzero_mega.run import RunDirectory
from rzero_mega.terminal import in_one_line, say

LONGEST = 90


@dataclass(frozen=True)
class Scored:
    """A problem of the run's evaluation, and the verdict on the Solver's greedy answer."""

    question: str
    gold: str
    right: bool


@dataclass(frozen=True)
class Theirs:
    """What evalscope has of a problem: the response, whether it was cut off, what was read out of it, the verdict."""

    response: str
    cut_off: bool
    read: str
    right: bool


@dataclass(frozen=True)
class Item:
    """A problem on both sides; `ours_on_theirs` is our verdict on evalscope's response."""

    scored: Scored
    theirs: Theirs
    ours_on_theirs: bool

    @property
    def why(self) -> str:
        """In what the two sides differ; "" where verdicts agree all the way."""
        if self.theirs.right != self.ours_on_theirs:
            if self.theirs.cut_off:
                return "read in a response that was cut off, which has no answer by our rules"
            if extract_answer(self.theirs.response) is None:
                return "read outside a box, where our rules see no answer"
            return "the same answer, graded otherwise"
        return "" if self.scored.right == self.ours_on_theirs else "another response: two engines decode"


def scored_problems(run: RunDirectory, iteration: int, most: int | None = None) -> list[Scored]:
    """The problems of an evaluation and their greedy verdicts. UserError without such verdicts."""
    phase = run.phase(iteration, PhaseName.EVALUATE)
    artefact = phase.artefact("scores")
    rows = read_records(phase.path / artefact.path, ProblemScore, sha256=artefact.sha256)[:most]
    found = [Scored(row.question, row.answers[0], row.greedy) for row in rows if row.greedy is not None]
    if len(found) < len(rows) or any(len(row.answers) != 1 for row in rows):
        raise UserError(f"{phase.path / artefact.path}: not every problem has a greedy verdict and one right answer")
    return found


def write_data(problems: Sequence[Scored], folder: Path) -> None:
    """The file that evalscope's gsm8k benchmark reads."""
    folder.mkdir(parents=True, exist_ok=True)
    write_jsonl(folder / "test.jsonl", ({"question": p.question, "answer": f"#### {p.gold}"} for p in problems))


def their_answers(output: Path) -> dict[int, Theirs]:
    """By number of the problem; UserError where evalscope's folder of results lacks something."""
    responses = {row["index"]: row["model_output"]["choices"][0] for row in _rows(output, "predictions")}
    found = {}
    for row in _rows(output, "reviews"):
        score, choice = row["sample_score"]["score"], responses[row["index"]]
        cut_off = choice["stop_reason"] in ("max_tokens", "length", "model_length")
        read = str(score.get("extracted_prediction") or "")
        right = score["value"][score["main_score_name"]] == 1
        found[int(row["index"])] = Theirs(choice["message"]["content"], cut_off, read, right)
    return found


def _rows(output: Path, kind: str) -> Iterator[dict[str, Any]]:
    files = sorted((output / kind).glob("*/gsm8k_*.jsonl"))
    if len(files) != 1:
        raise UserError(f"{output / kind}: holds {len(files)} results of gsm8k, and one is compared")
    return read_jsonl(files[0])


def compare(problems: Sequence[Scored], theirs: dict[int, Theirs], grader: GradingPool) -> list[Item]:
    """Both sides of every problem. UserError if evalscope did not score the same ones."""
    if sorted(theirs) != list(range(len(problems))):
        raise UserError(f"evalscope scored {len(theirs)} problems, the run has {len(problems)}")
    answers = [None if theirs[i].cut_off else extract_answer(theirs[i].response) for i in range(len(problems))]
    pairs = [(answer, problem.gold) for answer, problem in zip(answers, problems, strict=True) if answer is not None]
    verdicts = iter(grader.equivalent_pairs(pairs))
    return [
        Item(problem, theirs[i], answer is not None and next(verdicts).equal)
        for i, (problem, answer) in enumerate(zip(problems, answers, strict=True))
    ]


def report(items: Sequence[Item]) -> str:
    """The two numbers, what they differ in, and every problem on which they do."""
    ours, theirs = [float(item.scored.right) for item in items], [float(item.theirs.right) for item in items]
    delta = difference(theirs, ours)
    lines = [
        f"| | accuracy on {len(items)} problems, 95 % interval |",
        "|---|---|",
        *(f"| {name} | {_interval(values)} |" for name, values in (("ours, greedy", ours), ("evalscope", theirs))),
        f"| evalscope's responses by our rules | {_interval([float(item.ours_on_theirs) for item in items])} |",
        "",
        f"Difference: {100 * delta.value:+.1f} points [{100 * delta.low:+.1f}, {100 * delta.high:+.1f}].",
        "",
        "| problems | ours | evalscope | why |",
        "|---|---|---|---|",
    ]
    counts = Counter((item.scored.right, item.theirs.right, item.why) for item in items)
    for (own, other, why), count in sorted(counts.items(), key=lambda entry: -entry[1]):
        lines.append(f"| {count} | {_word(own)} | {_word(other)} | {why or 'agree'} |")
    lines += ["", "| # | question | gold | evalscope read | end of its response | why |", "|---|---|---|---|---|---|"]
    for number, item in enumerate(items):
        if item.why:
            cells = [
                item.scored.question,
                item.scored.gold,
                item.theirs.read,
                item.theirs.response[-LONGEST:],
                item.why,
            ]
            lines.append(f"| {number} | " + " | ".join(map(_cell, cells)) + " |")
    return "\n".join(lines)


def _interval(values: Sequence[float]) -> str:
    found = accuracy(values)
    return f"{100 * found.value:.1f} [{100 * found.low:.1f}, {100 * found.high:.1f}]"


def _word(right: bool) -> str:
    return "right" if right else "wrong"


def _cell(text: str) -> str:
    line = in_one_line(text).replace("|", "\\|")
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"


def main() -> None:
    """Write the data, or print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=("data", "table"))
    parser.add_argument("run", type=Path)
    parser.add_argument("folder", type=Path, help="of the data, or of evalscope's results")
    parser.add_argument("--iteration", type=int, default=1)
    parser.add_argument("--most", type=int, default=None, help="only so many problems, the first ones")
    given = parser.parse_args()
    problems = scored_problems(RunDirectory.open_existing(given.run), given.iteration, given.most)
    if given.action == "data":
        write_data(problems, given.folder)
        return
    with GradingPool(1, 2.0, 1024) as grader:
        say(report(compare(problems, their_answers(given.folder), grader)))


if __name__ == "__main__":
    main()
