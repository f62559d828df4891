"""A phase that is ended in the middle, in the process of the test."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from rzero_mega.phases.context import ActivePhase
from tests.phases.scripted import ScriptedRun

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


def assert_it_goes_on(
    runs: Callable[[str], ScriptedRun],
    train: Callable[[ScriptedRun], ActivePhase],
    left: Callable[[ActivePhase], Any],
    moments: Mapping[str, tuple[Any, str, int]],
) -> Any:
    """Whenever `train` is killed, once more of it leaves what it leaves undisturbed, which is returned.

    A moment is in the call of that number of what an owner has under a name.
    """
    undisturbed = left(train(runs("undisturbed")))
    for moment, (owner, name, number) in moments.items():
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
            patch.setattr(owner, name, in_call(number, getattr(owner, name)))
            train(runs(moment))
        phase = train(runs(moment))
        assert phase.directory.manifest().attempts == 2, moment  # type: ignore[union-attr]
        assert left(phase) == undisturbed, moment
    return undisturbed
