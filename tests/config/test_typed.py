"""The schema says what a text means: in overrides, in files, and on the way back."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pytest

from rzero_mega.config import Config, config_from_values, config_from_yaml, load_config, to_yaml
from rzero_mega.config.load import load_file
from rzero_mega.config.schema.metadata import path
from rzero_mega.config.typed import merged, override_node
from rzero_mega.errors import UserError
from rzero_mega.yaml_text import parse_yaml
from tests.test_yaml_text import GUESSED

# As typed at a shell, and what YAML or a shell would make something else of.
TYPED = [
    *GUESSED,
    "???",
    "${seed}",
    "${oc.env:HOME}",
    "/data/exp #3/m",
    "a: b",
    "[a]",
    "{a: 1}",
    "'q'",
    '"q"',
    " a ",
    "a=b",
    "- a",
    "&a",
    "*a",
    "!a",
    "%a",
    "@a",
    "`a`",
]
# Texts as a file may hold them: nothing of them may be lost between a configuration and its YAML.
HELD = [
    *(text for text in TYPED if "${" not in text),
    "",
    "\n",
    "a\nb\n",
    "\x1b[31m",
    "\x85",
    "a\u2028b",
    "\u202e",
    "\ufeff",
    "日本",
    "a\x00b",
    "\udce9",
    "\t",
    "null",
    "🙂",
]


@dataclass
class Sample:
    text: str = "x"
    optional: str | None = None
    whole: int = 0
    real: float = 0.0
    truth: bool = False
    maybe: int | None = 3
    many: list[str] = field(default_factory=list)
    named: dict[str, str] = field(default_factory=dict)
    place: str = path("here")


def sample_of(override: str) -> Sample:
    return merged(Sample(), override_node(Sample, override), repr(override))


def error_of(override: str) -> str:
    with pytest.raises(UserError) as caught:
        sample_of(override)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("text", TYPED)
def test_a_text_field_takes_an_override_as_it_is_typed(text: str) -> None:
    assert sample_of(f"text={text}").text == text
    if text != "null":
        assert sample_of(f"optional={text}").optional == text


@pytest.mark.parametrize("text", [text for text in GUESSED if text != "null"])
def test_a_text_field_takes_a_files_text_as_it_is_typed(text: str, tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(f"text: {text}\noptional: {text}\nmany: [{text}]\nnamed: {{A: {text}}}\n")
    assert load_file(Sample, file) == Sample(text=text, optional=text, many=[text], named={"A": text})


@pytest.mark.parametrize(
    ("override", "name", "value"),
    [
        ("whole=010", "whole", 10),
        ("whole=-3", "whole", -3),
        ("whole=1_000", "whole", 1000),
        ("real=1e-6", "real", 1e-6),
        ("real=3", "real", 3.0),
        ("real=.5", "real", 0.5),
        ("real=5.", "real", 5.0),
        ("real=+1.5E3", "real", 1500.0),
        ("truth=on", "truth", True),
        ("truth=False", "truth", False),
        ("truth=0", "truth", False),
        ("maybe=null", "maybe", None),
        ("maybe=~", "maybe", None),
        ("optional=null", "optional", None),
        ("optional=", "optional", None),
        ("text=null", "text", "null"),
        ("many=[007, on, a b, '#', \"x, y\", 12:30, null]", "many", ["007", "on", "a b", "#", "x, y", "12:30", "null"]),
        ("many=[]", "many", []),
        ("named={A: off, B: 010, C: '${HOME}'}", "named", {"A": "off", "B": "010", "C": "${HOME}"}),
    ],
)
def test_the_type_of_the_field_decides(override: str, name: str, value: object) -> None:
    assert getattr(sample_of(override), name) == value


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        *(
            (f"whole={text}", "is not a whole number")
            for text in ("12:30", "0x1F", "1e3", "1.0", "on", "٣", "1__0", "_1", "--1")
        ),
        ("whole=" + "9" * 5000, "is not a whole number"),
        *((f"real={text}", "is not a number") for text in ("12:30", "1e", "e5", ".", "1_", "0x1p3", "on", "1,5", "½")),
        *((f"truth={text}", "is not true or false") for text in ("2", "perhaps", "t", "null")),
        ("whole=null", "is not a whole number"),
        ("whole=", "whole: has no value"),
        ("text=", "text: has no value"),
        ("many=a", "many: 'a' is not a list (in 'many=a'); write for instance many=[a]"),
        ("many=[a] # b", "something follows the closing bracket"),
        ("many=[/a #3/b]", "quote a text that holds"),
        ("many=[[a]]", "many[0]: a list is not a text"),
        ("many=[a: b]", "many[0]: a mapping is not a text"),
        ("named=[a]", "named: is not a mapping"),
        ("named={A: [b]}", "named.A: a list is not a text"),
        ("text.x=1", "text: a mapping is not a text"),
        ("place=~nobody_of_that_name/x", "no such home folder"),
        ("place=a\nb", "control character"),
    ],
)
def test_a_text_that_is_no_value_of_the_field_is_refused(override: str, complaint: str) -> None:
    assert complaint in error_of(override)


def test_a_file_that_leaves_a_text_empty_is_refused() -> None:
    with pytest.raises(UserError, match="text: has no value"):
        merged(Sample(), parse_yaml("text:\nwhole: 1\n", "x"))
    assert merged(Sample(), parse_yaml("text: ''\noptional:\n", "x")) == Sample(text="", optional=None)


def test_a_path_may_begin_with_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    config = load_config(
        ["paper"], ["run.root=~/runs", "evaluation.benchmarks=[~/a.jsonl, ~]", "prompts.solver=~/p.yaml"]
    )
    assert config.run.root == "/home/me/runs"
    assert config.evaluation.benchmarks == ["/home/me/a.jsonl", "/home/me"]
    assert config.prompts.solver == "/home/me/p.yaml"
    assert load_config(["paper"], ["tracking.project=~/x"]).tracking.project == "~/x"


@pytest.mark.parametrize("text", HELD)
def test_no_text_is_lost_between_a_configuration_and_its_yaml(text: str, tmp_path: Path) -> None:
    config = Config()
    config.tracking.project = config.solver.reward.format_pattern = text
    config.labels.curation.drop_answers = [text, text]
    file = tmp_path / "config.yaml"
    file.write_text(to_yaml(config), encoding="utf-8")
    assert config_from_yaml(file) == config
    assert to_yaml(config).replace("\n", "").isprintable()


@pytest.mark.parametrize(
    "text",
    [
        "${oc.env:SECRET}",
        "${oc.decode:${oc.env:SECRET}}",
        "${seed}",
        "a/${oc.env:SECRET,default}/b",
        "${SECRET}",
        "${..name}",
    ],
)
def test_nothing_is_filled_in_and_no_variable_reaches_a_configuration(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "s3cr3t")
    file = tmp_path / "mine.yaml"
    file.write_text(f"tracking: {{entity: '{text}'}}\n")
    for presets, overrides in ((["paper"], [f"tracking.entity={text}"]), (["paper", str(file)], [])):
        with pytest.raises(UserError, match=r"^tracking\.entity: .* is not filled in; write the value") as caught:
            load_config(presets, overrides)
        assert "s3cr3t" not in str(caught.value)
    # Formulae hold the same signs: in a list of texts they are what was typed.
    kept = load_config(["paper"], [f"labels.curation.drop_answers=['{text}']"])
    assert kept.labels.curation.drop_answers == [text] and "s3cr3t" not in to_yaml(kept)


def test_a_key_twice_in_a_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("seed: 1\nsolver: {training: {steps: 3, steps: 4}}\n")
    with pytest.raises(UserError, match=r"mine\.yaml: line 2: the key 'steps' appears a second time"):
        load_config(["paper", str(file)])


def test_nested_values_make_the_configuration_that_they_came_from() -> None:
    config = load_config(["nano"], ["labels.curation.drop_answers=[null, '007', ~]", "learner.guard.maximum_skips=7"])
    assert config_from_values(json.loads(json.dumps(asdict(config))), "run.json") == config
    with pytest.raises(UserError, match=r"^seed: 'true' is not a whole number \(in run\.json\)"):
        config_from_values({"seed": True}, "run.json")
