"""Under which values the phases of a run ran, where these are not those that the configuration has now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rzero_mega.config import Config
from rzero_mega.config.kinds import concerns, is_looked_at, kinds, values_of
from rzero_mega.errors import UserError
from rzero_mega.run import PhaseDirectory, RunDirectory


@dataclass(frozen=True)
class KeyHistory:
    """A key, its value now, and what it was in phases that had another one: {"1/labels": "0.25, after 3 steps 0.3"}."""

    key: str
    now: str
    phases: Mapping[str, str]

    def __str__(self) -> str:
        """One line."""
        return f"{self.key}: {self.now} now; " + "; ".join(f"{phase} had {text}" for phase, text in self.phases.items())


def key_histories(run: RunDirectory, config: Config) -> list[KeyHistory]:
    """The keys of which phases that have begun had another value than `config`, or more than one, in their order."""
    now = values_of(config)
    found: dict[str, dict[str, str]] = {}
    for phase in run.phases():
        for key, text in _other_values(phase, now):
            found.setdefault(key, {})[f"{phase.iteration}/{phase.phase}"] = text
    return [KeyHistory(key, _text(now[key]), found[key]) for key in kinds() if key in found]


def _other_values(phase: PhaseDirectory, now: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    try:
        history = phase.values()
    except UserError:
        return  # the run itself and `verify` say what is damaged
    for key, kind in kinds().items():
        looks = (concerns(key, phase.phase) and not kind.named) or kind.last_bits  # what is named may only have moved
        if not looks or key not in now or not is_looked_at(key, now):
            continue
        had = [(entry.done, entry.values[key]) for entry in history if key in entry.values]
        if len(had) > 1 or (had and had[0][1] != now[key]):
            first, *later = had
            unit = "steps" if phase.trains else "parts"
            yield key, ", ".join([_text(first[1]), *(f"after {done} {unit} {_text(value)}" for done, value in later)])


def _text(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
