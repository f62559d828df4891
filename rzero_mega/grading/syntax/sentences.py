r"""What words around an answer say: its name (``the area is 5``), and that it holds for all x, a closed list."""

from __future__ import annotations

from rzero_mega.grading.expressions.tree import Name, Node, Relation, names
from rzero_mega.grading.syntax.cursor import Cursor
from rzero_mega.grading.text.vocabulary import EQUALS, is_label

_MAX_WORDS = 9


def read_label(cursor: Cursor) -> Name | None:
    """Read words that name the answer up to an equals sign, a colon or "is"; None, without a move, if there are none.

    "The value of x is" names x, as ``x =`` does.
    """
    start = cursor.position
    words: list[str] = []
    while cursor.peek().kind in ("word", "name", "function") and not at_equals(cursor) and len(words) < _MAX_WORDS:
        words.append(cursor.next().text)
    plain = [word.lower() for word in words]
    if not is_label(plain) or not (at_equals(cursor) or cursor.at("=", ":")):
        cursor.position = start
        return None
    while at_equals(cursor) or cursor.at("=", ":") or cursor.at_word("to"):
        cursor.next()
    if plain[-3:-1] == ["value", "of"] and len(words[-1]) == 1:
        return Name(words[-1])
    return Name("text " + " ".join(word for word in plain if word != "the"))


def at_equals(cursor: Cursor) -> bool:
    """Whether a word is here that stands for an equals sign."""
    return cursor.at_word(*EQUALS)


def skip_closing_phrase(cursor: Cursor, written: Node) -> None:
    r"""Go on over ``for all x``, which says nothing where x is the argument of the function that is given.

    So does "for some constant c" of a c that stands in the answer.
    """
    start = cursor.position
    if cursor.peek().kind == "end":
        return
    cursor.skip(",")
    if cursor.skip("forall") or (cursor.skip("for") and cursor.skip("all", "every", "any", "each")):
        cursor.skip("real")
        name = cursor.next().text
        fits = isinstance(written, Relation) and any(f"(<{name}>)" in label for label in names(written.left))
        fits = fits and (not cursor.skip("in") or cursor.next().text == "bb R")
    else:
        cursor.position = start + cursor.at(",")
        fits = cursor.skip("for", "where") and cursor.skip("some", "any") and cursor.skip("constant")
        fits = fits and cursor.next().text in names(written)
    if not fits:
        cursor.position = start
