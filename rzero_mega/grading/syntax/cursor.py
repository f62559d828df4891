"""A place in a list of tokens, with the moves that all rules of the parser are made of."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from enum import IntEnum

from rzero_mega.grading.expressions.tree import MAX_DEPTH, Node, Unreadable
from rzero_mega.grading.syntax.lexer import END, Token

_FRACTION = re.compile(r"frac\{?(\w+)\}?\{?(\w+)\}?")
_SIGNS = frozenset(("symbol", "command", "connector", "mark"))
_UNBRACED = re.compile(r"\{(\w+)\}")


class Level(IntEnum):
    """What an expression may consist of, weakest operator first."""

    LIST = 0
    RELATION = 1
    UNION = 2
    RATIO = 3
    SUM = 4
    PRODUCT = 5


class Cursor(ABC):
    """Reads tokens one by one, `END` after the last one, and knows how deeply the rules are nested."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = [*tokens, END, END, END, END]
        self.position = 0
        self._depth = 0

    @abstractmethod
    def expression(self, level: Level) -> Node:
        """Parse an expression whose operators bind at least as tightly as `level`."""

    @abstractmethod
    def argument(self) -> Node:
        """Parse one argument of a command, as ``\\frac`` has two."""

    @abstractmethod
    def primary(self) -> Node:
        """Parse the smallest expression that stands here."""

    @abstractmethod
    def exponent(self) -> Node:
        """Parse what stands behind a ``^``."""

    def peek(self, ahead: int = 0) -> Token:
        """Return the token here or so many further on: three at most, or as far as there is no `END` on the way."""
        return self.tokens[self.position + ahead]

    def next(self) -> Token:
        """Return the token here and go on to the one after it."""
        token = self.tokens[self.position]
        if token is not END:
            self.position += 1
        return token

    def at(self, *texts: str) -> bool:
        """Whether the token here is one of these symbols, commands, marks or connectors."""
        token = self.tokens[self.position]
        return token.text in texts and token.kind in _SIGNS

    def at_word(self, *words: str) -> bool:
        """Whether the token here is one of these words, in any case."""
        token = self.tokens[self.position]
        return token.kind == "word" and token.text.lower() in words

    def skip(self, *texts: str) -> bool:
        """Go on over one of these if it is here, and say whether it was."""
        if self.at(*texts) or self.at_word(*texts):
            self.position += 1
            return True
        return False

    def expect(self, text: str) -> None:
        """Go on over this symbol; raises `Unreadable` if it isn't here."""
        if not self.at(text):
            raise Unreadable(f"{text} expected")
        self.position += 1

    def deeper(self, rule: Callable[[], Node]) -> Node:
        """Apply a rule one level down; raises `Unreadable` below `MAX_DEPTH`."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise Unreadable("nested too deeply")
        node = rule()
        self._depth -= 1
        return node

    def subscript(self) -> str:
        r"""Read the subscript of a name as text: one token, or all of a braced group (``x_{n+1}``, ``v_\theta``)."""
        if not self.at("{"):
            token = self.next()
            if token.kind not in ("number", "name", "command", "constant", "word", "function"):
                raise Unreadable("subscript expected")
            return token.text
        texts: list[str] = []
        depth = 0
        while depth or not texts:
            token = self.next()
            depth += (token.text == "{") - (token.text == "}")
            if token.kind in ("end", "gap", "environment"):
                raise Unreadable("subscript expected")
            texts.append(token.text)
        return _UNBRACED.sub(r"\1", _FRACTION.sub(r"\1/\2", "".join(texts)[1:-1]))
