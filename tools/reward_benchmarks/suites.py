"""What graders say of others' pairs and of mutated golds, before and after: `python -m tools.reward_benchmarks.suites`.

The table by suite is of pairs that nobody here wrote (`shared_data`). Each that ours judges otherwise than its suite
has a reason here. A false equality, two different answers taken for one, is what turns into a wrong label: their number
is what matters most. Another checkout of this repository can be measured in the same run (`--before FOLDER`).
"""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from rzero_mega.grading.workers.processes import Outcome, WorkerProcesses
from tools.reward_benchmarks import shared_data
from tools.reward_benchmarks.mutations import mutations
from tools.reward_benchmarks.shared_data import ROOT, SuitePair
from tools.reward_benchmarks.vote_load import vote_load

JUDGE_LIMIT_S, JUDGE_MEMORY_MB = 20.0, 4096
QUESTIONS = 2048
AFTER, BEFORE = "rzero_mega", "rzero_mega before"

DISPUTED = {
    "994eb4ad3595": "lists have no order here",
    "b49b9be08336": "lists have no order here",
    "faa902606c46": "a unit may be left off here",
}
"""Digest of a gold and an answer that ours takes for equal and their suite doesn't -> why."""

_BY_TAG = {
    "prose": "no box, so no answer",
    "several boxes": "the last box is the answer",
    "double-escaped": "backslashes are doubled: that is no LaTeX",
    "suite wrong": "the suite is wrong",
    "convention": "reasonable people differ",
    "Qwen grader wrong": "the suite is wrong",
}
_RULES: tuple[tuple[str, str], ...] = (
    (r"\\(?:gcd|lcm|operatorname\{(?:gcd|lcm)\})", "gcd and lcm are computed of integers only"),
    (r"\\mod", "mod is a residue class here, not an operation"),
    (
        r"\\variable|\\exponentialE|\\char|corner|\\[lr]?[vV]ertx|\\lbr\w+x|\\lgroupx|\\lv?ertx|\\zzz",
        "no LaTeX that TeX knows",
    ),
    (r"(?<!\\)\b(?:lambda|alpha|bar)(?:_|\{)", "a command without its backslash is letters"),
    (r"\\(?:int|sum|prod|lim)(?![a-zA-Z])", "sums, integrals and limits are compared as text"),
    (r"\\log(?!_)", "the base of a logarithm that has none is not guessed"),
    (r"(?:floor|ceil).*2y-y-y", "floors of expressions with variables are variables of their own"),
    (
        r"\\\{(?:1\+2|\\theta)|\\lbrace(?:1\+2|\\theta)|\\sin\\m?(?:left)?\\(?:\{|lbr)",
        "braces of a set are no brackets",
    ),
    (r"(?<!\\)\bI\b|\dI\b|bI|Ib", "the imaginary unit is i"),
    (r"\\subseteq|\\supseteq|\\neg", "statements are not evaluated"),
    (r"boxed", "the content of one box is the answer"),
    (r"x2|x 2", "a number behind a letter is no factor"),
    (r"\|\|x\|", "bars side by side are not told apart"),
    (r"f\{\\left", "braces around the argument of a function"),
    (r"binom\{16", "a binomial of expressions is not computed"),
    (r"= 7 =|3\+3 = 2|1/3 ?\\approx ?1|approx 3\.01", "a false chain of equations"),
    (r"any text|square\b", "a word that is no unit"),
    (r"20:34|6:30", "times are compared as text"),
    (r"f\(x\) = 2x \+ 3", "a function and its graph have names of their own"),
    (r"begin\{matrix\} \\frac12|\[2, 3, 5\]", "brackets are part of an answer"),
    (r"tan \^\{2\}", "a constant of integration is a variable like any other"),
    (r"or\(|orW|\)or", "words run together"),
    (
        r";3,4|q=2 ?;|q = 2 \\quad|p=7|MBCN|\{b = 2|\{a = 1|AB=4|p = \\frac",
        "which name has which value is not left out",
    ),
    (r"3,3,2,3", "the items differ"),
    (r"1000,99|1,22|0,111", "a comma separates items or thousands"),
    (r"rejecting", "a remark in brackets is not read"),
    (r"C - 12", "that is a difference, too"),
    (r"x\^2<9", "inequalities are solved if linear"),
    (r"3 1\\frac", "two numbers side by side"),
    (r"17\}\}? \| |\\pm 3, \\pm 2", "signs of their own in a tuple"),
    (r"!!", "n!! is a double factorial"),
    (r"\| \{1\+2|\| \$?\(0,1\) \\cap \{|\{\{1\}", "braces without backslashes group, and show no brackets"),
    (r"1;2,2", "lists in a list"),
    (r"cap \\left\(\\left", "sets are compared as they are written"),
    (r"\\\\(?:in|frac)", "backslashes are doubled: that is no LaTeX"),
    (r"2\^\{1000\}|\(-1\)\^", "rounding, or too large to compute"),
    (r"\d\.\d{2,}", "rounding is not equality"),
)


def digest(pair: SuitePair) -> str:
    """Return what `DISPUTED` names a pair by, as the pairs themselves are not ours to hold."""
    return sha256(f"{pair.gold}\0{pair.answer}".encode()).hexdigest()[:12]


def reason_of(pair: SuitePair) -> str | None:
    """Return why ours judges a pair otherwise than its suite; None if nobody has said so."""
    if not pair.equal:
        return DISPUTED.get(digest(pair))
    for tag, reason in _BY_TAG.items():
        if tag in pair.tags:
            return reason
    if {pair.gold.strip("()").lower(), pair.answer.strip("()").lower()} & set("abcde") and len(pair.answer) < 4:
        return "a small letter is a variable"
    if pair.answer.endswith(f",{pair.gold}") or pair.answer.startswith(f"{pair.gold},"):
        return "the last box is the answer"
    text = f"{pair.gold} | {pair.answer}"
    return next((reason for pattern, reason in _RULES if re.search(pattern, text)), None)


def judged(grader: str, pairs: Sequence[tuple[str, str]], root: Path = ROOT) -> list[bool]:
    """Return whether a grader takes each pair for equal; one that hangs or fails on a pair doesn't."""
    if root != ROOT:
        return _in_checkout(root, _JUDGE, pairs)
    workers = WorkerProcesses(
        f"tools.reward_benchmarks.judges:{grader.replace('-', '_')}", 1, JUDGE_LIMIT_S, JUDGE_MEMORY_MB
    )
    try:
        return [outcome is Outcome.EQUAL for outcome in workers.run(pairs)]
    finally:
        workers.close()


_JUDGE = """
import json, sys
from rzero_mega.grading import equivalent
print(json.dumps([equivalent(a, b, 10.0) for a, b in json.load(sys.stdin)]))
"""
_GROUP = """
import json, sys, time
from psutil import Process
from rzero_mega.grading import GradingPool

def processor():
    times = [process.cpu_times() for process in (Process(), *Process().children())]
    return sum(time.user + time.system for time in times)

load = json.load(sys.stdin)
with GradingPool(1, 10.0, 1024) as pool:
    pool.start()
    began = time.perf_counter(), processor()
    pool.equivalence_classes(load)
    print(json.dumps([time.perf_counter() - began[0], processor() - began[1]]))
"""


def _in_checkout(root: Path, program: str, data: object) -> list[bool]:
    """Run a program in another checkout, or a folder with the package, on data as JSON."""
    command = [sys.executable, "-P", "-c", f"import sys; sys.path.insert(0, {str(root)!r})\n{program}"]
    done = subprocess.run(command, input=json.dumps(data), cwd=root, capture_output=True, text=True, check=True)
    found: list[bool] = json.loads(done.stdout)
    return found


def seconds(root: Path, questions: int = QUESTIONS) -> tuple[float, float]:
    """Return the seconds, by the clock and of processors, that grouping a load of votes takes a checkout."""
    clock, processor = _in_checkout(root, _GROUP, vote_load(questions))
    return float(clock), float(processor)


def lines(root: Path) -> int:
    """Return how many lines the sources of the room have."""
    return sum(
        len(file.read_text(encoding="utf-8").splitlines()) for file in (root / "rzero_mega/grading").rglob("*.py")
    )


def report(before: Path | None, count: int, repeats: int) -> Iterator[str]:
    """Yield the tables as Markdown."""
    data = shared_data.folder()
    if data is None:
        raise SystemExit("RZERO_MEGA_DATA names no folder with grading/pairs.jsonl")
    graders = {AFTER: ROOT, **({BEFORE: before} if before else {}), "math-verify": ROOT, "mathruler": ROOT}
    pairs = shared_data.suite_pairs(data)
    verdicts = {
        name: judged(name, [(pair.gold, pair.answer) for pair in pairs], root) for name, root in graders.items()
    }
    yield from _by_suite(pairs, verdicts)
    yield from _reasons(pairs, verdicts[AFTER])
    changed = [(change.gold.text, change.text) for change in mutations(shared_data.golds(data), count)]
    yield f"\n{count} golds with one token changed, taken for the gold itself"
    yield _row("", *map(_title, graders))
    yield _row("---", *["---"] * len(graders))
    yield _row("false equalities", *(sum(judged(name, changed, root)) for name, root in graders.items()))
    yield ""
    yield from _sizes({name: root for name, root in graders.items() if name in (AFTER, BEFORE) and root}, repeats)


def _by_suite(pairs: Sequence[SuitePair], verdicts: dict[str, list[bool]]) -> Iterator[str]:
    yield f"{len(pairs)} pairs by suite: judged as the suite does, of them false equalities"
    yield _row("suite", "pairs", *map(_title, verdicts))
    yield _row("---", "---", *["---"] * len(verdicts))
    suites = sorted({pair.suite for pair in pairs})
    for suite in [*suites, "all"]:
        rows = [row for row, pair in enumerate(pairs) if suite in (pair.suite, "all")]
        cells = []
        for equal in verdicts.values():
            right = sum(equal[row] is pairs[row].equal for row in rows)
            false = sum(equal[row] and not pairs[row].equal for row in rows)
            cells.append(f"{right} ({false} false)" if false else str(right))
        yield _row(suite, len(rows), *cells)


def _reasons(pairs: Sequence[SuitePair], equal: Sequence[bool]) -> Iterator[str]:
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for pair, verdict in zip(pairs, equal, strict=True):
        if verdict is not pair.equal:
            found[reason_of(pair) or "no reason yet"][pair.suite] += 1
    yield "\nOurs judges otherwise than the suite"
    yield _row("why", "pairs", "suites")
    yield _row("---", "---", "---")
    for reason, suites in sorted(found.items(), key=lambda item: -item[1].total()):
        yield _row(reason, suites.total(), ", ".join(f"{suite} {number}" for suite, number in suites.most_common()))


def _sizes(roots: dict[str, Path], repeats: int) -> Iterator[str]:
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in roots}
    for _ in range(repeats):
        for name, root in roots.items():
            times[name].append(seconds(root))
    yield f"Grouping {QUESTIONS} questions of ten votes, one worker; medians of {repeats}, taken in turns"
    yield _row("", "lines of grading/", "seconds", "processor seconds")
    yield _row("---", "---", "---", "---")
    for name, root in roots.items():
        clock, processor = (statistics.median(found) for found in zip(*times[name], strict=True))
        yield _row(name, lines(root), f"{clock:.2f}", f"{processor:.2f}")


def _title(grader: str) -> str:
    return grader if grader.startswith(AFTER) else f"{grader} {version(grader)}"


def _row(*cells: object) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def main(
    before: Annotated[Path | None, typer.Option(help="Another checkout, measured in the same run.")] = None,
    mutated: Annotated[int, typer.Option(help="Golds to change a token of.", min=1)] = 10_000,
    repeats: Annotated[int, typer.Option(help="Measurements of the throughput.", min=1)] = 5,
) -> None:
    """Print the tables."""
    began = time.monotonic()
    for line in report(before, mutated, repeats):
        print(line, flush=True)
    print(f"suites: {time.monotonic() - began:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    typer.run(main)
