r"""What an answer adds about itself and nobody asked for: a reason, or what kind of number a letter stands for."""

from __future__ import annotations

import re

_SEARCHED_CHARS = 200
_OPENING = r"(?:[,;]? ?\(? ?\\text ?\{ ?\(?|[,;] ?\(?| \(?) ?"
_EACH = r"(?: any| all| some| every| each)?"
_TEXT_ENDS = r"(?: ?\})? ?"
_TEXT_BEGINS = r"(?:\\text ?\{ ?)?"
_REASON = re.compile(_OPENING + r"(?:since|because|as required)\b.*$", re.IGNORECASE)
_KIND = re.compile(
    rf"{_OPENING}where {_TEXT_ENDS}([a-zA-Z]) ?{_TEXT_BEGINS}is (?:an?|any|some|the)"
    r"(?: positive| real| arbitrary| constant)* ?(?:integer|number|constant|parameter)(?: of integration)?[ .)}]*$",
    re.IGNORECASE,
)
# The letters that stand for integers by custom; any other may be one of several unknowns.
_WHOLE = re.compile(
    rf"{_OPENING}(?:(?:for|where|with){_EACH}{_TEXT_ENDS})?"
    rf"(?:([nmkl]) ?(?:\\in ?\\mathbb ?\{{Z\}}|{_TEXT_BEGINS}(?:is )?(?:an |any )?integer)"
    rf"|(?:an |any )?integers?{_TEXT_ENDS}([nmkl]))[ .)}}]*$",
    re.IGNORECASE,
)


def without_clauses(text: str) -> str:
    r"""Return a normalised answer without a clause at its end that gives a reason or says what kind a letter is of.

    ``7 \text{ (since } x > 0)`` is 7. In ``n\pi, n \in \mathbb{Z}`` the letter is bound, and becomes k. Conditions
    stay, and so does what is said of a letter that the rest hasn't got.
    """
    start = max(0, len(text) - _SEARCHED_CHARS)
    for clause in (_WHOLE, _KIND, _REASON):
        found = clause.search(text, start)
        if found is None or not (kept := text[: found.start()].strip()):
            continue
        if letter := next(filter(None, found.groups()), None):
            alone = rf"(?<![a-zA-Z\\]){letter}(?![a-zA-Z])"
            if not re.search(alone, kept):
                continue
            kept = re.sub(alone, "k", kept) if clause is _WHOLE else kept
        return kept + "}" * (kept.count("{") - kept.count("}"))
    return text
