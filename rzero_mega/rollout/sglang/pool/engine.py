"""A `RolloutEngine` made of SGLang servers. All ranks hold one; the first speaks with the servers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from enum import Enum
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

from rzero_mega import spmd
from rzero_mega.activity import Activity
from rzero_mega.errors import UserError
from rzero_mega.rollout.limits import check_prompts
from rzero_mega.rollout.protocol import (
    Arrived,
    Decided,
    Draw,
    Follow,
    Request,
    RolloutEngine,
    Sample,
    Scored,
    Whole,
    draws_of,
)
from rzero_mega.rollout.sglang.pool.dispatch import AtEnough, Dispatch, Enough, Taken, Unneeded, all_wanted
from rzero_mega.rollout.sglang.pool.followed import FollowedDraws
from rzero_mega.rollout.sglang.pool.needed_draws import NeededDraws
from rzero_mega.rollout.sglang.pool.role_servers import Replica, ReplicaState, RoleServers
from rzero_mega.rollout.sglang.pool.turns import EVERYTHING, WEIGHTS
from rzero_mega.rollout.sglang.pool.watch import watched_generate
from rzero_mega.rollout.sglang.pool.wire import Version, read_score, score_body
from rzero_mega.weights.adapters import Adapters, adapters_in
from rzero_mega.weights.bucket import Bucket
from rzero_mega.weights.shape import ModelShape
from rzero_mega.weights.sources import FolderWeights, WeightSource

if TYPE_CHECKING:
    from rzero_mega.rollout.sglang.pool.server_pool import ServerPool


class Pass(Enum):
    """What servers are sent: whole weights, those of the engine's beginning, adapters beside these."""

    WHOLE = "whole"
    BASE = "base"
    ADAPTERS = "adapters"


class UnitsUnderWay:
    """Units of draws of which samples come in any order; each is handed over once it is whole."""

    def __init__(self, units: Sequence[Sequence[Draw]], arrived: Arrived) -> None:
        """The draws' positions are their places in the row of all units."""
        self._positions = [[draw.position for draw in unit] for unit in units]
        self._unit = {position: number for number, unit in enumerate(self._positions) for position in unit}
        self._samples: list[dict[int, Sample]] = [{} for _ in units]
        self._arrived = arrived

    def take(self, position: int, sample: Sample) -> bool:
        """A sample by its position; whether more are wanted."""
        number = self._unit[position]
        self._samples[number][position] = sample
        if len(self._samples[number]) < len(self._positions[number]):
            return True
        whole, self._samples[number] = self._samples[number], {}
        return self._arrived(number, [whole[position] for position in self._positions[number]])


class SglangEngine:
    """One policy on servers that outlive it. Made by `ServerPool.engine`.

    Weights are those of `source`, under the present version; a server that was replaced gets them from there, for which
    all ranks pass over the source once more. Of a source that has adapters apart a server that takes some gets these
    alone, beside the weights that the engine began with, which it gets first if it hasn't them.
    """

    def __init__(
        self,
        pool: ServerPool,
        role: str,
        number: int,
        source: WeightSource,
        shape: ModelShape,
        stop_tokens: Sequence[int],
        context: int,
    ) -> None:
        """`number` tells engines apart; the servers hold, or wait for, the source's weights as version 0.

        `context` bounds a prompt and its response together, in tokens.
        """
        self._pool, self._role, self._number = pool, role, number
        # The weights now, and those that adapters of them are added to.
        self._source, self._base, self._shape = source, source, shape
        self._stop_tokens, self._context = stop_tokens, context
        self.version = self._version_of(0)
        self._updates = 0

    @property
    def context(self) -> int:
        """That of the servers."""
        return self._context

    @property
    def receivers(self) -> Sequence[int]:
        """The ranks that hand weights out: the first one, and one on each other node where servers take handles."""
        return self._pool.senders

    def generate(self, requests: Sequence[Request]) -> list[Sample]:
        """All samples, request-major, then by index; the same list on every rank."""
        check_prompts(requests, self._context)
        left, drawn = draws_of(requests), dict[int, Sample]()

        def draw() -> tuple[dict[int, Sample], bool]:
            nonlocal left
            done, left = self._dispatch(left).run()
            return done, bool(left)

        self._pool.make_room()
        more = bool(left)
        while more:
            self._supply(EVERYTHING)
            done, more = spmd.on_rank_0(draw)
            drawn.update(done)
        return [drawn[position] for position in range(len(drawn))]

    def generate_units(self, units: Sequence[Sequence[Request]], arrived: Arrived) -> None:
        """All units in one queue; the first rank hands over what comes, and the others learn no more than the end."""
        self._draw_units(units, arrived)

    def generate_needed(self, units: Sequence[Sequence[Request]], arrived: Arrived, decided: Decided) -> None:
        """As `generate_units`; a sample that is aborted is whatever its server had drawn of it by then."""
        self._draw_units(units, arrived, decided)

    def _draw_units(self, units: Sequence[Sequence[Request]], arrived: Arrived, decided: Decided | None = None) -> None:
        requests = [request for unit in units for request in unit]
        check_prompts(requests, self._context)
        left = draws_of(requests)
        taken = UnitsUnderWay(_by_unit(units, left), arrived).take
        unneeded = None if decided is None else NeededDraws(left, decided).unneeded_after

        def draw() -> bool:
            nonlocal left
            try:
                left = self._dispatch(left, taken, unneeded=unneeded).run()[1]
            except Enough:
                left = []
            return bool(left)

        self._draw_all(bool(left), draw)

    def generate_until(self, units: Sequence[Sequence[Request]], whole: Whole) -> list[list[Sample]]:
        """All units in one queue; every rank gets what all servers have drawn until it was enough."""
        requests = [request for unit in units for request in unit]
        check_prompts(requests, self._context)
        left, drawn = draws_of(requests), dict[int, Sample]()
        by_unit = _by_unit(units, left)
        taken = UnitsUnderWay(by_unit, lambda number, _samples: whole(number)).take

        def draw() -> bool:
            nonlocal left
            samples, left = self._dispatch(left, taken, at_enough=AtEnough.STOP).run()
            drawn.update(samples)
            return bool(left)

        self._draw_all(bool(left), draw)
        found = spmd.on_rank_0(lambda: drawn)
        return [[found[draw.position] for draw in unit if draw.position in found] for unit in by_unit]

    def can_lead(self, other: RolloutEngine) -> bool:
        """Whether the other one is of the other role, and both roles' servers are awake at the same time."""
        return isinstance(other, SglangEngine) and other._role != self._role and self._pool.together

    def generate_followed(
        self, requests: Sequence[Request], other: RolloutEngine, follow: Follow
    ) -> tuple[list[Sample], dict[int, list[Sample]]]:
        """Two roles' servers at work at the same time; the first rank alone gets what the second role says."""
        if not (isinstance(other, SglangEngine) and self.can_lead(other)):
            raise ValueError("an engine can be followed by one that it can lead")
        check_prompts(requests, self._context)
        draws = FollowedDraws(requests, follow, other.context)
        self._pool.make_room()
        left = True
        while left:
            self._supply(EVERYTHING)
            other._supply(EVERYTHING)
            left = spmd.on_rank_0(draws.draw, self._dispatch, other._dispatch)
        return spmd.on_rank_0(draws.samples), draws.following()

    def score(self, sequences: Sequence[Scored]) -> list[tuple[float, ...]]:
        """Log-probability of every response token under the present weights, by one server."""
        self._pool.make_room()
        self._supply(EVERYTHING)
        return spmd.on_rank_0(self._score, sequences)

    def prepare(self) -> None:
        """Send the weights to the servers that wait for them: all of a role's, if an engine before had them."""
        self._pool.make_room()
        self._supply(EVERYTHING)

    def update_weights(self, source: WeightSource, version: int) -> None:
        """Bring the source's weights to every server, and check that they arrived."""
        self._source = source
        self.version = replace(self._version_of(version), adapted=self._adapters() is not None)
        self._pool.make_room()
        spmd.on_rank_0(self._want_weights)
        self._supply(WEIGHTS)

    def close(self) -> None:
        """Nothing to do: the servers stay for the role's next engine."""

    def _version_of(self, version: int) -> Version:
        return Version(version, f"{self._role}-{self._number}-{version}")

    @property
    def _servers(self) -> RoleServers:
        """On the first rank alone."""
        return self._pool.roles[self._role]

    def _draw_all(self, more: bool, draw: Callable[[], bool]) -> None:
        """While there is more, have the first rank `draw`, which says whether servers that ended have left some."""
        self._pool.make_room()
        while more:
            self._supply(EVERYTHING)
            more = spmd.on_rank_0(draw)

    def _dispatch(
        self,
        draws: Sequence[Draw],
        taken: Taken = all_wanted,
        more_follow: bool = False,
        at_enough: AtEnough = AtEnough.DROP,
        unneeded: Unneeded | None = None,
    ) -> Dispatch:
        stop, context = self._stop_tokens, self._context
        return Dispatch(self._servers, draws, self.version, stop, context, taken, more_follow, at_enough, unneeded)

    def _score(self, sequences: Sequence[Scored]) -> list[tuple[float, ...]]:
        answers = watched_generate(self._servers.serving()[0], self.version.request(score_body(sequences)))
        return [read_score(s, a, self.version) for s, a in zip(sequences, answers, strict=True)]

    def _supply(self, needed: frozenset[str]) -> None:
        """Until no server waits for weights: send them, over and over if a server dies of it."""
        attempt = 0
        while passes := spmd.on_rank_0(self._admit, needed):
            for one in passes:
                error = self._send(one)
                if spmd.on_rank_0(bool, error):  # no rank begins a pass that the first one isn't in
                    break
            attempt += 1
            spmd.on_rank_0(self._recover, error, attempt)

    def _want_weights(self) -> None:
        self._pool.await_first(self._role)
        self._servers.want_weights()

    def _admit(self, needed: frozenset[str]) -> list[Pass]:
        """Take the servers' turn, and take in those that are ready; what has to be sent to those that wait."""
        self._pool.take_turn(self._role, needed)
        self._pool.await_first(self._role)
        if not self._servers.admit():
            return []
        if self._adapters() is None:
            return [Pass.WHOLE]
        return [Pass.BASE, Pass.ADAPTERS] if self._without_base() else [Pass.ADAPTERS]

    def _adapters(self) -> Adapters | None:
        """What is sent alone where servers take adapters; None: whole weights are sent."""
        return adapters_in(self._source) if self._pool.takes_adapters else None

    def _without_base(self) -> list[Replica]:
        return [replica for replica in self._servers.waiting() if replica.base != self._number]

    def _send(self, what: Pass) -> UserError | None:
        """One pass of all ranks over a source, to all servers that need it; the error that kept it from arriving."""
        source, adapters = self._base if what is Pass.BASE else self._source, self._adapters()
        if what is Pass.ADAPTERS and adapters is not None:
            source = adapters.source
        folder = self._folder_to_read(source)
        buckets = iter(source if folder is None else ())
        if folder is None and what is not Pass.ADAPTERS:
            buckets = self._pool.relay(self._role, self._shape).through(buckets)
        try:
            if spmd.rank() == 0:
                self._update(what, source, buckets, folder)
        except UserError as error:
            return error
        finally:
            for _ in buckets:  # other ranks are in the same pass, and take part to its end
                pass
        return None

    def _folder_to_read(self, source: WeightSource) -> FolderWeights | None:
        """The source, if it is a folder that servers read themselves."""
        return source if isinstance(source, FolderWeights) and self._pool.hands_folders else None

    def _update(
        self, what: Pass, source: WeightSource, buckets: Iterator[Bucket], folder: FolderWeights | None
    ) -> None:
        waiting, sender, adapters = self._servers.waiting(), self._servers.sender, self._adapters()
        if what is Pass.BASE:
            waiting = self._without_base()
        check = sender.checksums_every > 0 and self._updates % sender.checksums_every == 0
        if what is not Pass.BASE:  # both passes of an update are checked, or none
            self._updates += 1
        clients = [replica.client for replica in waiting]
        with self._pool.observer.measure(Activity.SEND) as counts:
            if what is Pass.ADAPTERS and adapters is not None:
                costs = sender.send_adapters(clients, adapters, buckets, self.version.on_server, check)
            elif folder is None:
                costs = sender.send(clients, buckets, self._shape, self.version.on_server, check)
            else:
                costs = sender.send_folder(clients, folder, self.version.on_server, check)
            counts |= asdict(costs)
        self._pool.observer.updated(self._role, costs)
        for replica in waiting:
            if what is not Pass.ADAPTERS:
                replica.base = self._number if source is self._base else None
            if what is not Pass.BASE:
                replica.state = ReplicaState.SERVING

    def _recover(self, error: UserError | None, attempt: int) -> None:
        if error is not None:
            self._servers.replace_killed_by_update(error, attempt)


def _by_unit(units: Sequence[Sequence[Request]], draws: Sequence[Draw]) -> list[list[Draw]]:
    """The draws of all units, which lie one after the other, unit by unit."""
    ends = accumulate(sum(request.n for request in unit) for unit in units)
    return [list(draws[start:end]) for start, end in pairwise((0, *ends))]
