"""How large the values of a pickle get once they are looked through, read off its opcodes without building any.

A tuple that holds the same tuple twice, which holds the same tuple twice, and so on for sixty levels takes a few
hundred bytes, and longer than anyone waits to be hashed, compared or printed.
"""

from __future__ import annotations

import pickletools
from dataclasses import dataclass

from rzero_mega.errors import UserError

MOST_BYTES = 1 << 30
# What a checkpoint says of one tensor is a few dozen values, and most of them are there once.
MOST_VALUES = 10_000
MOST_REPEATS = 1000
_PUT = ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE")
_GET = ("GET", "BINGET", "LONG_BINGET")
_CHANGES = ("APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "BUILD")
_TUPLES = ("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3")
_NOTHING = ("PROTO", "FRAME")


@dataclass
class _Value:
    """How many values one finds in it, itself included, and whether another one holds it."""

    values: int = 1
    held: bool = False


_MARK = _Value(0)


def check_bounds(data: bytes, name: str) -> None:
    """UserError if a tuple or a key of the pickle has more than MOST_VALUES, or the whole repeats itself without end.

    UserError too if it is no pickle, or changes a value that another one holds: then nobody can say how large that is.
    """
    if len(data) > MOST_BYTES:
        raise UserError(f"{name}: {len(data)} bytes are more than a description of tensors takes; refused")
    try:
        _walk(data)
    except _TooLarge as error:
        raise UserError(f"{name}: {error}; refused") from None
    except (ValueError, IndexError, KeyError, TypeError) as error:
        raise UserError(f"{name}: not readable as a pickle ({error})") from None


class _TooLarge(Exception):
    """The pickle holds what no checkpoint does."""


def _walk(data: bytes) -> None:
    stack: list[_Value] = []
    memo: dict[int, _Value] = {}
    for count, (opcode, argument, _) in enumerate(pickletools.genops(data), start=1):
        if opcode.name in _PUT:
            memo[len(memo) if opcode.name == "MEMOIZE" else int(argument or 0)] = stack[-1]
        elif opcode.name in _GET:
            stack.append(memo[int(argument or 0)])
        elif opcode.name == "MARK":
            stack.append(_MARK)
        elif opcode.name not in _NOTHING:
            _apply(opcode, stack)
        if stack and stack[-1].values > MOST_VALUES + count * MOST_REPEATS:
            raise _TooLarge("its values hold each other again and again")


def _apply(opcode: pickletools.OpcodeInfo, stack: list[_Value]) -> None:
    """Take from the stack what the opcode takes, and put there what it makes of it."""
    if opcode.name in _CHANGES:
        taken = _take(opcode, stack, keep=1)
        changed = stack[-1]
        if changed.held:
            raise _TooLarge("changes a value that another one holds already")
    else:
        taken, changed = _take(opcode, stack, keep=0), _Value()
        stack += [changed] * len(opcode.stack_after)
    for value in taken:
        value.held = True
    changed.values += sum(value.values for value in taken)
    if opcode.name in ("SETITEM", "SETITEMS", "DICT"):
        hashed = taken[::2]
    elif opcode.name in ("ADDITEMS", "FROZENSET"):
        hashed = taken
    else:
        hashed = [changed] if opcode.name in _TUPLES else []
    if any(value.values > MOST_VALUES for value in hashed):
        raise _TooLarge(f"a tuple or key of more than {MOST_VALUES} values, held by each other")


def _take(opcode: pickletools.OpcodeInfo, stack: list[_Value], keep: int) -> list[_Value]:
    """What the opcode takes, first to last, without the first `keep`, which stay on the stack."""
    if pickletools.markobject not in opcode.stack_before:
        start = len(stack) - len(opcode.stack_before) + keep
        if start < keep:
            raise IndexError("the stack is empty")
        taken = stack[start:]
    else:
        start = next(place for place in range(len(stack) - 1, -1, -1) if stack[place] is _MARK)
        taken = stack[start + 1 :]
    del stack[start:]
    return taken
