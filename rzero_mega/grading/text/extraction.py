"""The final answer of a written solution: the content of its last balanced ``\\boxed{...}``."""

from __future__ import annotations

import re

MAX_TEXT_CHARS = 1_000_000
"""Of a longer text only the last this many characters are read: a final answer stands at the end."""

MAX_ANSWER_CHARS = 4_096
"""A longer content is not an answer but a runaway sample, and counts as none."""

# One alternative per token that matters to brace counting. `\\.` swallows escaped braces and the second half of `\\`,
# so that `\{` is never counted and `\\{` counts its brace. TeX's box without braces takes one token.
_BARE = r"-?\d+(?:\.\d+)?(?![\w{^/\\]|\.\d)|(?<=\s)[a-zA-Z](?!\w)"
_TOKEN = re.compile(rf"\\(?:boxed|fbox)\s*\{{|\\boxed\s*(?P<bare>{_BARE})|\\.|[{{}}]", re.DOTALL)
_BLANK = re.compile(r"(?:\s|\\[,;:! ]|\\q?quad(?![a-zA-Z])|[$~])*")


def extract_answer(text: str) -> str | None:
    r"""Return the content of the last balanced ``\boxed{...}`` or ``\fbox{...}`` of `text`, stripped, or None.

    A box may be without braces around a number or a letter: ``\boxed 7``. None means no answer: no balanced box, a
    blank one, or one of more than `MAX_ANSWER_CHARS` characters. Of nested boxes the innermost counts. Runs in time
    linear in ``min(len(text), MAX_TEXT_CHARS)``. Whether the text was cut off by a token limit is for the caller to
    know: a cut-off text that has a balanced box has an answer here.
    """
    contents = boxed_contents(text[-MAX_TEXT_CHARS:])
    if not contents:
        return None
    _, content = max(contents, key=lambda found: found[0])
    return None if len(content) > MAX_ANSWER_CHARS or _BLANK.fullmatch(content) else content.strip()


def boxed_contents(text: str) -> list[tuple[int, str]]:
    """Where the content of each balanced box starts, and the content, in the order in which boxes close."""
    open_braces: list[tuple[int, bool]] = []  # (where the content starts, whether a box opened it)
    found: list[tuple[int, str]] = []
    for token in _TOKEN.finditer(text):
        mark = token.group()
        if token["bare"]:
            found.append((token.start("bare"), token["bare"]))
        elif mark.endswith("{") and (mark == "{" or len(mark) > 2):
            open_braces.append((token.end(), mark != "{"))
        elif mark == "}" and open_braces:
            start, boxed = open_braces.pop()
            if boxed:
                found.append((start, text[start : token.start()]))
    return found
