"""Text made to do harm: nothing of it runs, nothing hangs, nothing raises."""

from __future__ import annotations

import ast
import contextlib
import time
from pathlib import Path

import pytest

import rzero_mega.grading
from rzero_mega.grading import GradingPool, equivalent, extract_answer, normalise
from rzero_mega.grading.answers.answer import read_answer
from rzero_mega.grading.expressions.tree import Unreadable
from rzero_mega.grading.syntax.parser import parse

SOURCES = sorted(Path(rzero_mega.grading.__file__).parent.rglob("*.py"))
FORBIDDEN_CALLS = {
    "eval", "exec", "compile", "__import__", "sympify", "S", "parse_expr", "parse_latex", "parse_mathematica",
    "lambdify", "loads_pickle", "literal_eval",
}  # fmt: skip
FORBIDDEN_MODULES = {
    "pickle",
    "marshal",
    "shelve",
    "dill",
    "latex2sympy2_extended",
    "math_verify",
    "torch",
    "transformers",
}

MILLION = 1_000_000
HOSTILE = {
    "tower": "9^{9^{9}}",
    "tower of four": "9^{9^{9^{9}}}",
    "plain tower": "9^9^9^9^9",
    "tower in a fraction": r"\frac{1}{9^{9^{9}}}",
    "tower by brackets": "((9^9)^9)^{9^9}",
    "tower of e": "e^{e^{e^{e^{e}}}}",
    "tower of powers of ten": "10^{10^{10}}",
    "tower with a variable": "x^{9^{9^9}}",
    "tower in a root": r"\sqrt[9^{9^9}]{2}",
    "factorial": "99999999!",
    "factorials of factorials": "9!!!!!!",
    "binomial": r"\binom{10^9}{10^8}",
    "huge power of a sum": "(x+y+z+1)^{99999}",
    "huge product of powers": "*".join(["(9^{9999})"] * 60),
    "sine of a tower": r"\sin(10^{10^{5}})",
    "digits": "7" * 100_000,
    "decimal digits": "0." + "7" * 100_000,
    "repeating digits": r"0.\overline{" + "7" * 100_000 + "}",
    "float exponent": "1e999999999",
    "float exponent of digits": "1e" + "9" * 900,
    "brackets": "(" * 400 + "1" + ")" * 400,
    "braces": "{" * 100_000 + "1" + "}" * 100_000,
    "fractions": r"\frac{1}{" * 150 + "1" + "}" * 150,
    "roots": r"\sqrt{" * 150 + "2" + "}" * 150,
    "signs": "-" * 900 + "1",
    "powers": "2^{" * 150 + "1" + "}" * 150,
    "bars": "|" * 900,
    "functions": r"\sin" * 200 + "x",
    "open": r"\frac{1}{",
    "closed": "}}}}" * 100,
    "mixed brackets": "([{" * 100 + "])}" * 100,
    "null bytes": "1\x00" * 500,
    "only null bytes": "\x00" * 5000,
    "surrogate": "\ud800",
    "right to left": "\u202e12\u202c",
    "combining marks": "a" + "\u0301" * 5000,
    "expanding characters": "ﷺ" * 4000,
    "digits of other scripts": "١٢٣ १२३ 𝟙𝟚",
    "million digits": "1" * MILLION,
    "million characters": "\\frac{" * (MILLION // 6),
    "million commas": "1," * (MILLION // 2),
    "sums": "+".join(["x"] * 400),
    "many variables": "+".join(f"x_{{{n}}}" for n in range(120)),
    "set": r"\{" + ",".join(map(str, range(250))) + r"\}",
    "many thousands": "1,000" * 190,
    "dollar signs": "$" * 4000,
    "nested text": r"\text{" * 500 + "}" * 500,
    "boxes": r"\boxed{" * 500 + "1" + "}" * 500,
    "division by zero": r"\frac{1}{0}",
    "zero to the zero": "0^0",
    "logarithm of zero": r"\ln 0",
    "logarithm to base one": r"\log_1 5",
    "infinity minus infinity": r"\infty - \infty",
    "backslashes at the end": "1" + "\\" * 60 + " cm",
    "thousands in text": r"\text{" + "1,000" * 60 + "}",
    "matrix": r"\begin{pmatrix}1&x\\2&x\end{pmatrix}",
    "union": r"(0,1)\cup(2,3)",
    "nothing": "",
    "spaces": " " * 4000,
}
REFUSED = """
tower
tower of four
plain tower
tower in a fraction
tower by brackets
tower of powers of ten
tower with a variable
tower in a root
factorial
factorials of factorials
binomial
digits
huge power of a sum
huge product of powers
brackets
signs
float exponent
float exponent of digits
"""


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_answer_compares_without_harm(name: str) -> None:
    text = HOSTILE[name]
    normalise(text[:5000])
    assert equivalent(text, text)
    for other in ("1", "x", text + "1", "9^{9^{8}}", "(1, 2)", r"\begin{pmatrix}1&2\end{pmatrix}"):
        assert equivalent(text, other) is equivalent(other, text)
    extract_answer(r"\boxed{" + text + "}")


@pytest.mark.parametrize("name", REFUSED.strip().splitlines())
def test_what_would_be_dear_to_compute_is_refused_as_an_expression(name: str) -> None:
    with pytest.raises(Unreadable):
        parse(HOSTILE[name])
    assert read_answer(HOSTILE[name]).tree is None


def test_refusing_a_tower_costs_about_what_reading_a_fraction_costs() -> None:
    """Computing 9^(9^9), a number of 370 million digits, would take minutes."""

    def cost(text: str) -> float:
        best = float("inf")
        for _ in range(20):
            start = time.perf_counter()
            with contextlib.suppress(Unreadable):
                parse(text)
            best = min(best, time.perf_counter() - start)
        return best

    assert cost("9^{9^{9}}") < 20 * cost(r"\frac{123}{456}+1")


def test_a_pool_survives_everything_hostile_at_once() -> None:
    with GradingPool(workers=2, time_limit_s=2.0, memory_limit_mb=256) as pool:
        texts = list(HOSTILE.values())
        verdicts = pool.equivalent_pairs([(text, "1") for text in texts] + [("1/2", "0.5")])
        assert verdicts[-1].equal
        classes = pool.equivalence_classes([[*texts[:20], None]])
        assert len(classes[0]) == 21


PAYLOADS = [
    "__import__('os').system('touch {canary}')",
    "__import__('pathlib').Path('{canary}').touch()",
    r"\text{{__import__('os').system('touch {canary}')}}",
    "open('{canary}','w')",
    "exec(\"open('{canary}','w')\")",
    "(lambda: open('{canary}', 'w'))()",
    "$(touch {canary})",
    "`touch {canary}`",
    "1; touch {canary}",
    r"\input{{|touch {canary}}}",
    r"\write18{{touch {canary}}}",
    "[x for x in ().__class__.__base__.__subclasses__()][0]",
    "{{0.__class__}}",
    "1 if open('{canary}','w') else 2",
    "x=open('{canary}','w')",
    "Symbol('x').__class__.__init__.__globals__['__builtins__']['open']('{canary}','w')",
]


@pytest.mark.parametrize("payload", PAYLOADS)
def test_no_answer_is_ever_run(payload: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    canary = tmp_path / "canary"
    text = payload.format(canary=canary)
    short = payload.format(canary="canary")
    for attack in (text, short, f"1+{short}", rf"\frac{{{short}}}{{2}}", f"x={short}", f"({short}, 1)"):
        assert equivalent(attack, attack)
        assert not equivalent(attack, "1")
        extract_answer(rf"\boxed{{{attack}}}")
    assert list(tmp_path.iterdir()) == []


def test_the_canary_would_be_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above can fail: run as code, the first two payloads do leave the file."""
    monkeypatch.chdir(tmp_path)
    for payload in PAYLOADS[:2]:
        eval(payload.format(canary="canary"))
        assert [path.name for path in tmp_path.iterdir()] == ["canary"]
        (tmp_path / "canary").unlink()


def test_no_answer_is_run_in_a_worker_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    from rzero_mega.grading.workers.processes import DECIDE, WorkerProcesses

    workers = WorkerProcesses(DECIDE, 1, 20.0, 512)
    try:
        workers.run([(payload.format(canary="canary"), "x+1") for payload in PAYLOADS])
    finally:
        workers.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_source_calls_nothing_that_evaluates_text(source: Path) -> None:
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Call):
            function = node.func
            name = function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")
            builtin = isinstance(function, ast.Name) or name != "compile"  # re.compile is harmless
            assert not (name in FORBIDDEN_CALLS and builtin), f"{source.name}:{node.lineno} calls {name}"
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            for module in modules:
                assert module.split(".")[0] not in FORBIDDEN_MODULES, f"{source.name}:{node.lineno} imports {module}"
                assert "parsing" not in module


def test_every_source_file_is_searched() -> None:
    assert {"parser.py", "numeric.py", "worker.py"} <= {path.name for path in SOURCES}
