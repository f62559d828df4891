r"""One spelling per answer: LaTeX dress taken off, so that equal spellings compare as equal strings.

`normalise` is a pure text rewrite and idempotent. It changes how an answer is written and never what it says, with
these conventions of the field (MATH, Hendrycks et al., arXiv 2103.03874), which hold for both answers alike:
a percent or degree sign at the end is dropped (``50\%`` is ``50``), currency signs are dropped, and a sentence's
wrapping ("the answer is ...", a full stop) is dropped. Units and names ("5 cm", "x = 5") are kept apart by
`rzero_mega.grading.answer`, because two answers may differ in them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

_MAX_ROUNDS = 8
_END_CHARS = 80

_CHARACTERS = {
    "½": r"\frac{1}{2}", "⅓": r"\frac{1}{3}", "⅔": r"\frac{2}{3}", "¼": r"\frac{1}{4}", "¾": r"\frac{3}{4}",
    "²": "^{2}", "³": "^{3}", "⁴": "^{4}", "⁵": "^{5}", "⁶": "^{6}", "⁷": "^{7}", "⁸": "^{8}", "⁹": "^{9}",
    "⁰": "^{0}", "¹": "^{1}", "ⁿ": "^{n}", "⁻¹": "^{-1}",
    "√": r"\sqrt ", "∛": r"\sqrt[3] ", "π": r"\pi ", "∞": r"\infty ", "θ": r"\theta ", "α": r"\alpha ", "β": r"\beta ",
    "γ": r"\gamma ", "λ": r"\lambda ", "μ": r"\mu ", "φ": r"\phi ", "ω": r"\omega ", "σ": r"\sigma ", "Δ": r"\Delta ",
    "×": "*", "·": "*", "⋅": "*", "∙": "*", "÷": "/", "∕": "/", "⁄": "/", "−": "-", "–": "-", "—": "-", "‐": "-",
    "±": r"\pm ", "∓": r"\mp ", "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "∪": r"\cup ", "∩": r"\cap ", 
    "∅": r"\emptyset ",
    "∈": r"\in ", "ℝ": r"\mathbb{R}", "ℤ": r"\mathbb{Z}", "ℚ": r"\mathbb{Q}", "ℂ": r"\mathbb{C}", "ℕ": r"\mathbb{N}",
    "°": r"^{\circ}", "º": r"^{\circ}", "′": "'", "’": "'", "“": '"', "”": '"', "€": "", "£": "", "¥": "",
}  # fmt: skip
_CHARACTER = re.compile("|".join(map(re.escape, sorted(_CHARACTERS, key=len, reverse=True))))

_END = r"(?![a-zA-Z])"
_SIZING = r"\\(?:[bB]igg?[lrm]?|displaystyle|textstyle|scriptstyle|limits|left\.|right\.|left|right|middle)" + _END
_STYLES = (
    r"\\(?:mathrm|mathit|mathbf|mathsf|boldsymbol|bm|textnormal|textbf|textit|textrm|textsf|texttt|emph|mbox|hbox)"
)

Rewrite = tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]


def _rewrite(pattern: str, by: str | Callable[[re.Match[str]], str], flags: int = 0) -> Rewrite:
    return re.compile(pattern, flags), by


def _join_thousands(match: re.Match[str]) -> str:
    return match.group().replace(",", "")


# Order matters: sizing goes before spacing (`\left` before `\le`), spacing before everything that looks at neighbours.
_REWRITES: tuple[Rewrite, ...] = (
    _rewrite(r"\\boxed\{([^{}]*)\}", r"\1"),
    _rewrite(r"\\(?:[bB]igg?[lrm]?|left|right|middle)\s*(?=\\[{}|])", ""),
    _rewrite(_SIZING, ""),
    _rewrite(r"(?<!\\)\\[()\[\]]", ""),
    _rewrite(r"\\\$|(?<!\\)\$", ""),
    _rewrite(
        r"\\q?quad" + _END + r"|\\(?:hspace|vspace)\*?\{[^{}]*\}|(?<!\\)\\[,;:> ]|~|\\(?:nonumber|notag)" + _END, " "
    ),
    _rewrite(r"(?<=\d)\{,\}\s?(?=\d{3}(?!\d))|(?<=\d),?\\!\s?(?=\d{3}(?!\d))|(?<=\d)\\,(?=\d{3}(?!\d))", ""),
    _rewrite(r"(?<!\\)\\!", ""),
    _rewrite(r"\\[dtc]frac" + _END, r"\\frac"),
    _rewrite(r"\\[dt]binom" + _END, r"\\binom"),
    _rewrite(_STYLES + r"\s*\{", r"\\text{"),
    _rewrite(r"\\(?:rm|bf|it)" + _END, ""),
    _rewrite(r"\\operatorname\*?\{([a-zA-Z]+)\}", r"\\\1 "),
    _rewrite(r"\\leq(?:slant)?" + _END, r"\\le"),
    _rewrite(r"\\geq(?:slant)?" + _END, r"\\ge"),
    _rewrite(r"\\neq" + _END, r"\\ne"),
    _rewrite(r"<=", r"\\le "),
    _rewrite(r">=", r"\\ge "),
    _rewrite(r"!=", r"\\ne "),
    _rewrite(r"\\lt" + _END, "<"),
    _rewrite(r"\\gt" + _END, ">"),
    _rewrite(r"\\(?:varnothing|O)" + _END, r"\\emptyset"),
    _rewrite(r"\\var(epsilon|phi|theta|rho|pi|sigma)" + _END, r"\\\1"),
    _rewrite(r"\\(?:cdot|times|ast)" + _END, "*"),
    _rewrite(r"\\div" + _END, "/"),
    _rewrite(r"\*\*", "^"),
    _rewrite(r"\^\s*\{?\s*\\circ" + _END + r"\s*\}?|\\degree" + _END, r"\\degree "),
    _rewrite(r"\\(?:lvert|rvert|vert)" + _END, "|"),
    _rewrite(r"\\(?:lbrace|rbrace)" + _END, lambda m: "\\{" if m.group()[1] == "l" else "\\}"),
    _rewrite(r"\s+", " "),
)
_LEAD_IN = re.compile(
    r"^(?:(?:so|thus|hence|therefore),? )?(?:the )?(?:final |correct )?(?:answer|solution|result|value|option|choice)"
    r"(?: is|:| =)[: ]*(?=\S)",
    re.IGNORECASE,
)
_TRAILING = re.compile(r"(?:\s|[.,;]|\\?%|\\text\{\s*(?:percent|\\?%|\.)\s*\}|\\\\)+$", re.IGNORECASE)
_TRAILING_DEGREES = re.compile(r"(?:\s*(?:\\degree(?![a-zA-Z])|\\text\{\s*degrees?\s*\}))+$", re.IGNORECASE)
_TRIGONOMETRY = re.compile(r"sin|cos|tan|cot|sec|csc")
_TRAILING_WORDS = re.compile(r"(?<=[\d}) ])\s*(?:percent|degrees?)$", re.IGNORECASE)
_CHOICE = re.compile(
    r"^(?:\\text\{)?\s*(?:\(\s*([A-Z])\s*\)|\[\s*([A-Z])\s*\]|([A-Z])\s*[.):])\s*\}?$|^\\text\{\s*([A-Z])\s*\}$"
)
_THOUSANDS = re.compile(r"(?<![\d.,\w])\d{1,3}(?:,\d{3})+(?![\d,])")
_SPACED_THOUSANDS = re.compile(r"^-?\d{1,3}(?: \d{3})+$")
_TEXT_NUMBER = re.compile(r"^\\text\{([^{}]*\d[^{}]*)\}$")


def normalise(text: str) -> str:
    """Return the one spelling of an answer. Idempotent; `text` is expected to be bounded by the caller.

    Rewrites are applied until nothing changes. A text that has not settled after a fixed number of rounds (only text
    made to be a nuisance does that) is returned with nothing but its white space tidied, so that the cost stays linear.
    """
    tidied = _tidy(text)
    current = tidied
    for _ in range(_MAX_ROUNDS):
        following = _one_round(current)
        if following == current:
            return current
        current = following
    return tidied


def _tidy(text: str) -> str:
    """Map look-alike characters to one, drop control characters, collapse white space."""
    text = _CHARACTER.sub(lambda m: _CHARACTERS[m.group()], text)
    text = unicodedata.normalize("NFKC", text)
    text = "".join(c if c.isprintable() else " " if c.isspace() else "" for c in text)
    text = _CHARACTER.sub(lambda m: _CHARACTERS[m.group()], text)
    return " ".join(text.split())


def _one_round(text: str) -> str:
    text = _tidy(text)
    for pattern, by in _REWRITES:
        text = pattern.sub(by, text)
    text = _strip_outer_braces(text.strip())
    text = _LEAD_IN.sub("", text)
    text = _TEXT_NUMBER.sub(r"\1", text)
    if choice := _CHOICE.match(text):
        return next(group for group in choice.groups() if group)
    text = _strip_end(_TRAILING, text)
    if not _TRIGONOMETRY.search(text):
        text = _strip_end(_TRAILING_DEGREES, text)
    text = _strip_end(_TRAILING_WORDS, text)
    if _SPACED_THOUSANDS.match(text):
        text = text.replace(" ", "")
    return _join_top_level_thousands(text).strip()


def _strip_end(pattern: re.Pattern[str], text: str) -> str:
    """Drop what `pattern` finds at the end of `text`, looking at the last characters only to keep the search linear."""
    found = pattern.search(text, max(0, len(text) - _END_CHARS))
    return text if found is None else text[: found.start()]


def _strip_outer_braces(text: str) -> str:
    """Drop braces that group the whole text, all layers in one pass."""
    partner: dict[int, int] = {}
    stack: list[int] = []
    for token in re.finditer(r"\\.|[{}]", text):
        if token.group() == "{":
            stack.append(token.start())
        elif token.group() == "}" and stack:
            partner[stack.pop()] = token.start()
    first, last = 0, len(text) - 1
    while first < last and partner.get(first) == last:
        first, last = first + 1, last - 1
    return text[first : last + 1].strip()


def _join_top_level_thousands(text: str) -> str:
    """Join ``1,234`` to ``1234``, but not inside brackets, where the comma separates the items of a tuple or set."""
    if "," not in text:
        return text
    pieces: list[str] = []
    depth, start = 0, 0
    for bracket in re.finditer(r"[(\[{}\])]", text):
        if depth == 0:
            pieces.append(_THOUSANDS.sub(_join_thousands, text[start : bracket.start()]))
        else:
            pieces.append(text[start : bracket.start()])
        pieces.append(bracket.group())
        depth = depth + 1 if bracket.group() in "([{" else max(0, depth - 1)
        start = bracket.end()
    tail = text[start:]
    pieces.append(_THOUSANDS.sub(_join_thousands, tail) if depth == 0 else tail)
    return "".join(pieces)
