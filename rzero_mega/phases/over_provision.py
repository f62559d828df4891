"""More questions asked than a step takes: it takes the groups that are whole first, and owes the others to later steps.

What a step takes is the sooner whole, so the shorter its answers. The next step asks what is owed before anything else,
and what steps have passed over PASSES times it waits for: a question with long answers comes later, and is not lost,
but for those that are owed when the phase ends.

With `solver.partial_rollouts` nothing is thrown away: what is owed goes on under the next weights, each sample with its
tokens, their log-probabilities and the versions that drew them, and is waited for after as many steps.
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
from rzero_mega.phases.sample_json import plain, read_sample
from rzero_mega.rollout.partial import continued, left_to_draw, usable
from rzero_mega.rollout.protocol import Request, RolloutEngine, Sample, StoppableEngine

OWED_FILE = "questions_owed.json"
PASSES = 3


@dataclass(frozen=True)
class Asked:
    """A question, number `item` of the data set, and how many steps have asked it and passed over it.

    `samples` are kept of it, whole or stopped.
    """

    item: int
    passes: int = 0
    samples: tuple[Sample, ...] = ()

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Asked:
        """KeyError, TypeError, ValueError, AttributeError or OverflowError if it is malformed."""
        return cls(int(data["item"]), int(data["passes"]), tuple(map(read_sample, data["samples"])))


@dataclass(frozen=True)
class Owing:
    """After a step: how many questions of the endless row have been asked, and which of them are owed."""

    asked: int
    owed: tuple[Asked, ...] = ()

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Owing:
        """As of `Asked`."""
        return cls(int(data["asked"]), tuple(map(Asked.from_json, data["owed"])))


class FirstWhole:
    """Which of the groups that are asked a step takes: as many as `count`, those that are `due` among them.

    Is told on the first rank of each that is whole (`Whole`).
    """

    def __init__(self, count: int, due: Sequence[int], whole: Sequence[int] = ()) -> None:
        """`due` are the numbers of no more than `count` groups; `whole` are so already."""
        self._count, self._due = count, tuple(due)
        self._whole = list(whole)

    def __call__(self, number: int) -> bool:
        """Whether the step needs more than these."""
        self._whole.append(number)
        return self.more()

    def more(self) -> bool:
        """Whether the step needs more than those that are whole."""
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


@dataclass(frozen=True)
class Group:
    """The samples that are wanted of a question, and those that an earlier step has begun."""

    request: Request
    begun: tuple[Sample, ...]


class OverProvision:
    """The questions that steps ask, and what they owe. Every rank makes the same calls."""

    def __init__(self, take: int, share: float, row: Callable[[int, int], Sequence[int]], partial: int = 0) -> None:
        """Steps take `take` questions and ask a `share` more; `row(first, count)` is a part of the endless row.

        What is stopped goes on in up to `partial` further steps; at 0 it is thrown away.
        """
        self._take, self._all, self._row = take, take + math.ceil(share * take), row
        self._partial = partial
        # Rollouts are drawn up to a step ahead, and may have to be drawn anew: the last two steps' are kept.
        self._after: dict[int, Owing] = {}

    def draw(self, step: int, engine: RolloutEngine, requests: Callable[[Sequence[int]], Sequence[Request]]) -> Drawn:
        """Draw a step's groups; `requests(items)` has one for each of the questions that are asked."""
        before = self._after.get(step - 1, Owing((step - 1) * self._take))
        fresh = self._row(before.asked, max(0, self._all - len(before.owed)))
        asked = [*before.owed, *map(Asked, fresh)]
        due = [number for number, one in enumerate(asked) if one.passes >= (self._partial or PASSES)]
        groups = [
            Group(request, usable(one.samples, request, engine.context))
            for one, request in zip(asked, requests([one.item for one in asked]), strict=True)
        ]
        taken, drawn = _draw_first(engine, groups, self._take, due)
        left = [number for number in range(len(asked)) if number not in set(taken)]
        owed = [
            Asked(asked[number].item, asked[number].passes + 1, tuple(drawn[number]) if self._partial else ())
            for number in left
        ]
        self._after = {step - 1: before, step: Owing(before.asked + len(fresh), tuple(owed))}
        samples = [sample for number in taken for sample in drawn[number]]
        aborted = 0 if self._partial else sum(len(sample.tokens) for number in left for sample in drawn[number])
        kept = sum(len(sample.tokens) for sample in samples)
        metrics = {
            "aborted_token_share": aborted / max(1, aborted + kept),
            "passed_over_rate": sum(asked[number].passes > 0 for number in taken) / len(taken),
        }
        if self._partial:
            metrics["stale_token_share"] = sum(sample.tokens_before(step - 1) for sample in samples) / max(1, kept)
        return Drawn([one.item for one in asked], [asked[number].item for number in taken], samples, metrics)

    def save(self, folder: Path) -> None:
        """Write what is owed into a checkpoint's folder; rank 0 calls it."""
        write_json(
            folder / OWED_FILE, {str(step): asdict(owing, dict_factory=plain) for step, owing in self._after.items()}
        )

    def load(self, folder: Path) -> None:
        """Go on with what `save` left there; UserError if the file is malformed."""
        self._after = spmd.on_rank_0(_read_if_there, folder / OWED_FILE)


def _draw_first(
    engine: RolloutEngine, groups: Sequence[Group], count: int, due: Sequence[int]
) -> tuple[list[int], list[list[Sample]]]:
    """(numbers of the groups that are taken, the samples that there are of each group).

    An engine that can't be stopped draws those alone that are taken, from their beginning: the due ones, and then as
    they come.
    """
    if not isinstance(engine, StoppableEngine):
        taken = FirstWhole(count, due).of(range(len(groups)))
        samples = iter(engine.generate([groups[number].request for number in taken]))
        found: list[list[Sample]] = [[] for _ in groups]
        for number in taken:
            found[number] = [next(samples) for _ in range(groups[number].request.n)]
        return taken, found
    units = [left_to_draw(group.request, group.begun) for group in groups]
    at_work = [number for number, unit in enumerate(units) if unit]
    first = FirstWhole(count, due, [number for number, unit in enumerate(units) if not unit])
    drawn: dict[int, list[Sample]] = {}
    if first.more():
        by_unit = engine.generate_until([units[number] for number in at_work], lambda place: first(at_work[place]))
        drawn = dict(zip(at_work, by_unit, strict=True))
    all_there = [continued(group.request, group.begun, drawn.get(number, ())) for number, group in enumerate(groups)]
    return spmd.on_rank_0(first.taken), all_there


def _read_if_there(path: Path) -> dict[int, Owing]:
    if not path.is_file():
        return {}
    found = read_json(path)
    try:
        return {int(step): Owing.from_json(owing) for step, owing in found.items()}
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise UserError(f"{path}: malformed ({error!r}); remove {path.parent} to go on without it") from None
