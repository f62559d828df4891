"""Programs by models: what is read out of responses, and what becomes of it in the real sandbox."""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rzero_mega.domains.arithmetic.expressions import held_out_set
from rzero_mega.errors import UserError
from rzero_mega.evaluation.programs import MAX_PROGRAM_CHARS, Sandbox, check_sandbox, written_program


def fenced(program: str, language: str = "python") -> str:
    return f"So:\n```{language}\n{program}\n```\nDone."


@pytest.mark.parametrize(
    ("response", "program"),
    [
        (fenced("print(1)"), "print(1)"),
        (fenced("print(1)", ""), "print(1)"),
        (fenced("x = 1\n\nprint(x)", "py"), "x = 1\n\nprint(x)"),
        (fenced("print(1)") + fenced("print(2)"), "print(2)"),
        (fenced("print(1)") + fenced("{}", "json"), "print(1)"),
        (fenced("print(1)") + "\n```python\nprint(2)", "print(1)"),
        ("print(1)", None),
        (fenced("1", "json"), None),
        ("```python\nprint(1)", None),
        ("", None),
        (fenced("#" * (MAX_PROGRAM_CHARS + 1)), None),
    ],
)
def test_the_last_whole_block_of_python_is_the_program(response: str, program: str | None) -> None:
    assert written_program(response) == program


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    pytest.importorskip("pydantic_monty")
    with Sandbox(workers=2) as sandbox:
        yield sandbox


def test_expressions_of_the_arithmetic_world_are_programs_for_themselves(sandbox: Sandbox) -> None:
    problems = held_out_set()
    answers = sandbox.answers([f"print({problem.expression})" for problem in problems])
    assert answers == [problem.answer for problem in problems]


@pytest.mark.parametrize(
    ("program", "answer"),
    [
        ("print(1)\nprint(2)\n\n", "2"),
        ("print(sum(i * i for i in range(101)))", "338350"),
        ("import math\nprint(math.comb(50, 3))", "19600"),
        ("x = 7", None),
        ("print(' ')", None),
        ("print(1)\nraise ValueError", None),
        ("print(1", None),
        ("print('x' * 9000)", None),
        ("print('x' * 9000)\nprint(3)", "3"),
        ("import time\ntime.sleep(3600)\nprint(4)", "4"),
        ("\ud800", None),
    ],
)
def test_the_last_line_that_is_printed_is_the_answer(program: str, answer: str | None, sandbox: Sandbox) -> None:
    assert sandbox.answers([program]) == [answer]


def test_without_a_program_there_is_no_answer_and_answers_keep_their_order(sandbox: Sandbox) -> None:
    programs = [None if n % 7 == 0 else f"print({n})" for n in range(60)]
    assert sandbox.answers(programs) == [None if n % 7 == 0 else str(n) for n in range(60)]


HOSTILE = {
    "endless loop": "while True:\n    pass",
    "endless loop that catches": "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
    "growing integer": "x = 3\nwhile True:\n    x = x * x",
    "huge integer": "print((10**10**8) % 7)",
    "tower": "print(9**9**9)",
    "factorial": "import math\nprint(math.factorial(10**7) % 7)",
    "long text": "print('a' * 10**9)",
    "doubled text": "x = 'a'\nwhile True:\n    x += x",
    "wide format": "print(f'{1:>10000000000}')",
    "huge list": "x = [0] * 10**10",
    "growing list": "x = []\nwhile True:\n    x.append('a' * 10**6)",
    "recursion": "def f(n):\n    return f(n + 1)\nf(0)",
    "deep source": "(" * 5000 + "1" + ")" * 5000,
    "endless output": "while True:\n    print('x' * 1000)",
    "file": "print(open('/etc/passwd').read())",
    "path": "from pathlib import Path\nprint(Path('/etc/passwd').read_text())",
    "folder": "import os\nprint(os.listdir('/'))",
    "environment": "import os\nprint(os.environ['PATH'])",
    "process": "import os\nprint(os.system('echo 1'))",
    "subprocess": "import subprocess\nprint(subprocess.run('id'))",
    "socket": "import socket\nprint(socket.create_connection(('127.0.0.1', 1)))",
    "web": "import urllib.request\nprint(urllib.request.urlopen('http://127.0.0.1').read())",
    "import by name": "print(__import__('os').getcwd())",
    "subclasses": "print(().__class__.__bases__[0].__subclasses__())",
    "foreign code": "import ctypes\nprint(ctypes.string_at(0))",
}


@pytest.mark.parametrize("program", HOSTILE.values(), ids=HOSTILE)
def test_what_a_program_must_not_do_has_no_answer_and_harms_nobody(program: str, sandbox: Sandbox) -> None:
    assert sandbox.answers([program, "print(6 * 7)"]) == [None, "42"]


def test_eval_is_the_sandbox_s_own_and_goes_no_farther(sandbox: Sandbox) -> None:
    programs = ["print(eval('1 + 1'))", "print(eval('open(\"/etc/passwd\").read()'))", "exec('print(3)')"]
    assert sandbox.answers(programs) == ["2", None, "3"]


def test_nothing_can_be_written(sandbox: Sandbox, tmp_path: Path) -> None:
    target = tmp_path / "made"
    sandbox.answers([f"open({str(target)!r}, 'w').write('x')", f"import os\nos.mkdir({str(target)!r})"])
    assert not target.exists()


def test_a_program_prints_the_same_whenever_it_is_run(sandbox: Sandbox) -> None:
    program = (
        "import random\nfrom datetime import datetime\nprint(random.random(), datetime.now(), hash('a'), {'b', 'a'})"
    )
    first, *others = sandbox.answers([program] * 12)
    assert first is not None and set(others) == {first}


PIECES = (
    "x", "y", "0", "1", "10**9", "-1", "'a'", "[]", "{}", "()", "(", ")", "[", "]", ":", "\n", "\n    ", " ", "=",
    "==", "+", "*", "**", "//", "%", ",", ".", "for x in range(9)", "while x", "if x", "else", "def f(x)", "return",
    "lambda x", "import os", "from os import *", "open", "eval", "exec", "print", "f(x)", "try", "except", "raise",
    "class A", "del", "__class__", "__globals__", "yield", "await", "async", "with", "match x", "*x", "@", "#", "\\",
    "\x00", "\u202e", "'''",
)  # fmt: skip


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_thousands_of_garbled_programs_leave_the_sandbox_as_it_is(seed: int, sandbox: Sandbox) -> None:
    rng = Random(seed)
    garbled = ["".join(rng.choices(PIECES, k=rng.randint(1, 30))) for _ in range(50)]
    answers = sandbox.answers([*garbled, "print(6 * 7)"])
    assert answers[-1] == "42" and len(answers) == len(garbled) + 1


def test_an_interpreter_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("pydantic_monty"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(
        UserError, match=r"labels\.panel\.programs: takes pydantic-monty, which is not installed"
    ) as caught:
        check_sandbox()
    assert "\n" not in str(caught.value)


def test_an_interpreter_that_is_there_passes(sandbox: Sandbox) -> None:
    check_sandbox()
