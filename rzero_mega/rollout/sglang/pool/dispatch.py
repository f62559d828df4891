"""Samples drawn by the servers of a role: one queue for all, and what a server loses drawn by another."""

from __future__ import annotations

import asyncio
import logging
import math
import sys
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any, TypeAlias
from uuid import uuid4

from rzero_mega.errors import UserError
from rzero_mega.rollout.protocol import Draw, FinishReason, Sample, sample_of_nothing
from rzero_mega.rollout.sglang.pool.draw_queue import DrawQueue, Supply
from rzero_mega.rollout.sglang.pool.role_servers import Replica, ReplicaState, RoleServers
from rzero_mega.rollout.sglang.pool.server_work import PER_SERVER_S, PERIOD_S, ServerWork
from rzero_mega.rollout.sglang.pool.watch import PROBES, ServerWatch
from rzero_mega.rollout.sglang.pool.wire import (
    MalformedAnswer,
    Version,
    generate_body,
    longest_response,
    read_sample,
    whole_draw,
)
from rzero_mega.rollout.sglang.server.answer_streams import AnswerStreams
from rzero_mega.rollout.sglang.server.client import one_line
from rzero_mega.weights.transports.protocol import ServerError

_log = logging.getLogger(__name__)

# Between two times that a server is told to stop: a call may have been on its way to it at the first one.
STOP_S = 0.2

Taken: TypeAlias = Callable[[int, Sample], bool]
"""Takes a sample by the position of its draw, as it comes; whether more are wanted."""


def all_wanted(_position: int, _sample: Sample) -> bool:
    """`Taken` by somebody who only wants to have them all in the end."""
    return True


Unneeded: TypeAlias = Callable[[int, Sample], Sequence[Draw]]
"""Is told of a sample as `Taken` is; which draws are not needed any more. Of these it is told nothing."""


class Enough(Exception):
    """Whoever takes the samples wants no more of them; what servers still work on is dropped."""


class AtEnough(Enum):
    """What becomes of draws when whoever takes the samples wants no more of them."""

    DROP = "dropped, and Enough raised"
    STOP = "stopped, and what there is of them is among the samples"


@dataclass
class _Desk:
    """A server that gets draws. One that failed a call gets none while it is asked whether it lives."""

    replica: Replica
    streams: AnswerStreams
    work: ServerWork
    doubted: bool = False


@dataclass(frozen=True)
class _Call:
    """One HTTP request; `left` are its draws that have not been answered, by their numbers in it."""

    desk: _Desk
    left: dict[int, Draw]


@dataclass(frozen=True)
class _Named:
    """A draw that is under way, and what the server calls it."""

    desk: _Desk
    name: str


class Dispatch:
    """The draws of one call of the engine on their way to servers and back.

    Whatever happens, an answer or an end, is news, and one coroutine deals with all news one after the other: nothing
    here has to be guarded against another thread.
    """

    def __init__(
        self,
        servers: RoleServers,
        draws: Sequence[Draw],
        version: Version,
        stop: Sequence[int],
        context: int,
        taken: Taken = all_wanted,
        more_follow: bool = False,
        at_enough: AtEnough = AtEnough.DROP,
        unneeded: Unneeded | None = None,
    ) -> None:
        """`stop` are the tokens that end a sample; `context` bounds a prompt and its response together.

        Once `taken` says no, nothing more is drawn. With `more_follow` it is over no sooner than `no_more` is called.
        Draws that may be stopped are begun as given, and not the longest first: those stopped last time come first.
        What is `unneeded` is aborted, and its sample is what there is of it.
        """
        self._servers, self._version, self._stop, self._context = servers, version, stop, context
        self._at_enough, self._stopped = at_enough, False
        as_given = at_enough is AtEnough.STOP
        self._queue = DrawQueue(draws, lambda draw: 0 if as_given else longest_response(draw, context))
        self._supply = Supply(servers.config.max_running_requests)
        self._taken, self._more_follow = taken, more_follow
        self._unneeded, self._given_up = unneeded, set[int]()
        # Where draws may be given up: those under way, by position.
        self._named: dict[int, _Named] = {}
        self._desks: dict[int, _Desk] = {}
        self._failures: Counter[int] = Counter()
        self._samples: dict[int, Sample] = {}
        self._news: asyncio.Queue[Callable[[], None]] = asyncio.Queue()
        # What is under way, and how much of it has still to report its end.
        self._tasks: set[asyncio.Task[None]] = set()
        self._unended = 0

    def run(self) -> tuple[dict[int, Sample], list[Draw]]:
        """Samples by the positions of their draws, and the draws that no server was left for.

        What a dead server leaves, and what a server aborts, goes to others; UserError if a draw fails
        `rollout.sglang.attempts` times, Enough if `taken` says no.
        """
        asyncio.run(self.draw())
        return self.outcome()

    def outcome(self) -> tuple[dict[int, Sample], list[Draw]]:
        """What `run` returns, once `draw` is over."""
        return self._samples, [] if self._stopped else self._queue.all()

    def add(self, draws: Sequence[Draw]) -> None:
        """More draws, in positions of their own. To be called in the event loop of `draw`, as `no_more` is."""
        self._queue.add(draws)
        self._news.put_nowait(_nothing)

    def no_more(self) -> None:
        """All draws are there."""
        self._more_follow = False
        self._news.put_nowait(_nothing)

    async def draw(self) -> None:
        """As `run`, for an event loop in which there is something else to do; `outcome` has what came of it."""
        self._clock = asyncio.get_running_loop().time
        self._told_at, period_s = self._clock(), max(PERIOD_S, PER_SERVER_S * len(self._servers.all()))
        with _threads((1 + PROBES) * len(self._servers.all())) as self._threads:
            watch = ServerWatch(self._servers.config, self._threads)
            try:
                self._refill()
                while self._unended or self._more_follow:
                    await self._hear(min(watch.period_s, period_s))
                    watch.end_silent([desk.replica for desk in self._desks.values() if desk.work.under_way])
                    self._refill()
                    if self._clock() - self._told_at >= period_s:
                        self._tell()
            except BaseException:
                self._abort()
                raise
            finally:
                await self._hang_up()
                self._tell()

    async def _hear(self, limit_s: float) -> None:
        """Deal with all news; wait for some as long as there are none, but not longer than that."""
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                deal = await self._news.get()
            deal()
        while not self._news.empty():
            self._news.get_nowait()()

    def _refill(self) -> None:
        """Give draws that wait to servers that have room, the one with the fewest under way first."""
        if self._stopped:
            return
        desks = [desk for desk in map(self._desk, self._servers.serving()) if not desk.doubted]
        if not desks:
            return
        share = math.ceil((len(self._queue) + sum(desk.work.under_way for desk in desks)) / len(desks))
        if self._more_follow:  # what waits is not all that there is to share, and a prompt stays with one server
            share = sys.maxsize
        while len(self._queue):
            desk = min(desks, key=lambda desk: desk.work.under_way)
            wanted = self._supply.wanted(desk.work.under_way, share)
            if not wanted:
                return
            self._call(desk, self._queue.take(desk.replica.number, wanted))

    def _desk(self, replica: Replica) -> _Desk:
        if id(replica) not in self._desks:
            work = ServerWork(self._servers.role, replica.number, self._supply.slots)
            self._desks[id(replica)] = _Desk(replica, replica.client.streams(), work)
        return self._desks[id(replica)]

    def _call(self, desk: _Desk, draws: Sequence[Draw]) -> None:
        desk.work.asked(len(draws), self._clock())
        names = None
        if self._unneeded is not None:
            # All of one length, since a name is the beginning of no other one.
            names = [uuid4().hex for _ in draws]
            self._named |= {draw.position: _Named(desk, name) for draw, name in zip(draws, names, strict=True)}
        body = self._version.request(generate_body(draws, self._stop, self._context, names))
        self._start(self._listen(_Call(desk, dict(enumerate(draws))), body))

    async def _listen(self, call: _Call, body: dict[str, Any]) -> None:
        """Report every event of a call, and its end."""
        failure: Exception | None = None
        try:
            async for event in call.desk.streams.answers(body):
                self._news.put_nowait(partial(self._take, call, event))
        except Exception as error:
            failure = error
        self._report_end(partial(self._end, call, failure))

    def _take(self, call: _Call, event: dict[str, Any]) -> None:
        """Take in what a server says of a sample."""
        try:
            whole = whole_draw(event, call.left)
            if whole is None:
                return
            number, draw = whole
            stopped = self._stopped or draw.position in self._given_up
            sample = read_sample(draw, event, self._version, stopped)
        except UserError as error:
            raise UserError(f"{call.desk.replica.client.name}: {error}") from None
        del call.left[number]
        if sample is None:
            call.desk.work.lost(1, self._clock())
            reason = one_line(str(event["meta_info"]["finish_reason"].get("message", "for no reason that it names")))
            self._again([draw], ServerError(f"{call.desk.replica.client.name}: aborted a request: {reason}"))
            return
        call.desk.work.answered(len(sample.tokens), self._clock())
        self._arrived(draw.position, sample)

    def _arrived(self, position: int, sample: Sample) -> None:
        self._samples[position] = sample
        self._named.pop(position, None)
        if self._stopped:
            return
        if not self._taken(position, sample):
            self._enough()
        elif self._unneeded is not None and position not in self._given_up:
            self._give_up(self._unneeded(position, sample))

    def _give_up(self, draws: Sequence[Draw]) -> None:
        """Those that wait are over, and those under way are aborted; one that gets to its server later is drawn."""
        self._given_up.update(draw.position for draw in draws)
        waiting = [draw for draw in draws if draw.position not in self._named]
        self._queue.drop(waiting)
        for named in [self._named[draw.position] for draw in draws if draw.position in self._named]:
            self._do(self._abort_one(named))
        self._leave(waiting)

    def _leave(self, draws: Sequence[Draw]) -> None:
        """Nobody draws these, which are given up."""
        for draw in draws:
            nothing = sample_of_nothing(draw.request, draw.index, FinishReason.ABORT, self._version.number)
            self._arrived(draw.position, nothing)

    async def _abort_one(self, named: _Named) -> None:
        with suppress(ServerError):  # found dead as at any other time, or the sample becomes whole
            await named.desk.streams.abort(named.name)

    def _enough(self) -> None:
        if self._at_enough is AtEnough.DROP:
            raise Enough
        self._stopped = True
        for desk in self._desks.values():
            self._do(self._stop_all(desk))

    async def _stop_all(self, desk: _Desk) -> None:
        """Have a server stop all that it works on; its calls then end, or it is found dead as at any other time."""
        while desk.work.under_way:
            with suppress(ServerError):
                await desk.streams.abort_all()
            await asyncio.sleep(STOP_S)

    def _end(self, call: _Call, failure: Exception | None) -> None:
        """A call is over: what it has not answered is drawn again, unless the server meant to say all."""
        replica, left = call.desk.replica, list(call.left.values())
        if left:
            call.desk.work.lost(len(left), self._clock())
        if failure is None and left:
            raise MalformedAnswer(f"{replica.client.name}: no answers to {len(left)} requests of a call")
        if failure is None:
            return
        if not isinstance(failure, ServerError):
            raise failure
        if replica.state is ReplicaState.SERVING and not call.desk.doubted:
            call.desk.doubted = True
            self._start(self._ask(call.desk, failure))
        self._again(left, failure)

    async def _ask(self, desk: _Desk, failure: ServerError) -> None:
        """Ask a server that failed whether it lives; report what is to be done."""
        asked = asyncio.get_running_loop().run_in_executor(self._threads, desk.replica.answers)
        lives = (await asyncio.gather(asked, return_exceptions=True))[0]
        self._report_end(partial(self._judge, desk, failure, lives))

    def _judge(self, desk: _Desk, failure: ServerError, lives: bool | BaseException) -> None:
        if isinstance(lives, BaseException):
            raise lives
        desk.doubted = False
        if not lives:
            _log.warning("%s; its requests go to other servers", failure)
            desk.replica.state = ReplicaState.STARTING
            self._servers.replace(desk.replica)

    def _again(self, draws: Sequence[Draw], error: ServerError) -> None:
        self._leave([draw for draw in draws if draw.position in self._given_up])
        draws = [draw for draw in draws if draw.position not in self._given_up]
        for draw in draws:
            self._named.pop(draw.position, None)
        self._failures.update(draw.position for draw in draws)
        attempts = max((self._failures[draw.position] for draw in draws), default=0)
        if self._stopped:  # nobody waits for them any more
            return
        if attempts >= self._servers.config.attempts:
            raise UserError(f"{error} ({attempts} attempts, rollout.sglang.attempts)")
        self._queue.put_back(draws)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        self._unended += 1
        self._do(work)

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _report_end(self, deal: Callable[[], None]) -> None:
        def end() -> None:
            self._unended -= 1
            deal()

        self._news.put_nowait(end)

    def _abort(self) -> None:
        """Servers drop what they still work on."""
        for replica in self._servers.serving():
            with suppress(ServerError):
                replica.client.abort_all()

    def _tell(self) -> None:
        """Tell what servers have done since it was told last."""
        self._told_at = now = self._clock()
        periods = [period for desk in self._desks.values() for period in desk.work.take(now)]
        if periods:
            self._servers.observer.drawn(periods, now)

    async def _hang_up(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for desk in self._desks.values():
            await desk.streams.close()


def _nothing() -> None:
    """News that only wakes whoever waits for some."""


async def draw_both(leader: Dispatch, follower: Dispatch) -> None:
    """Two roles' draws at the same time. The follower gets draws for as long as the leader draws.

    Raises what the first of them raises; then the other is over too.
    """

    async def lead() -> None:
        await leader.draw()
        follower.no_more()

    tasks = [asyncio.create_task(work) for work in (lead(), follower.draw())]
    try:
        await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


@contextmanager
def _threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that ask servers whether they live; nobody waits for their end."""
    threads = ThreadPoolExecutor(count)
    try:
        yield threads
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
