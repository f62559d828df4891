r"""One spelling per answer: LaTeX dress taken off, so that equal spellings compare as equal strings.

`normalise` is a pure text rewrite and idempotent. It changes how an answer is written and never what it says: a
sentence's wrapping ("the answer is ...", a full stop) goes, a closed list, and so does all that only changes the look.
Units, percent and degree signs, currencies and names ("5 cm", "x = 5", "the area is 5") stay: the parser reads them,
because two answers may differ in them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from fractions import Fraction

_MAX_ROUNDS = 8
_END_CHARS = 80

_CHARACTERS = {
    "√": r"\sqrt ", "∛": r"\sqrt[3] ", "π": r"\pi ", "∞": r"\infty ", "θ": r"\theta ", "α": r"\alpha ", "β": r"\beta ",
    "γ": r"\gamma ", "λ": r"\lambda ", "μ": r"\mu ", "φ": r"\phi ", "ω": r"\omega ", "σ": r"\sigma ", "Δ": r"\Delta ",
    "×": r"\times ", "✕": r"\times ", "✖": r"\times ", "·": "*", "⋅": "*", "∙": "*", "∗": "*", "÷": "/", "∕": "/",
    "⁄": "/", "−": "-",
    "–": "-", "—": "-", "‐": "-", "‑": "-", "‒": "-", "―": "-", "±": r"\pm ", "∓": r"\mp ", "≤": r"\le ", "≥": r"\ge ",
    "⩽": r"\le ", "⩾": r"\ge ", "≦": r"\le ", "≧": r"\ge ", "≠": r"\ne ", "≈": r"\approx ", "≡": r"\equiv ",
    "∪": r"\cup ", "∩": r"\cap ", "∖": r"\setminus ", "∅": r"\emptyset ", "∈": r"\in ", "∣": "|", "∶": ":",
    "ℝ": r"\mathbb{R}", "ℤ": r"\mathbb{Z}", "ℚ": r"\mathbb{Q}", "ℂ": r"\mathbb{C}", "ℕ": r"\mathbb{N}",
    "⟨": r"\langle ", "⟩": r"\rangle ", "〈": r"\langle ", "〉": r"\rangle ", "⌊": r"\lfloor ", "⌋": r"\rfloor ",
    "⌈": r"\lceil ", "⌉": r"\rceil ", "∠": r"\angle ", "→": r"\to ", "…": "...", "、": ",", "。": ".",
    "°": r"^{\circ}", "º": r"^{\circ}", "′": "'", "’": "'", "‘": "'", "″": "''", "“": '"', "”": '"', "Ω": r"\Omega ",
    "¢": r"\text{ cents}",
    "а": "a", "с": "c", "е": "e", "о": "o", "р": "p", "х": "x", "у": "y", "і": "i", "А": "A", "В": "B", "С": "C",
    "Е": "E", "Н": "H", "К": "K", "М": "M", "О": "O", "Р": "P", "Т": "T", "Х": "X",
}  # fmt: skip
"""Look-alike characters -> what they stand for. The letters from "а" on are Cyrillic."""

for _character in "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅐⅛⅜⅝⅞⅑⅒":  # apart from the number before them: 2½ is not 21/2
    _top, _bottom = Fraction(unicodedata.numeric(_character)).limit_denominator(10).as_integer_ratio()
    _CHARACTERS[_character] = rf" \frac{{{_top}}}{{{_bottom}}}"
_CHARACTER = re.compile("|".join(map(re.escape, sorted(_CHARACTERS, key=len, reverse=True))))
_RAISED, _LOWERED = "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", "₀₁₂₃₄₅₆₇₈₉ₙ"
_SCRIPTS = re.compile(f"[{_RAISED}]+|[{_LOWERED}]+")
_PLAIN = str.maketrans(_RAISED + _LOWERED, "0123456789+-n0123456789n")

_END = r"(?![a-zA-Z])"
_SIZING = (
    r"\\(?:[bB]igg?[lrm]?|(?:display|text|script|scriptscript)style|(?:no)?limits|left\.|right\.|m?left|m?right|middle"
    r"|tiny|small|normalsize|large|Large|LARGE|huge|Huge|mathstrut|strut)" + _END
)
_ROMAN = r"\\(?:mathrm|mathsf|mathtt|textnormal|textup|textbf|textit|textrm|textsf|texttt|emph|mbox|hbox)"
_BOLD = r"\\(?:mathbf|boldsymbol|bm|pmb)"
_HOLDERS = r"\\(?:ensuremath|underline|mathord|mathop|mathbin|mathrel|mathopen|mathclose|fbox|framebox)" + _END
_GAPS = r"\\(?:q?quad|hspace\*?\s*\{[^{}]*\}|hfill)" + _END
_SPACES = r"\\vspace\*?\s*\{[^{}]*\}|\\(?:thin|med|thick|en)space|\\enskip"
_SIZES = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}

_SYNONYMS = {
    **dict.fromkeys(("dfrac", "tfrac", "cfrac", "nicefrac", "sfrac"), r"\frac"),
    **dict.fromkeys(("dbinom", "tbinom"), r"\binom"),
    **dict.fromkeys(("leq", "leqslant"), r"\le"),
    **dict.fromkeys(("geq", "geqslant"), r"\ge"),
    **dict.fromkeys(("varnothing", "O"), r"\emptyset"),
    **{f"var{letter}": rf"\{letter}" for letter in ("epsilon", "phi", "theta", "rho", "pi", "sigma")},
    **dict.fromkeys(("cdot", "ast"), "*"),
    **dict.fromkeys(("lvert", "rvert", "vert", "mid", "lVert", "rVert", "Vert"), "|"),
    **dict.fromkeys(("rm", "bf", "it", "checkmark", "blacksquare", "qed"), ""),
    **{"neq": r"\ne", "lt": "<", "gt": ">", "colon": ":", "div": "/", "lbrace": r"\{", "rbrace": r"\}"},
    **dict.fromkeys(("rightarrow", "longrightarrow"), r"\to"),
    **dict.fromkeys(("implies", "Longrightarrow"), r"\Rightarrow"),
    **dict.fromkeys(("Leftrightarrow", "Longleftrightarrow"), r"\iff"),
    **dict.fromkeys(("backslash", "smallsetminus"), r"\setminus"),
    **dict.fromkeys(("dots", "ldots", "cdots", "dotsc", "dotsb", "dotsm"), "..."),
    **{"land": r"\wedge", "lor": r"\vee", "lnot": r"\neg"},
    "textdollar": r"\$", "lgroup": "(", "rgroup": ")", "lbrack": "[", "rbrack": "]", "overrightarrow": r"\vec",
}  # fmt: skip
"""Command -> what says the same. One pass for all: most texts have none, and each pass reads the whole text."""

Rewrite = tuple[str, re.Pattern[str], str | Callable[[re.Match[str]], str]]
"""Text without which there is nothing to rewrite (that is looked for first), a pattern, and what replaces it."""


def _rewrite(needs: str, pattern: str, by: str | Callable[[re.Match[str]], str]) -> Rewrite:
    if isinstance(by, str) and "\\" in by:
        template = by
        # `sub` looks a template up at each call; a function costs only where there is a match.
        return needs, re.compile(pattern), lambda match: match.expand(template)
    return needs, re.compile(pattern), by


def _join_thousands(match: re.Match[str]) -> str:
    return match.group().replace(",", "").replace(" ", "")


def _large_number(match: re.Match[str]) -> str:
    """Rewrite ``2.5 \\text{ million people}`` to ``2.5 *10^{6} \\text{ people}``."""
    opened, word, closed = match.groups()
    return f" *10^{{{_SIZES[word.lower()]}}} " + (r"\text{" if opened and not closed else closed if not opened else "")


def _repeating(match: re.Match[str]) -> str:
    """Rewrite ``0.1666...`` to ``0.1\\overline{6}``, if the digits at the end do repeat."""
    whole, digits = match["whole"], match["digits"]
    for period in range(1, 13):
        block = digits[-period:]
        copies = 3 if period == 1 else 2
        if len(digits) >= copies * period and digits.endswith(block * copies):
            fixed = digits[: -copies * period]
            while fixed.endswith(block):
                fixed = fixed[:-period]
            return rf"{whole}.{fixed}\overline{{{block}}}"
    return rf"{whole}.{digits}..."


# Order matters: sizing goes before spacing (`\left` before `\le`), spacing before everything that looks at neighbours.
_REWRITES: tuple[Rewrite, ...] = (
    _rewrite("boxed", r"\\boxed(?=\s*\{)", ""),
    _rewrite(
        "",
        r"^\*\*(.*)\*\*$|^`([^`]*)`$|^\"([^\"]*)\"$|^``([^`']*)''$",
        lambda m: next(g for g in m.groups() if g is not None),
    ),
    _rewrite("**", r"^\*\*([a-zA-Z][^*]{0,80})\*\*(?=\s)", r"\1"),
    _rewrite("\\", _SIZING, ""),
    _rewrite("\\", r"(?<!\\)\\[()\[\]]", ""),
    _rewrite("$", r"^([^$]*)(?<!\\)\$(?=\d)([^$]*)$", r"\1\\$\2"),  # one alone opens no formula: dollars
    _rewrite("$", r"(?<!\\)\$", ""),
    _rewrite("\\", _GAPS, r"\\quad "),
    _rewrite("", r"(?:" + _SPACES + r")" + _END + r"|(?<!\\)\\[,;:> ]|~|\\(?:nonumber|notag)" + _END, " "),
    _rewrite("", r"(?<=\d)\{,\}\s?(?=\d{3}(?!\d))|(?<=\d),?\\!\s?(?=\d{3}(?!\d))", ""),
    _rewrite("{:}", r"(?<!\\text)\{:\}", ":"),
    _rewrite("\\", r"(?<!\\)\\!|\\[hv]?phantom\s*\{[^{}]*\}", ""),
    _rewrite("\\", r"\\(?:text)?color\s*\{[^{}]*\}|" + _HOLDERS, ""),
    _rewrite("{", r"(?<![\\^_a-zA-Z}])\{\s?\}", ""),
    _rewrite("\\not", r"\\not\s*(?:=|\\in" + _END + ")", lambda m: r"\ne " if m.group().endswith("=") else r"\notin "),
    _rewrite("\\", r"\\(" + "|".join(_SYNONYMS) + ")" + _END, lambda m: _SYNONYMS[m[1]]),
    _rewrite("\\over", r"\{([^{}]{1,60})\\over" + _END + r"([^{}]{1,60})\}", r"\\frac{\1}{\2}"),
    _rewrite("\\choose", r"\{([^{}]{1,60})\\choose" + _END + r"([^{}]{1,60})\}", r"\\binom{\1}{\2}"),
    _rewrite("\\", _BOLD + r"\s*\{\s*([RZQ])\s*\}", r"\\mathbb{\1}"),
    _rewrite("\\", _BOLD + r"\s*(?:\{\s*([a-df-z])\s*\}|([a-df-z])(?![a-zA-Z]))", r"\\vec{\1\2}"),
    _rewrite("\\", _BOLD + _END, ""),
    _rewrite("{", r"^\{\s*(\([A-J]\))\s*\}", r"\1"),
    _rewrite("mathbb", r"(\\mathbb\s*\{\s*[A-Z]\s*\})\s*-(?=\s*\\\{)", r"\1 \\setminus "),
    _rewrite("\\", _ROMAN + r"\s*\{", r"\\text{"),
    _rewrite("\\mathit", r"\\mathit\s*(?=\{)", ""),
    _rewrite("\\math", r"\\math(cal|bb|frak|scr)\s*([A-Z])", r"\\math\1{\2}"),
    _rewrite("\\operator", r"\\operatorname\*?\s*\{([a-zA-Z]+)\}", r"\\\1 "),
    _rewrite("array", r"\\begin\s*\{array\}\s*\{[lcr| ]*\}", r"\\begin{matrix}"),
    _rewrite("array", r"\\end\s*\{array\}", r"\\end{matrix}"),
    _rewrite("\\\\", r"\\\\\s*\[[\d.]+\s*[a-z]{2}\]", r"\\\\ "),
    _rewrite("<=", r"<=", r"\\le "),
    _rewrite(">=", r">=", r"\\ge "),
    _rewrite("!=", r"!=", r"\\ne "),
    _rewrite("+", r"\+/-|(?:(?<=[=(,{])|^)\s*\+-(?=\s*[\d\\(a-z])", r"\\pm "),
    _rewrite("x", r"(?<=\d)\s?x\s?(?=10\s?\^)", r"\\times "),
    _rewrite("**", r"\*\*", "^"),
    _rewrite("\\prime", r"\^\s*(?:\\prime" + _END + r"|\{\s*\\prime\s*\})", "'"),
    _rewrite("\\", r"\^\s*\{?\s*\\circ" + _END + r"\s*\}?|\\degree" + _END, r"\\degree "),
    _rewrite("deg", r"\\text\s*\{\s*deg(?:ree)?s?\s*\}|(?<=[\d}) ])deg(?:ree)?s?$", r"\\degree "),
    _rewrite(
        "degree",
        r"(?:\\degree|\\text\s*\{\s*degrees?|(?<=\d)\s?degrees?)\s*(?:\\text\s*\{\s*)?(C|F|[Cc]elsius|[Ff]ahrenheit)(?:\s*\}|$)",
        lambda m: r"\text{ celsius}" if m[1][0] in "cC" else r"\text{ fahrenheit}",
    ),
    _rewrite("degree", r"(?<!\d)(\d{1,9})\s?\\degree\s?(\d{1,2})\s?'(?!')", r"(\1+\2/60)\\degree "),
    _rewrite("", r"\\text\s*\{\s*(?:per ?cent|\\?%)\s*\}|(?<!\\)%|(?<=[\d}) ])per ?cent$", r"\\%"),
    _rewrite("d", r"(?<=\d)\s?(\\text\s*\{\s*)?(hundred|thousand)s?(?![a-zA-Z])\s?(\}?)", _large_number),
    _rewrite("illion", r"(?<=\d)\s?(\\text\s*\{\s*)?([mb]illion|trillion)s?(?![a-zA-Z])\s?(\}?)", _large_number),
    _rewrite(".", r"(?<![\d.])(?P<whole>\d{0,30})\.(?P<digits>\d{2,60})\s?\.\.\.", _repeating),
    _rewrite("(", r"(?<=\.)(\d{0,30})\((\d{1,30})\)", r"\1\\overline{\2}"),
    _rewrite(
        "\\dot",
        r"(?<=\.)(\d{0,30})\\dot\s*\{?(\d)\}?(?:(\d{0,30})\\dot\s*\{?(\d)\}?)?(?!\d|\\dot)",
        r"\1\\overline{\2\3\4}",
    ),
    _rewrite("\\|", r"(?<!\\)\\\|", "|"),
    _rewrite("\\quad", r"^\s*\\quad" + _END + r"|\\quad\s*$", ""),
    _rewrite("", r"\s+", " "),
)
PLAIN_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,14})(?:\.[0-9]{1,15})?")
"""What most answers are: one spelling already, with one reading."""

_ABOUT = r"(?:approximately|approx\.?|about|roughly|around)"
_LEADING = re.compile(
    rf"^(?:=|\\(?:approx|therefore|Rightarrow)(?![a-zA-Z])|#+ |\\text\{{\s*{_ABOUT}\s*\}}|{_ABOUT}(?=\s*[-\d\\$.]))\s*",
    re.IGNORECASE,
)
_REASONING = re.compile(
    r"^(?:\\text\{\s*)?(?:(?:so|thus|hence|therefore|(?:we|this) (?:get|gives?|have|find|obtain)|it follows that)\b"
    r"(?: that)?,? ?)+(?=\S)",
    re.IGNORECASE,
)
_ANSWER_IS = re.compile(
    r"^(?P<text>\\text\{\s*)?(?:(?:the |my |our )?(?:final |correct )?"
    r"(?:ans|answer|solution|result|value|option|choice|solution set)(?: is| are|:| =)[: ]*"
    r"|(?:there are|it is) (?=\}? ?\d))"
    r"(?P<closed>\})? ?(?=\S)",
    re.IGNORECASE,
)
_NAMED_CHOICE = re.compile(
    r"^(?:\\text\{\s*)?(?:(?:option|choice|answer) \(?([A-Z])\)?|\(?([A-Z])\)? is correct)\s*\}?$", re.IGNORECASE
)
_TRAILING = re.compile(r"(?:\s|[,;]|(?<!\.\.)\.|\\text\{\s*\.\s*\}|\\)+$", re.IGNORECASE)
_CHOICE = re.compile(
    r"^(?:\\text\{)?\s*(?:\(\s*([A-Za-e])\s*\)|\[\s*([A-Z])\s*\]|([A-Z])\s*[.):])\s*\}?$|^\\text\{\s*([A-Z])\s*\}$"
)
_THOUSANDS = re.compile(
    r"(?<![\d.,\w])\d{1,3}(?:,\d{3})+(?!\d|,\d)|(?<![\d.,\w])(?<![\d,] )\d{1,3}(?: \d{3})+(?![\d/]| \d)"
)
_DOTTED_THOUSANDS = re.compile(r"^-?\d{1,3}(?:\.\d{3}){2,}$")
_TEXT_NUMBER = re.compile(r"^\\text\{([^{}]*\d[^{}]*)\}$")


def normalise(text: str) -> str:
    """Return the one spelling of an answer. Idempotent; `text` is expected to be bounded by the caller.

    Rewrites are applied until nothing changes. A text that has not settled after a fixed number of rounds (only text
    made to be a nuisance does that) is returned with nothing but its white space tidied, so that the cost stays linear.
    """
    if PLAIN_NUMBER.fullmatch(text):
        return text
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
    if text.isascii() and text.isprintable():
        return " ".join(text.split())
    text = _SCRIPTS.sub(_script, text)
    text = _CHARACTER.sub(lambda m: _CHARACTERS[m.group()], text)
    text = unicodedata.normalize("NFC", "".join(map(_compatible, text)))
    text = "".join(c if c.isprintable() else " " if c.isspace() else "" for c in text)
    text = _CHARACTER.sub(lambda m: _CHARACTERS[m.group()], text)
    return " ".join(text.split())


def _compatible(character: str) -> str:
    """Return what a character is a form of (a full-width digit, a bold letter); a small raised letter is its own."""
    return character if unicodedata.category(character) == "Lm" else unicodedata.normalize("NFKC", character)


def _script(match: re.Match[str]) -> str:
    mark = "^" if match.group()[0] in _RAISED else "_"
    return f"{mark}{{{match.group().translate(_PLAIN)}}}"


def _one_round(text: str) -> str:
    text = _tidy(text)
    for needs, pattern, by in _REWRITES:
        if needs in text:
            text = pattern.sub(by, text)
    text = _strip_outer_braces(text.strip())
    text = _drop_wrapping(text)
    text = _TEXT_NUMBER.sub(r"\1", text)
    if choice := _CHOICE.match(text) or _NAMED_CHOICE.match(text):
        return next(group for group in choice.groups() if group).upper()
    text = _strip_end(_TRAILING, text)
    if _DOTTED_THOUSANDS.match(text):
        text = text.replace(".", "")
    return _join_top_level_thousands(text).strip()


def _drop_wrapping(text: str) -> str:
    """Drop what stands before an answer and says nothing: "therefore", "the answer is", a leading "="."""
    text = _REASONING.sub(lambda m: r"\text{" if m.group().startswith("\\") else "", text)
    text = _LEADING.sub("", text)
    said = _ANSWER_IS.match(text)
    return text if said is None else (r"\text{" if said["text"] and not said["closed"] else "") + text[said.end() :]


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
    if "," not in text and " " not in text:
        return text
    pieces: list[str] = []
    depth, start = 0, 0
    for bracket in re.finditer(r"[(\[\])]|\\[{}]", text):
        if depth == 0:
            pieces.append(_THOUSANDS.sub(_join_thousands, text[start : bracket.start()]))
        else:
            pieces.append(text[start : bracket.start()])
        pieces.append(bracket.group())
        depth = depth + 1 if bracket.group() in ("(", "[", r"\{") else max(0, depth - 1)
        start = bracket.end()
    tail = text[start:]
    pieces.append(_THOUSANDS.sub(_join_thousands, tail) if depth == 0 else tail)
    return "".join(pieces)
