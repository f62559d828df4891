"""What a run is made of besides its configuration is read once, and is the run's from then on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from rzero_mega.config import Config, load_config
from rzero_mega.errors import UserError
from rzero_mega.evaluation.benchmarks import load_benchmarks
from rzero_mega.evaluation.texts import BENCHMARKS, DOMAIN, parse_benchmarks, run_texts
from rzero_mega.phase_name import PhaseName
from rzero_mega.run import RunDirectory, run_path

ROWS = [
    {"question": "1+1", "answer": "2"},
    {"question": "a \u2028 line\n of two", "answer": "é", "level": "hard"},
    {"question": "2+2", "answer": "4", "level": 3},
]


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., Config]:
    (tmp_path / "solver.yaml").write_text("user: 'Question: {question}'\n")
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    settings = [
        f"run.root={tmp_path / 'runs'}",
        "run.name=r",
        "run.minimum_free_mb=0",
        f"prompts.solver={tmp_path / 'solver.yaml'}",
        f"evaluation.benchmarks=['{tmp_path / 'mine.jsonl'}',arithmetic:1]",
    ]
    return lambda *overrides: load_config(["paper", "nano"], [*settings, *overrides])


def open_run(config: Config, work: PhaseName | None = None) -> None:
    with RunDirectory.create_or_open(run_path(config), config, writer=True, texts=run_texts(config)) as run:
        if work is not None:
            phase = run.phase(1, work)
            phase.begin({})
            phase.finish({}, {})


@pytest.mark.parametrize("names", [[], ["arithmetic:2"], ["mine"], ["mine", "arithmetic:1"]])
def test_benchmarks_read_back_as_they_were(config: Callable[..., Config], tmp_path: Path, names: list[str]) -> None:
    paths = [str(tmp_path / "mine.jsonl") if name == "mine" else name for name in names]
    found = config(f"evaluation.benchmarks={paths}")
    assert parse_benchmarks(run_texts(found)[BENCHMARKS]) == list(load_benchmarks(found.evaluation))


@pytest.mark.parametrize(("file", "key"), [("solver.yaml", "prompts.solver"), ("mine.jsonl", "evaluation.benchmarks")])
def test_a_file_that_was_edited_between_two_calls_is_refused_and_one_that_moved_is_not(
    config: Callable[..., Config], tmp_path: Path, file: str, key: str
) -> None:
    open_run(config(), PhaseName.EVALUATE)
    path = tmp_path / file
    before = path.read_text()
    path.write_text(
        before.replace("uestion", "uestions please", 1) if file == "solver.yaml" else before.replace("2", "3")
    )
    with pytest.raises(UserError, match=rf"{key}: the text has changed: -.* \| \+.*put back the text"):
        open_run(config())
    path.write_text(before)
    (tmp_path / "elsewhere").mkdir()
    path.rename(tmp_path / "elsewhere" / file)
    moved = tmp_path / "elsewhere" / file
    other = f"{key}={moved}" if key == "prompts.solver" else f"{key}=['{moved}',arithmetic:1]"
    open_run(config(other))


def test_a_run_from_before_domains_goes_on_and_another_domain_is_refused(tmp_path: Path) -> None:
    where = [f"run.root={tmp_path}", "run.name=r", "run.minimum_free_mb=0"]
    named = "prompts={challenger: nano_challenger, solver: nano_solver, paraphrase: math_paraphrase}"
    before = load_config(["paper", "nano"], [*where, "domain=mathematics", named])
    texts = {key: text for key, text in run_texts(before).items() if key != DOMAIN}
    with RunDirectory.create_or_open(run_path(before), before, writer=True, texts=texts) as run:
        phase = run.phase(1, PhaseName.LABELS)
        phase.begin({})
        phase.finish({}, {})
    now = load_config(["paper", "nano"], where)
    open_run(now)
    other = load_config(["paper", "nano"], [*where, "domain=mathematics", named])
    with pytest.raises(UserError, match=r"domain: the text has changed: -arithmetic \| \+mathematics"):
        open_run(other)
