"""Single program, multiple data: every rank makes the same calls, of which rank 0 alone does some for all.

Ranks that wait here wait for work, which takes as long as it takes: rank 0 draws votes, grades, writes. So these waits
have a process group of their own without a limit in time, and the learner's collectives, in which all ranks are due at
about the same time, keep theirs. A rank that hangs is found by its heartbeat (`run/heartbeat.py`). The group is gloo's
also where the learner has NCCL: a GPU that waits for a broadcast runs a kernel meanwhile, beside servers that share it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from functools import lru_cache
from typing import Any, ParamSpec, TypeVar

import torch.distributed as dist

from rzero_mega.atomic import storage_failure
from rzero_mega.errors import UserError

P = ParamSpec("P")
T = TypeVar("T")

# Longer than any job.
NO_LIMIT = timedelta(days=365)

# Two threads that used the same group would mix up their messages.
_group: ContextVar[dist.ProcessGroup | None] = ContextVar("group", default=None)


@contextmanager
def use_group(group: dist.ProcessGroup | None) -> Iterator[None]:
    """Inside, and in this thread only, this module's functions exchange their messages over `group`.

    It must be one of `new_group`; None is the main thread's.
    """
    token = _group.set(group)
    try:
        yield
    finally:
        _group.reset(token)


def new_group() -> dist.ProcessGroup | None:
    """A further group of all ranks, for `use_group`; None where there is one process. Every rank must call it."""
    alone = not dist.is_initialized() or dist.get_world_size() == 1
    return None if alone else dist.new_group(backend="gloo", timeout=NO_LIMIT)


def waiting_group() -> dist.ProcessGroup | None:
    """The group over which this thread waits without a limit; None where there is one process."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return None
    return _group.get() or _main_group(dist.group.WORLD)


@lru_cache(maxsize=1)
def _main_group(_world: dist.ProcessGroup) -> dist.ProcessGroup | None:
    """The main thread's group: made at the first call, which all ranks make alike, once per world."""
    return new_group()


class PeerFailed(UserError):
    """On ranks other than 0, for an error that rank 0 prints: they end quietly."""

    told_elsewhere = True


def rank() -> int:
    """This process's number; 0 is the one that writes, grades and talks to servers."""
    return dist.get_rank() if dist.is_initialized() else 0


def share(items: Sequence[T]) -> Sequence[T]:
    """This rank's part of what all ranks do together, each some of the items."""
    return items[rank() :: dist.get_world_size()] if dist.is_initialized() else items


def barrier() -> None:
    """Wait until all ranks are here."""
    group = waiting_group()
    if group is not None:
        dist.barrier(group=group)


def all_gather(value: T) -> list[T]:
    """What each rank gave, in the order of the ranks, on every rank."""
    group = waiting_group()
    if group is None:
        return [value]
    values: list[T] = [value] * dist.get_world_size()
    dist.all_gather_object(values, value, group=group)
    return values


def gather(value: T) -> list[T]:
    """What each rank gave, in the order of the ranks, on rank 0; nothing on the others."""
    group = waiting_group()
    if group is None:
        return [value]
    values = [value] * dist.get_world_size() if dist.get_rank() == 0 else None
    dist.gather_object(value, values, dst=0, group=group)
    return values or []


def send(value: object, to: int) -> None:
    """Give a value to another rank, which is in `receive`, and wait until it has it."""
    dist.send_object_list([value], dst=to, group=waiting_group())


def receive(source: int) -> Any:
    """What another rank sends to this one."""
    box: list[Any] = [None]
    dist.recv_object_list(box, src=source, group=waiting_group())
    return box[0]


def on_rank_0(function: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
    """Call `function` on rank 0 alone and give its result to all ranks; the others get a pickled copy.

    A UserError on rank 0, or an error of the storage, ends all ranks. The arguments on the other ranks are not looked
    at.
    """
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return function(*arguments, **options)
    group = waiting_group()
    box: list[tuple[bool, T | str]] = [(False, "")]
    error: UserError | None = None
    if dist.get_rank() == 0:
        try:
            box = [(True, function(*arguments, **options))]
        except (UserError, OSError) as caught:
            error = _for_the_user(caught)
            box = [(False, str(error))]
    dist.broadcast_object_list(box, src=0, group=group)
    good, value = box[0]
    if error is not None:
        raise error
    if not good:
        raise PeerFailed(str(value))
    return value  # type: ignore[return-value]


def kept_on_rank_0(function: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T | None:
    """As `on_rank_0`, but the result stays there: None on the other ranks, to which nothing of it is sent."""
    kept: list[T] = []

    def keep() -> None:
        kept.append(function(*arguments, **options))

    on_rank_0(keep)
    return kept[0] if kept else None


def on_all_ranks(function: Callable[P, None], *arguments: P.args, **options: P.kwargs) -> None:
    """Call `function` on every rank; if it fails on any with a UserError, or an error of the storage, all end.

    Rank 0 tells why.
    """
    message = None
    try:
        function(*arguments, **options)
    except (UserError, OSError) as error:
        message = str(_for_the_user(error))
    first = next((text for text in all_gather(message) if text is not None), None)
    if first is not None:
        raise UserError(first) if rank() == 0 else PeerFailed(first)


def all_ranks_write(
    stream: Iterable[object], write: Callable[P, None], *arguments: P.args, **options: P.kwargs
) -> None:
    """Call `write`, which consumes `stream`, on every rank. A UserError on any ends all, once the stream has ended."""

    def take_part() -> None:
        try:
            write(*arguments, **options)
        finally:
            for _ in stream:  # who is not in it any more, or failed, takes part in gathering to the end
                pass

    on_all_ranks(take_part)


def _for_the_user(error: UserError | OSError) -> UserError:
    if isinstance(error, UserError):
        return error
    failure = storage_failure(error)
    if failure is None:
        raise error
    return failure
