r"""Numerals in a base (``1011_2``) and residues (``3 \pmod 7``): a text, and the number or class it stands for."""

from __future__ import annotations

import re
from dataclasses import dataclass

_MAX_CHARS = 300
_NAMES = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
          "twelve": 12, "sixteen": 16, "binary": 2, "octal": 8, "decimal": 10, "hex": 16}  # fmt: skip
_DIGITS = r"(?P<sign>-?) ?(?:\\text ?\{ ?)?(?P<digits>[0-9A-Za-z]+) ?\}?"
_SUBSCRIPT = re.compile(_DIGITS + r" ?_ ?\{? ?\(?(?:\\text ?\{)? ?(?:base )?(?P<base>\d{1,2}|[a-z]+) ?\}?\)? ?\}?")
_IN_WORDS = re.compile(
    _DIGITS + r" ?(?:\\text ?\{)? ?\(? ?(?:in )?base[ -]?\}? ?(?P<base>\d{1,2}|[a-z]+) ?\}? ?\)? ?\}?"
)
_MODULUS = re.compile(
    r"(?:\( ?)?(?:\\pmod|\\bmod|\\mod|\\text ?\{ ?\(? ?mod(?:ulo)?(?: ?\})?|\bmod(?:ulo)?(?![a-zA-Z]))"
    r" ?\{? ?(?P<modulus>\d{1,18}|[a-zA-Z]) ?\}? ?\)? ?\}?$"
)


@dataclass(frozen=True, slots=True)
class Numeral:
    """Digits as written, their base, and the number they stand for."""

    digits: str
    base: int
    value: int


def read_numeral(text: str) -> Numeral | None:
    """Read a numeral with its base; None if it is none, or has a digit that its base has not."""
    if len(text) > _MAX_CHARS or ("_" not in text and "base" not in text):
        return None
    match = _SUBSCRIPT.fullmatch(text) or _IN_WORDS.fullmatch(text)
    if match is None:
        return None
    digits, name = match["digits"], match["base"]
    base = int(name) if name.isdigit() else _NAMES.get(name, 0)
    if not 2 <= base <= 36 or not (any(map(str.isdigit, digits)) or digits.isupper()):
        return None
    values = [int(digit, 36) for digit in digits]
    if max(values) >= base:
        return None
    value = 0
    for digit in values:
        value = value * base + digit
    sign = match["sign"]
    return Numeral(sign + digits.upper().lstrip("0") if digits.strip("0") else "0", base, -value if sign else value)


def split_modulus(text: str) -> tuple[str, str] | None:
    r"""Return what stands before ``\pmod m`` at the end of a normalised answer, and m; None if there is none."""
    if "mod" not in text[-_MAX_CHARS:]:
        return None
    match = _MODULUS.search(text, max(0, len(text) - 60))
    if match is None or not text[: match.start()].strip():
        return None
    return re.sub(r"\\equiv(?![a-zA-Z])", "=", text[: match.start()]).strip(), match["modulus"]
