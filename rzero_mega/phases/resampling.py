"""Dynamic sampling (DAPO, arXiv 2503.14476): groups of rollouts that teach nothing make way for others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from rzero_mega.coevolution.advantages import has_signal
from rzero_mega.coevolution.solver_reward import SolverReward
from rzero_mega.rollout.protocol import Sample


@dataclass(frozen=True)
class Group:
    """The rollouts of one question, which is number `item` of the data set, and their rewards."""

    item: int
    samples: Sequence[Sample]
    rewards: Sequence[SolverReward]

    @property
    def has_signal(self) -> bool:
        """Whether the rewards differ."""
        return has_signal([reward.total for reward in self.rewards])


def resample(
    groups: Sequence[Group], further: Iterable[int], rounds: int, draw: Callable[[int, list[int]], list[Group]]
) -> list[Group]:
    """The groups, those without signal replaced in order by the first with one that further questions give.

    `draw(number, items)` draws the groups of round `number`, counted from 1: as many as are missing. Ends when none
    are, after `rounds` of them, or when `further` has no more; groups that are then without signal stay.
    """
    found, items = list(groups), iter(further)
    for number in range(1, rounds + 1):
        places = [place for place, group in enumerate(found) if not group.has_signal]
        asked = list(islice(items, len(places)))
        if not asked:
            break
        better = (group for group in draw(number, asked) if group.has_signal)
        # As many as were asked, so that there is a place for each.
        for place, group in zip(places, better, strict=False):
            found[place] = group
    return found
