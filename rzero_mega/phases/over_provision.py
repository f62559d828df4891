"""More questions asked than a step takes: it takes the groups that are whole first, and owes the others to later steps.

What a step takes is the sooner whole, so the shorter its answers. The next step asks what is owed before anything else,
and what steps have passed over PASSES times it waits for: a question with long answers comes later, and is not lost,
but for those that are owed when the phase ends.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rzero_mega import spmd
from rzero_mega.atomic import read_json, write_json
from rzero_mega.errors import UserError
from rzero_mega.rollout.protocol import Request, RolloutEngine, Sample, StoppableEngine

OWED_FILE = "questions_owed.json"
PASSES = 3


@dataclass(frozen=True)
class Asked:
    """A question, number `item` of the data set, and how many steps have asked it and passed over it."""

    item: int
    passes: int = 0


@dataclass(frozen=True)
class Owing:
    """After a step: how many questions of the endless row have been asked, and which of them are owed."""

    asked: int
    owed: tuple[Asked, ...] = ()

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Owing:
        """KeyError, TypeError or ValueError if it is malformed."""
        return cls(int(data["asked"]), tuple(Asked(int(one["item"]), int(one["passes"])) for one in data["owed"]))


class FirstWhole:
    """Which of the groups that are asked a step takes: as many as `count`, those that are `due` among them.

    Is told on the first rank of each that is whole (`Whole`).
    """

    def __init__(self, count: int, due: Sequence[int]) -> None:
        """`due` are the numbers of no more than `count` groups."""
        self._count, self._due = count, tuple(due)
        self._whole: list[int] = []

    def __call__(self, number: int) -> bool:
        """Whether the step needs more than these."""
        self._whole.append(number)
        return len(self._whole) < self._count or not set(self._due) <= set(self._whole)

    def taken(self) -> list[int]:
        """Numbers of the groups that the step takes, in order."""
        return self.of(self._whole)

    def of(self, whole: Sequence[int]) -> list[int]:
        """Those that a step takes if they were whole in this order."""
        return sorted([*self._due, *(number for number in whole if number not in self._due)][: self._count])


@dataclass(frozen=True)
class Drawn:
    """The groups that a step takes, by the questions' numbers in the data set, their samples, and metrics of it all."""

    asked: Sequence[int]
    items: Sequence[int]
    samples: Sequence[Sample]
    metrics: Mapping[str, float]


class OverProvision:
    """The questions that steps ask, and what they owe. Every rank makes the same calls."""

    def __init__(self, take: int, share: float, row: Callable[[int, int], Sequence[int]]) -> None:
        """Steps take `take` questions and ask a `share` more; `row(first, count)` is a part of the endless row."""
        self._take, self._all, self._row = take, take + math.ceil(share * take), row
        # Rollouts are drawn up to a step ahead, and may have to be drawn anew: the last two steps' are kept.
        self._after: dict[int, Owing] = {}

    def draw(self, step: int, engine: RolloutEngine, requests: Callable[[Sequence[int]], Sequence[Request]]) -> Drawn:
        """Draw a step's groups; `requests(items)` has one for each of the questions that are asked."""
        before = self._after.get(step - 1, Owing((step - 1) * self._take))
        fresh = self._row(before.asked, max(0, self._all - len(before.owed)))
        asked = [*before.owed, *map(Asked, fresh)]
        first = FirstWhole(self._take, [number for number, one in enumerate(asked) if one.passes >= PASSES])
        units = [[request] for request in requests([one.item for one in asked])]
        taken, drawn = _draw_first(engine, units, first)
        left = [Asked(one.item, one.passes + 1) for number, one in enumerate(asked) if number not in set(taken)]
        self._after = {step - 1: before, step: Owing(before.asked + len(fresh), tuple(left))}
        samples = [sample for number in taken for sample in drawn[number]]
        tokens = sum(len(sample.tokens) for group in drawn for sample in group)
        kept = sum(len(sample.tokens) for sample in samples)
        metrics = {
            "aborted_token_share": (tokens - kept) / tokens if tokens else 0.0,
            "passed_over_rate": sum(asked[number].passes > 0 for number in taken) / len(taken),
        }
        return Drawn([one.item for one in asked], [asked[number].item for number in taken], samples, metrics)

    def save(self, folder: Path) -> None:
        """Write what is owed into a checkpoint's folder; rank 0 calls it."""
        write_json(folder / OWED_FILE, {str(step): asdict(owing) for step, owing in self._after.items()})

    def load(self, folder: Path) -> None:
        """Go on with what `save` left there; UserError if the file is malformed."""
        self._after = spmd.on_rank_0(_read_if_there, folder / OWED_FILE)


def _draw_first(
    engine: RolloutEngine, units: Sequence[Sequence[Request]], first: FirstWhole
) -> tuple[list[int], list[list[Sample]]]:
    """(numbers of the units that are taken, what was drawn of each unit).

    An engine that can't be stopped draws those alone that are taken: the due ones, and then as they come.
    """
    if isinstance(engine, StoppableEngine):
        drawn = engine.generate_until(units, first)
        return spmd.on_rank_0(first.taken), drawn
    taken = first.of(range(len(units)))
    samples = iter(engine.generate([request for number in taken for request in units[number]]))
    by_unit: list[list[Sample]] = [[] for _ in units]
    for number in taken:
        by_unit[number] = [next(samples) for request in units[number] for _ in range(request.n)]
    return taken, by_unit


def _read_if_there(path: Path) -> dict[int, Owing]:
    if not path.is_file():
        return {}
    found = read_json(path)
    try:
        return {int(step): Owing.from_json(owing) for step, owing in found.items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path}: malformed ({error!r}); remove {path.parent} to go on without it") from None
