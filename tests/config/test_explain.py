"""The configuration explains itself: a docstring under every field, and `config --explain KEY` that shows it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields, is_dataclass

import pytest
from typer.testing import CliRunner

from rzero_mega.cli import app
from rzero_mega.config import ablation_names, load_config, preset_names, schema
from rzero_mega.config.explain import all_keys, explain, field_docstrings
from rzero_mega.errors import UserError

SECTIONS = [value for value in map(schema.__dict__.get, schema.__all__) if is_dataclass(value)]
WIDTH = 80


def words(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_every_field_has_a_docstring_of_its_own(section: type) -> None:
    found = field_docstrings(section)
    assert list(found) == [spec.name for spec in fields(section)]
    assert len(set(found.values())) == len(found)
    assert all(text.strip().endswith((".", ")", '"')) for text in found.values())


def test_every_section_of_the_configuration_is_looked_at() -> None:
    assert {key.section for key in all_keys().values() if key.section} | {schema.Config} == set(SECTIONS)


@pytest.mark.parametrize("name", all_keys())
def test_a_key_is_explained_in_lines_of_80_columns(name: str) -> None:
    text, key = explain(name), all_keys()[name]
    assert text.startswith(name) and words(key.docstring) in words(text)
    assert max(map(len, text.splitlines())) <= WIDTH


def test_a_value_shows_type_default_range_and_who_sets_it() -> None:
    assert explain("labels.curation.low").splitlines()[:10] == [
        "labels.curation.low",
        "",
        "  type                       float",
        "  default                    0.25",
        "  allowed                    0 to 1",
        "  set by nano                0.4",
        "  set by official_code       0.3",
        "  set by rewriting           0.2",
        "  set by rzero_plus          0.4",
        "  set by smollm2             0.25",
    ]
    assert "  set by ablation no_filter  0.0" in explain("labels.curation.low").splitlines()


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("learner.offload", ["type str", "default none", "allowed none, optimizer, all"]),
        ("learner.guard.maximum_gradient_norm", ["type float or null", "default null", "allowed at least 0"]),
        ("evaluation.benchmarks", ["type list[str]", "set by nano [arithmetic, clock]"]),
        ("solver.training.steps", ["default 15", "set by official_code 20"]),
        ("ablation", ["allowed none, no_checks, no_filter, no_repetition, true_labels,", "untrained_challenger"]),
        ("labels.curation.maximum_per_template", ["set by hardened 16", "set by ablation no_checks null"]),
    ],
)
def test_types_defaults_choices_and_bounds_are_those_of_the_place(name: str, lines: list[str]) -> None:
    shown = [" ".join(line.split()) for line in explain(name).splitlines()]
    assert [line for line in lines if line not in shown] == []


def test_what_a_preset_is_said_to_set_is_what_it_sets() -> None:
    """Loaded alone, a preset or an ablation differs from the defaults in nothing that no line tells of."""
    sources = {name: load_config([name]) for name in preset_names()}
    sources |= {f"ablation {name}": load_config([], [f"ablation={name}"]) for name in ablation_names()}
    for name, key in all_keys().items():
        if key.section is not None or name == "ablation":
            continue
        for source, config in sources.items():
            value: object = config
            for part in name.split("."):
                value = getattr(value, part)
            assert value == key.default or f"set by {source} " in explain(name), (source, name)


def test_a_section_lists_its_fields_with_what_they_are() -> None:
    text = explain("labels.curation")
    assert text.startswith("labels.curation (section)\n")
    assert "\n  low                        Lower end of the band of p, inclusive.\n" in text
    assert "\n  near_duplicates.           Questions that are nearly the same.\n" in text
    assert "Raise it" not in text
    assert explain("labels.curation.") == text


@pytest.mark.parametrize(
    ("name", "suggested"),
    [
        ("labels.curation.lo", "did you mean labels.curation.low?"),
        ("vpp", "did you mean learner.layout.vpp?"),
        ("solver.learning_rate", "did you mean solver.training.optimizer.learning_rate or challenger."),
        ("lr", "did you mean solver.training.optimizer.learning_rate or challenger."),
        ("", "; there are recipe, seed, "),
        ("xyz", "; there are recipe, seed, "),
        ("xyz.seeds.xyz", "; `rzero-mega config paper` prints all keys"),
    ],
)
def test_an_unknown_key_is_one_line_with_a_suggestion(name: str, suggested: str) -> None:
    with pytest.raises(UserError) as caught:
        explain(name)
    message = str(caught.value)
    assert message.startswith(f"{name}: no such key") and suggested in message and "\n" not in message


def test_the_command_explains_prints_and_shows_a_recipe_s_value() -> None:
    invoke = CliRunner().invoke
    assert invoke(app, ["config", "--explain", "seed"]).output.startswith("seed\n")
    assert invoke(app, ["config", "nano"]).output.startswith("recipe: nano\n")
    shown = invoke(app, ["config", "nano", "labels.curation.low=0.3", "--explain", "labels.curation.low"]).output
    assert "  in nano                    0.3\n" in shown


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--explain", "seeds"], "rzero-mega: seeds: no such key; did you mean seed?"),
        ([], "rzero-mega: config: needs a recipe, or --explain KEY"),
    ],
)
def test_what_the_command_cannot_do_is_one_line_and_exit_code_2(arguments: list[str], line: str) -> None:
    done = subprocess.run([sys.executable, "-m", "rzero_mega", "config", *arguments], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr.strip()) == (2, "", line)


@pytest.mark.parametrize("ablation", ablation_names())
def test_a_dry_run_prints_the_values_of_the_ablation_and_the_phases_that_are_left(ablation: str) -> None:
    shown = CliRunner().invoke(app, ["run", "nano", "--ablation", ablation, "--dry-run"]).output
    config, plan = shown.split("# run directory: ")
    assert f"ablation: {ablation}\n" in config and plan.startswith(f"runs/nano-seed0-{ablation}\n")
    assert ("    low: 0.0\n    high: 1.0\n" in config) == (ablation == "no_filter")
    assert ("1/challenger" in plan) == (ablation != "untrained_challenger")
