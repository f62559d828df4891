"""What a run may go on under: the kind of every key, and the keys in which two configurations differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cache
from typing import Any

from rzero_mega.config.schema import Config
from rzero_mega.config.schema.metadata import Change, Fixed, Kind, Switch
from rzero_mega.phase_name import PhaseName


@dataclass(frozen=True)
class KeyChange:
    """A key whose value is another one now."""

    key: str
    before: Any
    after: Any

    @property
    def kind(self) -> Kind:
        """What a run allows of the key."""
        return kinds()[self.key]

    def __str__(self) -> str:
        """For instance "seed: 0 → 1"."""
        return f"{self.key}: {self.before} → {self.after}"


@cache
def kinds() -> Mapping[str, Kind]:
    """The kind of every key that has a value, by its dotted name."""
    return dict(_kinds(Config(), "", None, None, None))


def values_of(config: Config) -> dict[str, Any]:
    """Every key's value, by its dotted name."""
    return dict(_values(config, ""))


def changes_between(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[KeyChange]:
    """The keys of both whose values differ, in the order of the schema; none at which nobody looks in either."""
    known = [key for key in kinds() if key in before and key in after]
    known = [key for key in known if is_looked_at(key, before) or is_looked_at(key, after)]
    return [KeyChange(key, before[key], after[key]) for key in known if before[key] != after[key]]


def is_looked_at(key: str, values: Mapping[str, Any]) -> bool:
    """Whether anything looks at the key in a configuration of these values."""
    switch = kinds()[key].switch
    if switch is None:
        return True
    return values.get(switch.key) == switch.value and is_looked_at(switch.key, values)


def concerns(key: str, phase: PhaseName) -> bool:
    """Whether what the phase does follows from the key; an operational one decides nothing but how."""
    kind = kinds().get(key)
    return kind is not None and kind.change is not Change.OPERATIONAL and phase in kind.phases


def in_words(kind: Kind) -> str:
    """What becomes of a run when the key changes, in half a line."""
    if kind.change is Change.OPERATIONAL:
        return "may change; last bits may differ" if kind.last_bits else "may change"
    names = ", ".join(kind.phases) if len(kind.phases) < len(PhaseName) else ""
    if kind.change is Change.PHASE:
        until = {Fixed.PARTS: ", before their first part", Fixed.CHECKPOINT: ", before their first checkpoint"}
        begun = until.get(kind.fixed, "") if kind.fixed else ""
        return f"may change for phases that are not finished{f' ({names})' if names else ''}{begun}"
    what = "content stays the same, wherever it lies" if kind.named else "stays the same"
    return f"{what}{f', once {names} has begun' if names else ''}"


def _kinds(
    node: Any, prefix: str, above: Kind | None, fixed: Fixed | None, switch: Switch | None
) -> Iterator[tuple[str, Kind]]:
    for spec in fields(node):
        key, value = prefix + spec.name, getattr(node, spec.name)
        kind = spec.metadata.get("kind") or above
        own, turned_on = spec.metadata.get("fixed") or fixed, spec.metadata.get("switch") or switch
        if is_dataclass(value):
            yield from _kinds(value, f"{key}.", kind, own, turned_on)
        elif kind is None:
            raise TypeError(f"{key}: neither it nor a section that it is in says of which kind it is")
        else:
            yield key, replace(kind, fixed=own, switch=kind.switch or (None if _is_of(turned_on, key) else turned_on))


def _is_of(switch: Switch | None, key: str) -> bool:
    return switch is not None and switch.key == key


def _values(node: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for spec in fields(node):
        key, value = prefix + spec.name, getattr(node, spec.name)
        if is_dataclass(value):
            yield from _values(value, f"{key}.")
        else:
            yield key, value
