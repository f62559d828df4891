"""A phase that is ended in the middle, in the process of the test."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from rzero_mega.phases.context import ActivePhase
from tests.phases.scripted import ScriptedRun, rows, summary

TIMES = ("seconds", "tokens_per_second")


class Killed(BaseException):
    """What comes instead of the call."""


def in_call(number: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, which does not come back from its call of that number."""
    calls = 0

    def call(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number:
            raise Killed
        return function(*arguments, **options)

    return call


def left(phase: ActivePhase) -> tuple[dict[str, bytes], dict[str, Any], list[dict[str, Any]]]:
    """Of a phase that trains: the model's bytes, what the manifest says, and the rows, both but for times."""
    files = {file.name: file.read_bytes() for file in (phase.directory.path / "model").iterdir()}
    logged = rows(phase, "metrics")
    return files, _without_times(summary(phase)), [_without_times(row) for row in logged]


def _without_times(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if not key.endswith(TIMES)}


def assert_it_goes_on(
    runs: Callable[[str], ScriptedRun],
    train: Callable[[ScriptedRun], ActivePhase],
    left: Callable[[ActivePhase], Any],
    moments: Mapping[str, tuple[Any, str, int]],
) -> Any:
    """Killed at one moment after the other, each time going on, it leaves what it leaves undisturbed: returned.

    A moment is in an attempt's call of that number of what an owner has under a name; they come in the phase's order.
    """
    undisturbed = left(train(runs("undisturbed")))
    for owner, name, number in moments.values():
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
            patch.setattr(owner, name, in_call(number, getattr(owner, name)))
            train(runs("killed"))
    phase = train(runs("killed"))
    manifest = phase.directory.manifest()
    assert manifest is not None and manifest.attempts == len(moments) + 1
    assert left(phase) == undisturbed
    return undisturbed
