"""Draws that wait for servers, and how many of them a server gets. Pure."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

from rzero_mega.rollout.protocol import Draw

# Draws that a server finds waiting when a slot becomes free, as a share of its slots: enough for the time that an
# answer and the next draws are on their way, and few, since they wait also while another server has nothing left.
# Where an eighth is less than eight they are as many as the slots, but no more than eight: calls are of half of them
# or more, and one of a single draw costs client and server several times as much per draw.
AHEAD = 1 / 8
AT_LEAST_AHEAD = 8
# Most draws of one call. A server goes over all of a call whenever one of them is drawn, and a call costs its client
# about as much as parsing the answers to two draws.
DRAWS_PER_CALL = 32


class DrawQueue:
    """Draws in the order in which servers get them: those that may become longest first, otherwise as given.

    The draws of a prompt stay together: a server that has begun one goes on with it, and its prefix cache knows it.
    Nobody goes without for that: once no prompt is left to begin, servers take of each other's.
    """

    def __init__(self, draws: Sequence[Draw], longest: Callable[[Draw], int]) -> None:
        """`longest` says how many tokens a draw can become."""
        self._longest = longest
        self._fresh = deque(sorted(self._groups(draws), key=lambda group: -longest(group[0])))
        self._begun: dict[int, deque[Draw]] = {}
        self._length = len(draws)
        self._dropped: set[int] = set()

    def __len__(self) -> int:
        """Draws that wait."""
        return self._length

    def take(self, server: int, count: int) -> list[Draw]:
        """So many draws for the server of that number, or as many as there are."""
        taken: list[Draw] = []
        while len(taken) < count and self._length:
            group = self._begun.get(server) or self._begin(server) or max(self._begun.values(), key=len)
            part = [group.popleft() for _ in range(min(count - len(taken), len(group)))]
            part = [draw for draw in part if draw.position not in self._dropped]
            self._length -= len(part)
            taken += part
        return taken

    def drop(self, draws: Sequence[Draw]) -> None:
        """Draws that wait, and that nobody needs any more."""
        self._dropped.update(draw.position for draw in draws)
        self._length -= len(draws)

    def add(self, draws: Sequence[Draw]) -> None:
        """More draws, behind those that wait and may become as long."""
        for group in self._groups(draws):
            place = len(self._fresh)
            while place and self._longest(self._fresh[place - 1][0]) < self._longest(group[0]):
                place -= 1
            self._fresh.insert(place, group)
        self._length += len(draws)

    def put_back(self, draws: Sequence[Draw]) -> None:
        """Draws that were taken and not drawn: the next ones, since they have waited longest."""
        if draws:
            self._fresh.appendleft(deque(draws))
            self._length += len(draws)

    def all(self) -> list[Draw]:
        """What waits, as it was given."""
        groups = [*self._fresh, *self._begun.values()]
        waiting = (draw for group in groups for draw in group if draw.position not in self._dropped)
        return sorted(waiting, key=lambda draw: draw.position)

    def _groups(self, draws: Sequence[Draw]) -> list[deque[Draw]]:
        """Draws in a row of one prompt that may become as long."""
        alike = groupby(draws, lambda draw: (draw.request.prompt_tokens, self._longest(draw)))
        return [deque(group) for _, group in alike]

    def _begin(self, server: int) -> deque[Draw] | None:
        if not self._fresh:
            return None
        self._begun[server] = self._fresh.popleft()
        return self._begun[server]


@dataclass(frozen=True)
class Supply:
    """How many draws servers of so many slots get at a time."""

    slots: int

    @property
    def ahead(self) -> int:
        """Draws that wait at a server whose slots are all taken."""
        return max(math.ceil(AHEAD * self.slots), min(self.slots, AT_LEAST_AHEAD))

    @property
    def most(self) -> int:
        """Draws under way at a server at the same time, and so calls: in the end each may wait for one long answer."""
        return self.slots + self.ahead

    def wanted(self, under_way: int, share: int) -> int:
        """Draws that a server gets next which has `under_way`; 0 as long as too few are missing to be worth a call.

        `share` is what it had if all that waits and all that is under way were spread evenly.
        """
        if under_way > self.most - math.ceil(self.ahead / 2):
            return 0
        return min(DRAWS_PER_CALL, self.most - under_way, max(1, share - under_way))
