"""The unit after a value. Two answers with different units differ; one without a unit agrees with any."""

from __future__ import annotations

import re
from typing import Final

from rzero_mega.grading.functions import CONSTANTS, N_ARY, UNARY

_SPELLINGS: Final = """
mm: millimeter millimetre
cm: centimeter centimetre
m: meter metre
km: kilometer kilometre
in: inch inche
ft: foot feet
yd: yard
mi: mile
mg: milligram
g: gram
kg: kilogram
lb: pound lbs
oz: ounce
s: sec second
min: minute mins
h: hour hr hrs
day:
week:
month:
year: yr
ml: milliliter millilitre
l: liter litre
mph:
hz: hertz
j: joule
w: watt
v: volt
n: newton
cent:
am: a.m.
pm: p.m.
: unit dollar usd buck radian rad way solution
"""
_ALIASES: Final = {
    spelling: unit
    for unit, _, others in (line.partition(":") for line in _SPELLINGS.strip().splitlines())
    for spelling in (unit, *others.split())
}
"""Spelling (singular) -> unit; the empty unit is no unit."""

_WORDS = r"[a-zA-Z.]+(?:[ /*][a-zA-Z.]+){0,3}"
_POWER = r"(?:\s*\^\s*(?:\{\s*(?P<braced>-?[1-4])\s*\}|(?P<bare>[1-4])))?"
_IN_TEXT = re.compile(
    rf"(?<=[\d}})a-zA-Z])\s*\\text\s*\{{\s*(?P<unit>{_WORDS}){_POWER}\s*\}}(?:\s*\^\s*\{{?(?P<outer>[1-4])\}}?)?$"
)
_BARE = re.compile(rf"(?<=[\d}})])(?P<space>\s*)(?P<unit>[a-zA-Z]{{2,}}(?:[ /][a-zA-Z]+){{0,3}}){_POWER}$")
_BASE = re.compile(r"^(?P<digits>[0-9A-F]+)_(?:\{(?P<braced>\d{1,2})\}|(?P<bare>\d{1,2}))$")
_PLAIN_NUMBER = re.compile(r"[-+]?[\d.,/ ]+|[-+]?\d*\s*\\frac\{\d+\}\{\d+\}")
_CONNECTIVES = frozenset(("sqrt", "or", "and", "is", "if", "mod", "to", "out", "for", "with", "no", "not"))
_NOT_UNITS: Final = (frozenset((*UNARY, *N_ARY, *CONSTANTS)) | _CONNECTIVES) - {"min"}


def split_unit(text: str) -> tuple[str, str]:
    """Return a normalised answer without its trailing unit, and the unit ("" if there is none).

    The base of a numeral (``1011_2``) counts as a unit. A word after a plain number is a unit (``12 apples``); after
    anything else only a known unit is.
    """
    if base := _BASE.match(text):
        return base["digits"], f"base {base['braced'] or base['bare']}"
    match = _IN_TEXT.search(text)
    if match is not None and not _NOT_UNITS.intersection(match["unit"].lower().split()):
        power = match["braced"] or match["bare"] or match["outer"] or ""
        return text[: match.start()].strip(), canonical_unit(match["unit"], power)
    match = _BARE.search(text)
    if match is None:
        return _split_quotient(text)
    words, head = match["unit"].lower().split(), text[: match.start()].strip()
    known = canonical_unit(match["unit"], "") in _ALIASES.values() or words[0] in ("square", "sq", "cubic")
    plain = bool(match["space"]) and _PLAIN_NUMBER.fullmatch(head) is not None
    if not (known or plain) or _NOT_UNITS.intersection(words):
        return text, ""
    return head, canonical_unit(match["unit"], match["braced"] or match["bare"] or "")


def _split_quotient(text: str) -> tuple[str, str]:
    """Split off a quotient of two short units, as in ``20 m/s``, which unlike ``20 x/y`` is no expression."""
    head, _, tail = text.rpartition(" ")
    parts = tail.split("/")
    if len(parts) == 2 and all(_ALIASES.get(part) for part in parts) and _PLAIN_NUMBER.fullmatch(head):
        return head, canonical_unit(tail, "")
    return text, ""


def canonical_unit(words: str, power: str) -> str:
    """Return one spelling for a unit: ``square centimeters``, ``sq cm`` and ``cm`` with power 2 are ``cm^2``."""
    parts = words.lower().replace(" per ", "/").split()
    if parts and parts[0] in ("square", "sq", "sq.", "cubic"):
        power = "3" if parts[0] == "cubic" else "2"
        parts = parts[1:]
    spelt = "/".join(_singular(part) for part in " ".join(parts).split("/"))
    return f"{spelt}^{power}" if power not in ("", "1") and spelt else spelt


def _singular(word: str) -> str:
    word = word.strip()
    if word in _ALIASES:
        return _ALIASES[word]
    bare = word.rstrip(".")
    if bare in _ALIASES:
        return _ALIASES[bare]
    single = bare[:-1] if bare.endswith("s") and len(bare) > 2 else bare
    return _ALIASES.get(single, single)
