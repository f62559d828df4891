"""Strings that must not be printed."""

from __future__ import annotations


class Secret(str):
    """A string whose representation hides it: SGLang writes all its settings into its log when it starts."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"
