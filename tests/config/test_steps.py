"""What a phase's loop goes through and what is counted of it are one thing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rzero_mega.config import load_config
from rzero_mega.config.steps import labels_parts, parts, phase_steps
from rzero_mega.phase_name import PhaseName


@given(st.integers(0, 500), st.integers(1, 60))
def test_parts_hold_every_item_once_and_only_the_last_is_smaller(items: int, per_part: int) -> None:
    found = parts(items, per_part)
    assert [item for part in found for item in part] == list(range(items))
    assert all(len(part) == per_part for part in found[:-1])
    assert all(part for part in found)


@given(st.integers(0, 300), st.integers(0, 300), st.integers(1, 60))
def test_no_part_holds_new_and_replayed_questions(new: int, replayed: int, per_part: int) -> None:
    found = labels_parts(new, replayed, per_part)
    assert [item for part in found for item in part] == list(range(new + replayed))
    assert all(part and (part.stop <= new or part.start >= new) for part in found)
    assert found[: len(parts(new, per_part))] == parts(new, per_part)


def test_replayed_questions_are_parts_more_for_every_source() -> None:
    config = load_config(["paper", "nano"], ["labels.panel.base=5"])
    assert [phase_steps(config, PhaseName.LABELS, 700, replayed) for replayed in (0, 1, 350, 351)] == [4, 6, 6, 8]


@pytest.mark.parametrize(
    ("phase", "questions", "steps"),
    [
        ("challenger", None, 5),
        ("questions", None, 2),
        ("labels", None, None),
        ("labels", 0, 0),
        ("labels", 350, 1),
        ("labels", 1399, 4),
        ("solver", 1399, 20),
        ("evaluate", 1399, 100),
    ],
)
def test_steps_of_nano_s_phases(phase: str, questions: int | None, steps: int | None) -> None:
    assert phase_steps(load_config(["paper", "nano"]), PhaseName(phase), questions) == steps
