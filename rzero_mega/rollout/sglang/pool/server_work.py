"""What servers do, counted as it comes, and whom it is told. A few numbers per server, however many draws it has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from rzero_mega.activity import Activity

if TYPE_CHECKING:
    from rzero_mega.rollout.sglang.pool.weight_sender import UpdateCosts

# A server that has nothing to do for no longer than this is at work all the same.
PAUSE_S = 1.0
# How often what servers do is told while they do it; where there are many, for each of them.
PERIOD_S, PER_SERVER_S = 10.0, 0.25


@dataclass(frozen=True)
class BusyPeriod:
    """Time in which a server was never without draws, or only for PAUSE_S: since `began`, for `seconds`.

    `draws` and `tokens` are of samples that were over in it. `slot_seconds` are the slots taken of `slots`, times
    seconds; a draw takes one, where one is left, from when the server is asked for it until its sample is here.
    """

    role: str
    number: int
    began: float
    seconds: float
    draws: int
    tokens: int
    slots: int
    slot_seconds: float


class Observer(Protocol):
    """Who is told what servers do, and how long what is done for them takes."""

    def measure(self, activity: Activity) -> AbstractContextManager[dict[str, float]]:
        """A context around it, which may fill in counts."""
        ...

    def updated(self, role: str, costs: UpdateCosts) -> None:
        """An update of servers of the role was made."""
        ...

    def drawn(self, periods: Sequence[BusyPeriod], now: float) -> None:
        """Busy periods that are over, or are told of so far; `began` is by a clock on which it is `now`."""
        ...


class Nobody:
    """Listens to nothing."""

    @contextmanager
    def measure(self, activity: Activity) -> Iterator[dict[str, float]]:
        """Nothing is measured."""
        yield {}

    def updated(self, role: str, costs: UpdateCosts) -> None:
        """Nothing is kept."""

    def drawn(self, periods: Sequence[BusyPeriod], now: float) -> None:
        """Nothing is kept."""


class ServerWork:
    """Counts what one server does. All times are by one clock of seconds."""

    def __init__(self, role: str, number: int, slots: int) -> None:
        """It has nothing to do yet."""
        self.under_way = 0
        self._role, self._number, self._slots = role, number, slots
        self._over: list[BusyPeriod] = []
        self._began: float | None = None
        self._since = 0.0
        self._clear()

    def asked(self, draws: int, now: float) -> None:
        """The server is asked for so many more draws."""
        self._advance(now)
        self.under_way += draws

    def answered(self, tokens: int, now: float) -> None:
        """A draw is over, with a sample of so many tokens."""
        self._advance(now)
        self.under_way -= 1
        self._draws += 1
        self._tokens += tokens

    def lost(self, draws: int, now: float) -> None:
        """So many draws are over without a sample."""
        self._advance(now)
        self.under_way -= draws

    def take(self, now: float) -> list[BusyPeriod]:
        """What has not been taken yet; of a period under way what there is of it until now."""
        if self.under_way:
            self._advance(now)
        self._close()
        if self.under_way:
            self._began = now
        over, self._over = self._over, []
        return over

    def _advance(self, now: float) -> None:
        if self.under_way:
            self._slot_seconds += min(self.under_way, self._slots) * (now - self._since)
        elif self._began is None or now - self._since > PAUSE_S:
            self._close()
            self._began = now
        self._since = now

    def _close(self) -> None:
        """The period is over with what came last."""
        if self._began is not None and self._since > self._began:
            self._over.append(
                BusyPeriod(
                    self._role,
                    self._number,
                    self._began,
                    self._since - self._began,
                    self._draws,
                    self._tokens,
                    self._slots,
                    self._slot_seconds,
                )
            )
            self._clear()
        self._began = None

    def _clear(self) -> None:
        self._draws = self._tokens = 0
        self._slot_seconds = 0.0
