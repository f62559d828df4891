"""A place in a list of tokens, with the moves that all rules of the parser are made of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from enum import IntEnum

from rzero_mega.grading.expressions.tree import MAX_DEPTH, Node, Unreadable
from rzero_mega.grading.syntax.lexer import END, Token


class Level(IntEnum):
    """What an expression may consist of, weakest operator first."""

    LIST = 0
    RELATION = 1
    UNION = 2
    RATIO = 3
    SUM = 4
    PRODUCT = 5


class Cursor(ABC):
    """Reads tokens one by one, and knows how deeply the rules are nested."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self.position = 0
        self._depth = 0

    @abstractmethod
    def expression(self, level: Level) -> Node:
        """Parse an expression whose operators bind at least as tightly as `level`."""

    def peek(self) -> Token:
        """Return the token here, `END` after the last one."""
        return self.tokens[self.position] if self.position < len(self.tokens) else END

    def next(self) -> Token:
        """Return the token here and go on to the one after it."""
        token = self.peek()
        self.position += 1
        return token

    def at(self, *texts: str) -> bool:
        """Whether the token here is one of these symbols, commands or connectors."""
        token = self.peek()
        return token.kind in ("symbol", "command", "connector") and token.text in texts

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
        """Read the subscript of a name: a token, or letters, numbers and signs in braces."""
        if not self.at("{"):
            token = self.next()
            if token.kind not in ("number", "name"):
                raise Unreadable("subscript expected")
            return token.text
        self.next()
        texts: list[str] = []
        while not self.at("}"):
            token = self.next()
            if token.kind not in ("number", "name") and token.text not in ("+", "-", ","):
                raise Unreadable("subscript expected")
            texts.append(token.text)
        self.next()
        return "".join(texts)
