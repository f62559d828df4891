"""Fields with what is checked about their values, and what becomes of them when a run goes on under another one.

`validate.py` reads the former, `config/kinds.py` the latter, and `explain.py` prints both.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from rzero_mega.phase_name import TRAINING_PHASES, PhaseName


class Change(StrEnum):
    """What a run that has begun allows of a key."""

    IDENTITY = "identity"
    """It decides which experiment the run is: another value is refused."""

    PHASE = "phases not yet finished"
    """Phases that are not finished go on under the new value."""

    OPERATIONAL = "operational"
    """It decides how the work is done, and not what comes out, but perhaps for last bits: any value, any time."""


class Fixed(StrEnum):
    """What an unfinished phase has done that holds on to a value of kind PHASE."""

    PARTS = "parts"
    """Parts that are written were drawn with it, and can't be put together with others."""

    CHECKPOINT = "a checkpoint"
    """A checkpoint was made with it, and can't be gone on from without it."""

    STEPS = "steps"
    """A number of steps, which can't get lower than those that are done."""


class PathIf(StrEnum):
    """When a text is a path, and not a name, seen from the folder in which it was typed."""

    ALWAYS = "always"
    FOLDER = "there is such a folder"
    FILE = "there is such a file"
    YAML = "it ends as a YAML file does"


@dataclass(frozen=True)
class Switch:
    """A key, and the value that it has where anybody looks at those that it switches on."""

    key: str
    value: bool | str = True


@dataclass(frozen=True)
class Kind:
    """How a key may change. `phases` are those that look at it: all others are none of its business.

    `named` is for identities that are told by what the key names (a model, a prompt), wherever that lies. `last_bits`
    is for operational keys by which sums of floating-point numbers come out in another order. `switch` is what
    somebody looks at this one by; its key may have one itself.
    """

    change: Change
    phases: tuple[PhaseName, ...] = tuple(PhaseName)
    named: bool = False
    last_bits: bool = False
    fixed: Fixed | None = None
    switch: Switch | None = None


def of(*phases: PhaseName) -> Kind:
    """May change for those of these phases that are not finished."""
    return Kind(Change.PHASE, phases)


IDENTITY = Kind(Change.IDENTITY)
NAMED = Kind(Change.IDENTITY, named=True)
# Accuracy is told against that of other iterations: it has to be measured alike.
EVALUATION = Kind(Change.IDENTITY, (PhaseName.EVALUATE,))
EVALUATION_NAMED = Kind(Change.IDENTITY, (PhaseName.EVALUATE,), named=True)
LABELLING = Kind(Change.IDENTITY, (PhaseName.LABELS,), named=True)
TRAINING = of(*TRAINING_PHASES)
SAMPLING = of(*PhaseName)
GRADING = of(PhaseName.CHALLENGER, PhaseName.LABELS, PhaseName.VERIFIER, PhaseName.SOLVER, PhaseName.EVALUATE)
FREE = Kind(Change.OPERATIONAL)
LAST_BITS = Kind(Change.OPERATIONAL, last_bits=True)


def choice(default: str, *others: str, kind: Kind | None = None, fixed: Fixed | None = None) -> Any:
    """A string field that takes its default or one of `others`."""
    return value(default, kind, fixed, choices=(default, *others))


def number(
    default: float | int | None,
    minimum: float | None = None,
    maximum: float | None = None,
    kind: Kind | None = None,
    fixed: Fixed | None = None,
) -> Any:
    """A numeric field with inclusive bounds."""
    return value(default, kind, fixed, minimum=minimum, maximum=maximum)


def check(label: str) -> Any:
    """A switch of a check, off by default; `label` is what the report calls the flaw."""
    return value(False, label=label)


def value(default: Any, kind: Kind | None = None, fixed: Fixed | None = None, **more: Any) -> Any:
    """Any field. Without a kind it has that of its section."""
    return field(default=default, metadata={"kind": kind, "fixed": fixed, **more})


def path(default: str | None, kind: Kind | None = None, when: PathIf = PathIf.ALWAYS) -> Any:
    """A text field for what may be a path: `~` at its beginning is the home folder."""
    return value(default, kind, path=when)


def stating(
    kind: Kind, fixed: Fixed | None = None, path: PathIf | None = None, switch: Switch | None = None
) -> dict[str, Any]:
    """Metadata of a list, or of a section, whose kind is that of the keys in it that state none.

    `path` says of a list when its texts are paths, `switch` of a section which one is that of its keys, but of its own.
    """
    return {"kind": kind, "fixed": fixed, "path": path, "switch": switch}
