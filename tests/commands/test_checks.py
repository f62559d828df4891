"""What can be known to go wrong before anything starts is told at once, by `--dry-run` too, and only where asked."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rzero_mega.recipes import load_recipe
from typer.testing import CliRunner

from rzero_mega.cli import app
from rzero_mega.commands import checks, start
from rzero_mega.commands.run import dry_run, run_phases
from rzero_mega.config import Config
from rzero_mega.config.explain import all_keys
from rzero_mega.errors import UserError
from rzero_mega.phase_name import PhaseName
from rzero_mega.run import RunDirectory, run_path

JUDGE = "evaluation.judge.endpoint"


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RANK", raising=False)


def nano(*overrides: str) -> Config:
    config: Config = load_recipe("nano", overrides)
    return config


@pytest.mark.parametrize(
    ("recipe", "overrides", "message"),
    [
        ("qwen3_8b", "learner.processes=16", "learner.processes: 16 processes do not fit on 1 x 8 GPUs"),
        ("qwen3_8b", "rollout.sglang.replicas=9", "rollout.sglang.replicas: 9 colocated servers of tp 1 do not fit"),
        (
            "qwen3_8b",
            "learner.processes=3 rollout.sglang.replicas=3 learner.layout.tp=3",
            "learner.layout.tp: 3 does not divide the model's 32",
        ),
        ("qwen3_8b", "learner.layout.pp=7 learner.processes=28 placement.nodes=4", "learner.layout.pp: 7 stages"),
        ("qwen3_30b_a3b", "learner.lora.rank=8", "learner.lora.rank: mixtures of experts have no adapters"),
        ("qwen3_14b", "seed=0", "placement.nodes: servers on several nodes need a job"),
        ("qwen3_8b", "rollout.sglang.extra_arguments=[--tp-size=2]", "rollout.sglang.extra_arguments: --tp-size"),
        (
            "nano",
            "prompts.challenger=nano_solver",
            "prompts.challenger: nano_solver: the placeholder {question} has no",
        ),
        (
            "nano",
            "prompts.solver=nano_challenger",
            "prompts.solver: nano_challenger: the placeholder {question} is mis",
        ),
        ("nano", "prompts.solver=missing.yaml", "prompts.solver: missing.yaml"),
        (
            "nano",
            f"{JUDGE}.url=http://h/v1 {JUDGE}.model=m {JUDGE}.key_variable=NO_SUCH_KEY",
            "evaluation.judge.endpoint.key_variable: the environment variable NO_SUCH_KEY is not set",
        ),
        ("nano", "solver.reward.format_pattern=(a", "solver.reward.format_pattern: '(a' at character 1"),
        ("nano", "evaluation.benchmarks=[math500]", "evaluation.benchmarks: math500: no data"),
        ("nano", "evaluation.benchmarks=[a/x.jsonl,b/x.jsonl]", "'a/x.jsonl' and 'b/x.jsonl' are both called x"),
        ("nano", "evaluation.benchmarks=[arithmetic,arithmetic:3]", "are both called arithmetic"),
        ("nano", "run.root=file", "file/nano-seed0: "),
        ("nano", "run.name=strangers", "strangers: is not empty and no run directory"),
        ("nano", "run.minimum_free_mb=4000000000", "run.minimum_free_mb: "),
    ],
)
def test_a_fault_is_told_by_a_dry_run(recipe: str, overrides: str, message: str) -> None:
    for folder in "ab":
        Path(folder).mkdir()
        (Path(folder) / "x.jsonl").write_text('{"question": "1+1", "answer": "2"}\n')
    Path("file").write_text("")
    Path("runs/strangers").mkdir(parents=True)
    Path("runs/strangers/notes").write_text("")
    before = sorted(Path().rglob("*"))
    with pytest.raises(UserError) as caught:
        dry_run(load_recipe(recipe, overrides.split()))
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert sorted(Path().rglob("*")) == before


def test_a_variable_that_contradicts_a_deterministic_learner_is_refused_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NCCL_ALGO", "Tree")
    checks.check_run(nano())
    with pytest.raises(UserError, match=r"^learner\.deterministic: the environment has NCCL_ALGO=Tree"):
        checks.check_run(nano("learner.deterministic=true"))


def test_a_prompt_with_two_forms_has_the_placeholders_of_its_role_in_both(tmp_path: Path) -> None:
    (tmp_path / "prompt.yaml").write_text("user: Solve {question}.\nraw: Solve.\n")
    with pytest.raises(UserError, match=r"prompts\.solver: prompt\.yaml: the placeholder \{question\} is missing"):
        checks.check_inference(nano("prompts.solver=prompt.yaml"))
    with pytest.raises(UserError, match=r"prompts\.paraphrase: prompt\.yaml: the placeholder \{question\} is missing"):
        checks.check_inference(nano("prompts.paraphrase=prompt.yaml"))


def test_a_run_under_another_configuration_or_in_use_is_told_by_a_dry_run() -> None:
    config = nano("seed=1", "run.name=mine")
    with RunDirectory.create_or_open(run_path(config), config, writer=True) as run:
        phase = run.phase(1, PhaseName.QUESTIONS)
        phase.begin({})
        phase.finish({}, {})
        with pytest.raises(UserError, match=rf"in use by process {os.getpid()}"):
            dry_run(config)
        checks.check_start(config, as_job=True)  # more jobs may be submitted while one of them writes
    assert dry_run(config)
    with pytest.raises(UserError, match="seed"):
        dry_run(nano("seed=2", "run.name=mine"))


@pytest.mark.parametrize(
    ("iteration", "name", "message"),
    [
        (1, "chalenger", "chalenger: no such phase; did you mean challenger?"),
        (
            1,
            "train",
            "train: no such phase; there are challenger, questions, labels, verifier, critic, solver, evaluate",
        ),
        (4, "solver", "iteration 4: the run has 1 to 3"),
        (4, None, "iteration 4: the run has 1 to 3"),
        (0, "solver", "iteration 0: has only evaluate"),
        (1, "challenger", r"iteration 1: has no phase challenger by this configuration \(challenger.train\)"),
    ],
)
def test_a_phase_that_the_run_does_not_have_is_named_with_what_was_meant(
    iteration: int, name: str | None, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        run_phases(nano("ablation=untrained_challenger"), iteration, name)


def test_a_run_on_labelled_data_has_no_challenger() -> None:
    with pytest.raises(UserError, match=r"labelled\.method: sft trains the Solver alone; there is no phase labels"):
        run_phases(nano("labelled.method=sft", "labelled.data=arithmetic:5"), 1, "labels")


def test_a_run_without_benchmarks_is_warned_of_with_how_to_add_one(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("rzero_mega").propagate = True
    checks.check_start(load_recipe("qwen3_8b"))
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith("evaluation.benchmarks: empty, the run will show no accuracy; evaluation.")
    caplog.clear()
    checks.check_start(nano())
    assert not caplog.records


def test_a_model_is_scored_on_one_process_whatever_the_recipe_s_layout() -> None:
    done = CliRunner().invoke(app, ["eval", "asset:nano_base", "--recipe", "qwen3_8b"])
    assert "evaluation.benchmarks: empty, there is nothing to score the model on" in str(done.exception)


@pytest.mark.parametrize(
    ("environment", "checked"),
    [
        ({}, True),
        ({"RANK": "0", "RZERO_MEGA_STORE": "x"}, False),  # started by a launcher, which has checked
        ({"RANK": "0", "TORCHELASTIC_RUN_ID": "none"}, True),
        ({"RANK": "1", "TORCHELASTIC_RUN_ID": "none"}, False),
    ],
)
def test_one_process_checks(environment: dict[str, str], checked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if environment:
        environment = {"WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"} | environment
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    done: list[str] = []
    monkeypatch.setattr(start, "check_start", lambda _config: done.append("pure"))
    monkeypatch.setattr("rzero_mega.commands.preflight.preflight", lambda _config: done.append("model"))
    start.start(nano("learner.processes=1"), lambda _stop: done.append("work"))
    assert done == (["pure", "model"] if checked else []) + ["work"]


def test_the_checks_import_nothing_that_takes_seconds() -> None:
    code = (
        "import sys, rzero_mega.commands.run; print(*{'torch', 'transformers', 'megatron', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_the_plan_of_ten_thousand_iterations_takes_a_moment() -> None:
    began = time.process_time()
    text = dry_run(nano("iterations=10000"))
    # Listing all earlier data sets in each iteration took five minutes and seven gigabytes.
    assert len(text) < 4_000_000 and time.process_time() - began < 60
    assert "# 10000/labels: 9999/solver/model, 10000/questions/questions, 1..9999/labels/dataset -> dataset" in text


def test_no_number_past_what_can_be_computed_with_gets_through() -> None:
    numbers = [name for name, key in all_keys().items() if key.field.type in ("int", "int | None")]
    numbers += [name for name, key in all_keys().items() if key.field.type in ("float", "float | None")]
    assert len(numbers) > 100
    for number, name in enumerate(numbers):
        value = (str(2**64), str(10**400), "1e308" if all_keys()[name].field.type.startswith("float") else str(2**63))
        with pytest.raises(UserError) as caught:
            nano(f"{name}={value[number % 3]}")
        assert str(caught.value).startswith(f"{name}: ") and len(str(caught.value)) < 1000, str(caught.value)
