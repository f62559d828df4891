"""What follows from one role's samples, drawn by the other role's servers while the first one still draws."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeAlias

from rzero_mega.rollout.limits import check_prompts
from rzero_mega.rollout.protocol import Draw, Follow, Request, Sample, draws_of
from rzero_mega.rollout.sglang.pool.dispatch import Dispatch, Taken, all_wanted, draw_both

Open: TypeAlias = Callable[[Sequence[Draw], Taken, bool], Dispatch]
"""Makes the dispatch of a role's draws; the last argument says whether more follow."""


class FollowedDraws:
    """Both roles' draws, and what has come of them, over as many turns as it takes. On the first rank alone."""

    def __init__(self, requests: Sequence[Request], follow: Follow, context: int) -> None:
        """`context` is that of the role that follows."""
        self._follow, self._context = follow, context
        self._left, self._left_after = draws_of(requests), list[Draw]()
        self._after: dict[int, list[Draw]] = {}
        self._samples: dict[int, Sample] = {}
        self._drawn_after: dict[int, Sample] = {}
        # Positions of the draws that follow: the next free one.
        self._next = 0

    def draw(self, leader: Open, follower: Open) -> bool:
        """Draw until all is drawn, or a role has no server left; whether anything is left.

        Raises what either role's dispatch does.
        """
        second = follower(self._left_after, all_wanted, bool(self._left))

        def take(position: int, sample: Sample) -> bool:
            second.add(self._draws_after(position, sample))
            return True

        first = leader(self._left, take, False)
        asyncio.run(draw_both(first, second))
        samples, self._left = first.outcome()
        after, self._left_after = second.outcome()
        self._samples |= samples
        self._drawn_after |= after
        return bool(self._left or self._left_after)

    def samples(self) -> list[Sample]:
        """Of the role that leads, in the order of the requests, then by index."""
        return [self._samples[position] for position in range(len(self._samples))]

    def following(self) -> dict[int, list[Sample]]:
        """Of the other role: by the position of the sample that they are about, by index."""
        return {about: [self._drawn_after[draw.position] for draw in draws] for about, draws in self._after.items()}

    def _draws_after(self, position: int, sample: Sample) -> list[Draw]:
        request = self._follow(position, sample)
        if request is None:
            return []
        check_prompts([request], self._context)
        indices = range(request.first_index, request.first_index + request.n)
        draws = [Draw(self._next + place, request, index) for place, index in enumerate(indices)]
        self._next += len(draws)
        self._after[position] = draws
        return draws
