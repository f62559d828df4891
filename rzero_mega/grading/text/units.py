r"""Units of measurement: what a unit is called, what it measures, and how large it is.

Conventions of this grader, for both answers alike:

- a unit, a percent sign or a degree sign may be left off: ``5 cm`` agrees with ``5``, ``50\%`` with ``50``;
- two units of one dimension are converted: ``100 cm`` is ``1 m``, ``5 cm`` is not ``5 m``; a unit this table doesn't
  know (``12 apples``) is a dimension of its own;
- percent and degrees are numbers (``50\%`` is ``1/2``, ``180^\circ`` is ``\pi``), so beside a number without a unit
  they may also stand for their value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Final, TypeAlias

Powers: TypeAlias = tuple[tuple[str, int], ...]

_TABLE: Final = """
m meter metre; length 1
in inch inche inches; length 0.0254
ft foot feet; length 0.3048
yd yard; length 0.9144
mi mile; length 1609.344
g gram gramme; mass 1/1000
t tonne; mass 1000
lb pound lbs; mass 0.45359237
oz ounce; mass 0.028349523125
s sec second; time 1
min minute mins; time 60
h hour hr hrs; time 3600
d day; time 86400
week wk; time 604800
month; month 1
yr year; month 12
l liter litre; length^3 1/1000
gal gallon; length^3 0.003785411784
quart qt; length^3 0.000946352946
pint pt; length^3 0.000473176473
hectare ha; length^2 10000
acre; length^2 4046.8564224
mph; length/time 0.44704
kph kmph; length/time 5/18
hz hertz; 1/time 1
n newton; mass*length/time^2 1
j joule; mass*length^2/time^2 1
w watt; mass*length^2/time^3 1
pa pascal; mass/length/time^2 1
v volt; voltage 1
a amp ampere; current 1
ohm; voltage/current 1
c celsius; celsius 1
f fahrenheit; fahrenheit 1
k kelvin; kelvin 1
mol mole; mol 1
dollar usd buck; dollar 1
cent; dollar 1/100
euro eur; euro 1
sterling gbp quid; sterling 1
rupee inr rs; rupee 1
"""
_PREFIXES: Final = {"k": 3, "c": -2, "m": -3, "d": -1, "µ": -6, "n": -9, "M": 6, "G": 9}
_LONG_PREFIXES: Final = {
    "kilo": 3, "centi": -2, "milli": -3, "deci": -1, "micro": -6, "nano": -9, "mega": 6, "giga": 9,
}  # fmt: skip
_SHORT: Final = {exponent: prefix for prefix, exponent in _PREFIXES.items()}
_PREFIXED_WORDS = """
m g s l n j w pa v a hz ohm meter metre gram liter litre second newton joule watt hertz
"""
_PREFIXED: Final = frozenset(_PREFIXED_WORDS.split())
_UPPER: Final = frozenset(("N", "J", "W", "V", "A", "C", "F", "K", "L"))
"""Symbols that stand for a unit as capitals only, ``l`` apart; in lower case they are letters like any other."""

_NOTHING_WORDS = """
unit way solution time value number element integer term digit point root item outcome case pair
"""
NOTHING: Final = frozenset(_NOTHING_WORDS.split())
"""Words after a number that say no more than that it counts something; ``7 units`` is the number 7."""

_WORDS_OF_SENTENCES_WORDS = """
or and is if mod to out for with no not the a an than of at by on are when where such that all any least most less more
greater equal except but only real
"""
WORDS_OF_SENTENCES: Final = frozenset(_WORDS_OF_SENTENCES_WORDS.split())


@dataclass(frozen=True, slots=True)
class _Meaning:
    symbol: str
    powers: Powers
    size: Fraction


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit.

    name: one spelling per unit. dimension: what it measures, the same for all units that can be converted into each
    other. scale: its size in base units. number: whether a quantity in it is a plain number too (percent, an angle).
    """

    name: str
    dimension: str
    scale: Fraction = Fraction(1)
    number: bool = False


PERCENT: Final = Unit("percent", "", Fraction(1, 100), number=True)
DEGREE: Final = Unit("degree", "", number=True)
RADIAN: Final = Unit("radian", "", number=True)


def _known() -> dict[str, _Meaning]:
    known: dict[str, _Meaning] = {}
    for line in _TABLE.strip().splitlines():
        spellings, _, meaning = line.partition("; ")
        dimension, size = meaning.split()
        powers = _powers_of(dimension)
        symbol = spellings.split()[0]
        for spelling in spellings.split():
            known[spelling] = _Meaning(symbol, powers, Fraction(size))
            if spelling in _PREFIXED:
                for prefix, exponent in (
                    _PREFIXES if len(spelling) <= 2 or spelling == "ohm" else _LONG_PREFIXES
                ).items():
                    larger = Fraction(size) * Fraction(10) ** exponent
                    known.setdefault(prefix + spelling, _Meaning(_SHORT[exponent] + symbol, powers, larger))
    return known


def _powers_of(dimension: str) -> Powers:
    powers: dict[str, int] = {}
    for sign, name, exponent in re.findall(r"([*/]?)(\w+)(?:\^(\d))?", dimension):
        if name != "1":
            powers[name] = powers.get(name, 0) + (-1 if sign == "/" else 1) * int(exponent or 1)
    return tuple(sorted(powers.items()))


_KNOWN: Final = _known()


def singular(word: str) -> str:
    """Return the spelling of a word under which the table would have it."""
    bare = word.rstrip(".").replace(".", "")
    if bare in _KNOWN or (bare in _UPPER and bare.lower() in _KNOWN):
        return bare if bare in _KNOWN else bare.lower()
    for spelling in (bare.lower(), bare.lower().removesuffix("s"), bare[:-1] if bare.endswith("s") else bare):
        if spelling in _KNOWN and (len(spelling) > 1 or len(bare) == 1 or spelling == "l"):
            return spelling
    lower = bare.lower()
    if lower.endswith("ies") and len(lower) > 4:
        return lower[:-3] + "y"
    return lower[:-1] if lower.endswith("s") and not lower.endswith("ss") and len(lower) > 2 else lower


def is_known(word: str) -> bool:
    """Whether a word (or symbol of more than one letter) is in the table."""
    return singular(word) in _KNOWN or singular(word) in ("radian", "rad")


_FACTOR = re.compile(
    r"(?P<operator>[/*]?)(?P<word>[^\W\d_.][^\W\d_]*(?:\.[^\W\d_]+)*\.?|µ[a-zA-Z]+)(?:\^(?P<power>-?\d))?\s*"
)
_ENLARGED = {"square": 2, "sq": 2, "cubic": 3, "cu": 3}


@lru_cache(maxsize=2048)
def read_unit(text: str) -> Unit | None:
    """Read a unit such as ``km/h``, ``square feet``, ``m s^-2`` or ``apples``; None if `text` isn't one.

    The unit of mere words (``7 units``) is `NO_UNIT`.
    """
    powers: dict[str, int] = {}
    symbols: dict[str, int] = {}
    scale = Fraction(1)
    factors = list(_factors(re.sub(r"\s*([/*^])\s*", r"\1", re.sub(r"\b(?:per|an?)\b", "/", text)).strip()))
    if not factors or len(factors) > 6 or factors == [("", 0)]:
        return None
    for word, power in factors:
        if word in NOTHING:
            continue
        if word in ("radian", "rad"):
            return RADIAN if len(factors) == 1 else None
        meaning = _KNOWN.get(word) or _Meaning(word, ((word, 1),), Fraction(1))
        symbols[meaning.symbol] = symbols.get(meaning.symbol, 0) + power
        scale *= meaning.size**power
        for name, exponent in meaning.powers:
            powers[name] = powers.get(name, 0) + exponent * power
    if not symbols:
        return NO_UNIT
    return Unit(_joined(symbols), _joined(powers), scale)


def _joined(powers: dict[str, int]) -> str:
    return "*".join(f"{name}^{power}" if power != 1 else name for name, power in sorted(powers.items()) if power)


NO_UNIT: Final = Unit("", "")


def _factors(text: str) -> Iterator[tuple[str, int]]:
    """Yield the factors of a unit with their exponents; a factor without a word if `text` can't be read."""
    position, enlarged, below = 0, 1, False
    while position < len(text):
        match = _FACTOR.match(text, position)
        if match is None:
            yield "", 0
            return
        position = match.end()
        word, sign = match["word"], -1 if match["operator"] == "/" or below else 1
        below = below and not match["operator"]
        if word.rstrip(".").lower() in _ENLARGED:
            enlarged, below = _ENLARGED[word.rstrip(".").lower()], sign < 0
            continue
        yield singular(word), sign * int(match["power"] or 1) * enlarged
        enlarged, below = 1, False
