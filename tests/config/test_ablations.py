"""An ablation is configuration: its values are there once it is loaded, under what its source says itself."""

from __future__ import annotations

import copy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from rzero_mega.config import Config, ablation_names, config_from_yaml, load_config, to_yaml, with_overrides
from rzero_mega.config.schema import ChecksConfig
from rzero_mega.errors import UserError


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def error_of(presets: list[str], overrides: list[str]) -> str:
    with pytest.raises(UserError) as caught:
        load_config(presets, overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


def differences(one: Config, other: Config) -> dict[str, tuple[Any, Any]]:
    """(value of one, value of the other) by key, where they differ."""

    def flat(node: dict[str, Any], prefix: str = "") -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key, value in node.items():
            values |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        return values

    before, after = flat(asdict(one)), flat(asdict(other))
    return {key: (before[key], after[key]) for key in before if before[key] != after[key]}


def test_the_ablations_of_the_paper_and_that_of_the_checks_are_there() -> None:
    assert ablation_names() == ["no_checks", "no_filter", "no_repetition", "true_labels", "untrained_challenger"]


@pytest.mark.parametrize(
    ("ablation", "values"),
    [
        ("no_filter", {"labels.curation.low": (0.25, 0.0), "labels.curation.high": (0.75, 1.0)}),
        ("no_repetition", {"challenger.reward.repetition.weight": (1.0, 0.0)}),
        ("untrained_challenger", {"challenger.train": (True, False)}),
        ("true_labels", {"labels.label": ("votes", "truth")}),
        ("no_checks", {}),
    ],
)
def test_each_ablation_changes_what_it_is_named_for_and_nothing_else(ablation: str, values: dict[str, Any]) -> None:
    assert differences(load_config(["paper"]), load_config(["paper"], [f"ablation={ablation}"])) == {
        "ablation": ("none", ablation),
        **values,
    }


def test_without_checks_the_hardened_algorithm_is_the_paper_s() -> None:
    hardened = load_config(["paper", "hardened"])
    assert hardened.checks != ChecksConfig()
    without = load_config(["paper", "hardened"], ["ablation=no_checks"])
    assert differences(load_config(["paper"]), without) == {"ablation": ("none", "no_checks")}


@pytest.mark.parametrize(
    "overrides",
    [["ablation=no_filter", "labels.curation.low=0.1"], ["labels.curation.low=0.1", "ablation=no_filter"]],
    ids=["after", "before"],
)
def test_overrides_win_over_the_ablation_that_stands_beside_them(overrides: list[str]) -> None:
    curation = load_config(["paper", "nano"], overrides).labels.curation
    assert (curation.low, curation.high) == (0.1, 1.0)


def test_what_a_file_says_wins_over_the_ablation_that_it_names(tmp_path: Path) -> None:
    mine = written(tmp_path, "labels: {curation: {low: 0.1}}\nablation: no_filter\n")
    curation = load_config(["paper", "nano", mine]).labels.curation
    assert (curation.low, curation.high) == (0.1, 1.0)


def test_an_ablation_wins_over_earlier_sources(tmp_path: Path) -> None:
    mine = written(tmp_path, "labels: {curation: {low: 0.1}}\n")
    assert load_config(["paper", mine], ["ablation=no_filter"]).labels.curation.low == 0.0
    built = load_config(["paper", "nano"])
    before = copy.deepcopy(built)
    assert with_overrides(built, ["ablation=no_filter"]).labels.curation.high == 1.0
    assert built == before


@pytest.mark.parametrize("ablation", ablation_names())
@pytest.mark.parametrize("more", [[], ["labels.curation.low=0.1", "challenger.reward.repetition.weight=0.5"]])
def test_a_saved_configuration_is_read_back_as_it_is(ablation: str, more: list[str], tmp_path: Path) -> None:
    config = load_config(["paper", "hardened"], [f"ablation={ablation}", *more])
    saved = written(tmp_path, to_yaml(config))
    assert config_from_yaml(Path(saved)) == config
    assert load_config(["paper", saved]) == config
    assert load_config([saved], [f"ablation={ablation}"]) == config


def test_an_unknown_ablation_is_one_line_with_the_known_ones(tmp_path: Path) -> None:
    known = "is not one of none, no_checks, no_filter, no_repetition, true_labels, untrained_challenger"
    assert error_of(["paper"], ["ablation=no_votes"]).startswith(f"ablation: 'no_votes' {known}")
    mine = written(tmp_path, "ablation: [no_filter]\n")
    assert error_of([mine], []).startswith("ablation: a list is not a text") and "mine.yaml" in error_of([mine], [])


@pytest.mark.parametrize("other", ["none", "no_repetition"])
def test_an_ablation_does_not_give_way_to_another_since_its_values_would_stay(other: str, tmp_path: Path) -> None:
    mine = written(tmp_path, "ablation: no_filter\n")
    message = error_of([mine], [f"ablation={other}"])
    assert message.startswith("ablation: is no_filter already") and f"ablation={other}" in message
