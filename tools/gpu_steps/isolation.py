"""A function in a process of its own, of which nothing stays on the GPU."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Failure:
    """Why a function gave no result: the error's type and first line."""

    reason: str


def in_own_process(function: Callable[P, R], *arguments: P.args, **keywords: P.kwargs) -> R | Failure:
    """The result of a function of a module's top level, or why there is none, be it that the process died."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return caught(pool.submit(function, *arguments, **keywords).result)


def caught(result: Callable[[], R]) -> R | Failure:
    """What `result` returns, or its error."""
    try:
        return result()
    except Exception as error:
        return Failure(f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}")
