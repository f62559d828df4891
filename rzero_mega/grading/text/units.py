r"""Units of measurement and what is counted, a closed list; a word that isn't here is no unit.

Conventions of this grader, for both answers alike:

- a unit, a percent sign or a degree sign may be left off: ``5 cm`` agrees with ``5``, ``50\%`` with ``50``;
- two units of one dimension are converted: ``100 cm`` is ``1 m``, ``5 cm`` is not ``5 m``; what is counted (``12
  apples``) is a dimension of its own;
- percent and degrees are numbers (``50\%`` is ``1/2``, ``180^\circ`` is ``\pi``), so beside a number without a unit
  they may also stand for their value.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, TypeAlias

from rzero_mega.grading.expressions.tree import Unit

Powers: TypeAlias = tuple[tuple[str, int], ...]

_TABLE: Final = """
m meter metre; length 1
in inch; length 0.0254
ft foot feet; length 0.3048
yd yard; length 0.9144
mi mile; length 1609.344
angstrom; length 1/10000000000
g gram gramme; mass 1/1000
t tonne; mass 1000
ton; ton 1
lb pound; mass 0.45359237
oz ounce; mass 0.028349523125
s sec second; time 1
min minute; time 60
h hour hr; time 3600
d day; time 86400
week wk; time 604800
month; month 1
yr year; month 12
l liter litre; length^3 1/1000
gal gallon; length^3 0.003785411784
quart qt; length^3 0.000946352946
pint pt; length^3 0.000473176473
cup; cup 1
hectare ha; length^2 10000
acre; length^2 4046.8564224
mph; length/time 0.44704
kph kmph; length/time 5/18
hz hertz; 1/time 1
n newton; mass*length/time^2 1
j joule; mass*length^2/time^2 1
erg; mass*length^2/time^2 1/10000000
ev; electronvolt 1
cal; calorie 1
w watt; mass*length^2/time^3 1
pa pascal; mass/length/time^2 1
v volt; voltage 1
a amp ampere; current 1
ohm; voltage/current 1
c coulomb; charge 1
celsius; celsius 1
f fahrenheit; fahrenheit 1
k kelvin; kelvin 1
mol mole; mol 1
bit; bit 1
byte; bit 8
dollar usd buck; dollar 1
cent; dollar 1/100
euro eur; euro 1
sterling gbp quid; sterling 1
rupee inr rs; rupee 1
yen; yen 1
rad radian; radian 1
"""
_COUNTED: Final = """
adult animal apple arrangement atom bag ball balloon banana bead bean bill bird block boat book bottle bouquet bowl
box boy brick bus button cake can candie candy car card case cat chair cherry chicken child chocolate class classroom
coin color colour combination cookie cow cracker crate crayon cube cupcake customer cyclist desk digit dog doll duck
egg element employee envelope error family fish flower friend frog game girl glass goat grape group guest house human
integer item jar key kid lemon letter level lollipop machine magnitude man marble marker member muffin number orange
outcome outfit package page painting pair pancake paper parent passenger pear pen pencil penny people permutation
photo photon picture pie piece pig pizza plant plate player plum point potato present problem quarter question rabbit
ribbon room rose row seat seed sheet shelf shell shirt shoe side slice solution song stamp star step stick sticker
stone strawberry student subset sweet table team term ticket tile toy train tree trip truck unit value vote way wheel
window woman word worker
"""
ENLARGED: Final = {"square": 2, "sq": 2, "cubic": 3, "cu": 3}
CURRENCIES: Final = {"$": "dollar", "€": "euro", "£": "sterling", "¥": "yen", "₹": "rupee"}
CURRENCY_WORDS: Final = frozenset(("rs", "inr", "usd", "eur", "gbp"))
_PREFIXES: Final = {"k": 3, "c": -2, "m": -3, "d": -1, "µ": -6, "n": -9, "M": 6, "G": 9}
_LONG_PREFIXES: Final = {
    "kilo": 3, "centi": -2, "milli": -3, "deci": -1, "micro": -6, "nano": -9, "mega": 6, "giga": 9,
}  # fmt: skip
_SHORT: Final = {exponent: prefix for prefix, exponent in _PREFIXES.items()}
_PREFIXED_WORDS = """
m g s l n j w pa v a hz ohm ev cal mol meter metre gram liter litre second newton joule watt hertz volt
"""
_PREFIXED: Final = frozenset(_PREFIXED_WORDS.split())
_UPPER: Final = frozenset(("N", "J", "W", "V", "A", "C", "F", "K", "L", "Hz", "Pa", "eV"))
"""Symbols that stand for a unit as capitals only, ``l`` apart; in lower case they are letters like any other."""
_CAPITALS: Final = {symbol.lower(): symbol for symbol in _UPPER}
LONE_LETTERS: Final = frozenset("mgshLNJWV")
"""Letters that are a unit behind a number and a space without ``\\text``; they may be a variable there, too."""


@dataclass(frozen=True, slots=True)
class Measure:
    """What a unit's symbol stands for: its one spelling, the powers of base dimensions, its size in base units."""

    symbol: str
    powers: Powers
    size: Fraction


def _known() -> dict[str, Measure]:
    known: dict[str, Measure] = {}
    for line in _TABLE.strip().splitlines():
        spellings, _, meaning = line.partition("; ")
        dimension, size = meaning.split()
        powers = _powers_of(dimension)
        symbol = spellings.split()[0]
        for spelling in spellings.split():
            known[spelling] = Measure(symbol, powers, Fraction(size))
            if spelling in _PREFIXED:
                prefixes = _PREFIXES if len(spelling) <= 2 or spelling in ("ohm", "cal", "mol") else _LONG_PREFIXES
                for prefix, exponent in prefixes.items():
                    larger = Fraction(size) * Fraction(10) ** exponent
                    meant = Measure(_SHORT[exponent] + symbol, powers, larger)
                    known.setdefault(prefix + spelling, meant)
                    known.setdefault(prefix + _CAPITALS.get(spelling, spelling), meant)
    for word in _COUNTED.split():
        known.setdefault(word, Measure(word, ((word, 1),), Fraction(1)))
    return known


def _powers_of(dimension: str) -> Powers:
    powers: dict[str, int] = {}
    for sign, name, exponent in re.findall(r"([*/]?)(\w+)(?:\^(\d))?", dimension):
        if name != "1":
            powers[name] = powers.get(name, 0) + (-1 if sign == "/" else 1) * int(exponent or 1)
    return tuple(sorted(powers.items()))


_KNOWN: Final = _known()
_IRREGULAR: Final = {
    "men": "man",
    "women": "woman",
    "children": "child",
    "shelves": "shelf",
    "persons": "people",
    "person": "people",
}


def measure(word: str) -> Measure | None:
    """Return what a word or symbol measures; None if it is no unit. Raises nothing for any text."""
    bare = word.rstrip(".").replace(".", "")
    if bare in _UPPER:
        return _KNOWN[bare.lower()]
    if bare in _KNOWN:
        return None if bare.upper() in _UPPER and bare != "l" and len(bare) == 1 else _KNOWN[bare]
    lower = _IRREGULAR.get(bare.lower(), bare.lower())
    for spelling in (lower, lower.removesuffix("s"), lower.removesuffix("es"), re.sub("ies$", "y", lower)):
        if len(spelling) > 1 and spelling in _KNOWN:
            return _KNOWN[spelling]
    return None


def unit_of(factors: list[tuple[str, int]]) -> Unit | None:
    """Return the unit that is a product of powers of known words; None if one is unknown."""
    powers: dict[str, int] = {}
    symbols: dict[str, int] = {}
    scale = Fraction(1)
    for word, power in factors:
        if word == "old" and symbols:  # "years old"
            continue
        meaning = measure(word)
        if meaning is None:
            return None
        symbols[meaning.symbol] = symbols.get(meaning.symbol, 0) + power
        scale *= meaning.size**power
        for name, exponent in meaning.powers:
            powers[name] = powers.get(name, 0) + exponent * power
    if symbols == {"rad": 1}:
        return RADIAN
    return Unit(_joined(symbols), _joined(powers), scale)


def base_unit(base: str) -> Unit:
    """Return what marks a numeral in a base: like a unit it may be left off, and is never converted."""
    return Unit(f"base {base}", f"base {base}")


def _joined(powers: dict[str, int]) -> str:
    return "*".join(f"{name}^{power}" if power != 1 else name for name, power in sorted(powers.items()) if power)


PERCENT: Final = Unit("percent", "", Fraction(1, 100), number=True)
DEGREES: Final = Unit("degree", "", number=True)
RADIAN: Final = Unit("radian", "", number=True)
