r"""A Pratt parser from normalised answer text to `expressions.tree`. What it can't read to the end is `Unreadable`.

Why our own: the libraries that read LaTeX either evaluate what they read (sympy's string parsers, and with them
math_verify's plain-expression path, go through Python source) or compute while they build and know no limits
(latex2sympy2_extended turns ``9^{9^{9}}`` into a sympy power on the spot). Here text becomes inert nodes, limits are
checked on those, and only then may anything be computed. The grammar of final answers is small enough for one screen
per rule.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import TypeGuard

from rzero_mega.grading.expressions.building import apply, inverse, negative, product
from rzero_mega.grading.expressions.functions import GREEK, INVERSES, N_ARY
from rzero_mega.grading.expressions.tree import (
    DEGREE,
    MINUS_ONE,
    Call,
    Constant,
    Group,
    Name,
    Node,
    Number,
    Power,
    Product,
    Quantity,
    Relation,
    Sum,
    Unreadable,
    check_limits,
    children,
    names,
    walk,
)
from rzero_mega.grading.mathematics.relations import REALS, chain, expand_signs, gather, intersection, without
from rzero_mega.grading.syntax.cursor import Cursor, Level
from rzero_mega.grading.syntax.enclosures import items_of, read_environment, read_set
from rzero_mega.grading.syntax.lexer import END, Token, tokenise
from rzero_mega.grading.syntax.names import ACCENTS, derivative, read_accented, read_application, read_name
from rzero_mega.grading.syntax.numerals import read_number, read_numeral, read_parts
from rzero_mega.grading.syntax.quantities import is_prefixed, read_currency, read_quantity, read_unit
from rzero_mega.grading.syntax.sentences import at_equals, read_label, skip_closing_phrase
from rzero_mega.grading.text.units import DEGREES, PERCENT

HALF = Number(Fraction(1, 2))

_RELATIONS = {
    "=": "=", "<": "<", ">": ">", "le": "<=", "ge": ">=", "ne": "!=", "in": "in", "notin": "notin", "approx": "~",
    "equiv": "=",
}  # fmt: skip
_SET_OPERATIONS = {"cup": "union", "cap": "intersection", "setminus": "difference"}
_CLOSERS = {"(": (")", "]"), "[": ("]", ")")}
_BEFORE_FACTORS = frozenset(("frac", "sqrt", "binom", "lfloor", "lceil", "langle", *ACCENTS)) | GREEK
_BARE_LOG = Name("base of log")
"""The base of a logarithm that has none: it isn't guessed, so what holds for every base is equal and nothing else."""


def parse(text: str) -> Node:
    """Return the tree of a normalised answer. Raises `Unreadable` where it isn't an expression or exceeds a limit."""
    return _Parser(tokenise(text)).whole()


class _Parser(Cursor):
    def __init__(self, tokens: list[Token]) -> None:
        super().__init__(tokens)
        self._rules: dict[Level, Callable[[], Node]] = {
            Level.LIST: self._list, Level.RELATION: self._relation, Level.SUM: self._sum,
            Level.PRODUCT: self._product, Level.UNION: lambda: self._grouped(Level.UNION),
            Level.RATIO: lambda: self._grouped(Level.RATIO),
        }  # fmt: skip
        self._bars = 0  # how many |...| are open: there a bar closes instead of opening
        self._functions = 0  # how many function arguments are open
        self._braces = 0  # how many groups in braces are open: no unit stands in there
        self._sets = 0  # how many sets are open: there words may be members
        self._congruent = False

    def whole(self) -> Node:
        """Parse the whole text."""
        label = read_label(self)
        written = self.expression(Level.LIST)
        skip_closing_phrase(self, written)
        if self.peek() is not END:
            raise Unreadable("text left over")
        tree = expand_signs(written if label is None else Relation("=", label, written))
        if self._congruent and not any(isinstance(part, Quantity) and part.unit.modulus for part in walk(tree)):
            raise Unreadable("congruent modulo what")
        check_limits(tree)
        return tree

    def expression(self, level: Level) -> Node:
        """Parse an expression whose operators bind at least as tightly as `level`."""
        return self.deeper(self._rules[level])

    def _list(self) -> Node:
        items = [self.expression(Level.RELATION)]
        connectors = set()
        while self.at(",", ";", "or", "and"):
            start = self.position
            found = {self.next().text}
            while self.at(",", "or", "and"):  # "a, b, or c"
                found.add(self.next().text)
            if self.at("forall") or self.at_word("for", "where"):
                self.position = start
                break
            connectors |= found
            items.append(self.expression(Level.RELATION))
        if {",", ";"} <= connectors:
            raise Unreadable("lists in a list")
        if "or" in connectors and all(isinstance(item, Name) and item.name in "ABCDEFGHIJ" for item in items):
            raise Unreadable("one choice or another")
        return gather(items, connectors)

    def _relation(self) -> Node:
        sides, operators = [self._side()], []
        while self.at(*_RELATIONS) or at_equals(self):
            self._congruent = self._congruent or self.at("equiv")
            operators.append(_RELATIONS.get(self.next().text, "="))
            if self.skip("equal"):
                self.skip("to", ":")
            sides.append(self._side())
        return chain(sides, operators)

    def _side(self) -> Node:
        """Parse one side of a relation with its unit, or with a currency before it."""
        currency = read_currency(self)
        if currency is None:
            return read_quantity(self, self.expression(Level.UNION))
        minus, unit = currency
        value = self.expression(Level.SUM)
        return read_quantity(self, Quantity(negative(value) if minus else value, unit))

    def _grouped(self, level: Level) -> Node:
        """Parse unions, intersections and differences of sets, or ratios ``a : b : c``."""
        inner = Level.RATIO if level == Level.UNION else Level.SUM
        node = self.expression(inner)
        operators = tuple(_SET_OPERATIONS) if level == Level.UNION else (":",)
        while self.at(*operators):
            kind = _SET_OPERATIONS.get(self.next().text, "ratio")
            if kind == "ratio" and self.peek().text.startswith("0") and len(self.peek().text) == 2:
                raise Unreadable("a time of the day")
            right = self.expression(inner)
            flat = node.items if isinstance(node, Group) and node.kind == kind != "difference" else (node,)
            items = tuple(Group("set", item.items) if _is_list(item) else item for item in (*flat, right))
            if kind == "difference":
                node = without(node, right)
            elif kind == "intersection" and (both := intersection(list(items))) is not None:
                node = both
            elif kind == "union" and all(isinstance(item, Group) and item.kind == "set" for item in items):
                node = Group("set", tuple(member for item in items for member in children(item)))
            else:
                node = Group(kind, items)
        return node

    def _sum(self) -> Node:
        terms = [self._signed()]
        while self.at("+", "-", "pm", "mp"):
            terms.append(self._signed())
        return terms[0] if len(terms) == 1 else Sum(tuple(terms))

    def _signed(self) -> Node:
        """Parse a product with the sign in front of it, if there is one."""
        if self.at_word("negative", "minus") and (self.peek(1).value is not None or self.peek(1).kind == "word"):
            self.next()
            return negative(self.expression(Level.PRODUCT))
        if not self.at("+", "-", "pm", "mp"):
            return self.expression(Level.PRODUCT)
        sign = self.next().text
        operand = self.deeper(self._signed)
        if sign in ("pm", "mp"):
            return Call("plus_minus" if sign == "pm" else "minus_plus", (operand,))
        return negative(operand) if sign == "-" else operand

    def _product(self) -> Node:
        factors = [self._factor()]
        while True:
            if self.at("*"):
                self.next()
                factors.append(self._signed_factor())
            elif self.at("/") and not self._unit_begins(factors):
                self.next()
                factors.append(inverse(self._divisor()))
            elif self._starts_factor() and not self._unit_begins(factors):
                self._check_juxtaposed(factors[-1])
                factors.append(self._factor())
            elif sum(isinstance(factor, Name) and factor.name.startswith("vec ") for factor in factors) > 1:
                raise Unreadable("a product of vectors")
            else:
                return product(factors)

    def _check_juxtaposed(self, before: Node) -> None:
        """Raise `Unreadable` for what is no product though nothing stands between: ``2{3}``, ``y^2(0)``, ``E[0]``."""
        digits = self.peek().kind == "number" and getattr(before, "function", "") != "factorial"
        applied = self.at("(", "[") and self.peek(1).kind == "number" and self.peek(2).text in (")", "]")
        applied = applied and self.tokens[self.position - 1].text != ")"
        remark = applied and self.peek().spaced  # 1/2 (0.5)
        braced = self.at("{") and self.peek(1).kind == "number"
        if digits or braced or remark or (applied and names(before)):
            raise Unreadable("side by side")

    def _divisor(self) -> Node:
        """Parse what stands behind a stroke: one factor, of letters all that are written together (``t/RC``)."""
        factors = [self._signed_factor()]
        while isinstance(factors[0], Name) and self.peek().kind == "name" and not self.peek().spaced:
            factors.append(self._factor())
        return product(factors)

    def _unit_begins(self, factors: list[Node]) -> bool:
        """Whether a unit stands here, which ends the product. Of letters without ``\\text`` that takes a number.

        A single letter must stand apart from it: ``5 m`` is a length, ``5m`` a product.
        """
        token = self.peek()
        other = (self.at("frac") and self.peek(1).text == "{" and self.peek(2).roman) or is_prefixed(self)
        other = other or (self.at("(") and self._bracketed_word())
        if self._braces or not (token.glued or other):
            return False
        remark = self.at("(") and token.spaced and isinstance(factors[-1], Number)
        if token.kind == "name" and not token.roman:
            number = len(factors) == 1 and isinstance(factors[0], Number) and len(token.glued) > 1
            if any(map(names, factors)) or not (token.spaced or number):
                return False
        start = self.position
        found = read_unit(self) is not None
        self.position = start
        if remark and not found:
            raise Unreadable("a remark in brackets")
        return found

    def _bracketed_word(self) -> bool:
        """Whether brackets hold nothing but letters, more than one, or begin with a modulus."""
        ahead = 1
        while self.peek(ahead).kind in ("word", "name", "connector") and self.peek(ahead).text != ")":
            ahead += 1
        words = self.peek(ahead).text == ")" and (ahead > 2 or self.peek(1).kind == "word")
        return words or self.peek(1).kind == "word" or self.peek(1).text in ("mod", "pmod")

    def _signed_factor(self) -> Node:
        if self.at("-"):
            self.next()
            return negative(self.deeper(self._signed_factor))
        return self._factor()

    def _starts_factor(self) -> bool:
        token = self.peek()
        if token.kind in ("number", "name", "function", "constant", "styled"):
            return not (token.roman and token.kind == "name" and len(token.text) > 1 and not token.glued)
        if token.kind == "environment":
            return token.text.startswith("\\begin")
        if token.kind == "symbol":
            return token.text in "([{" or (token.text == "|" and not self._bars)
        return token.kind == "command" and (token.text in _BEFORE_FACTORS)

    def _factor(self) -> Node:
        """Parse a primary with its factorials, degree signs and power."""
        node = self.primary()
        while True:
            if self.skip("!"):
                if self.at("!"):
                    raise Unreadable("a double factorial")
                node = Call("factorial", (node,))
            elif self.at("degree", "%"):
                node = self._with_mark(node, self.next().text)
            elif self.at("^"):
                self.next()
                exponent = self.deeper(self.exponent)
                if isinstance(node, Name) and self.skip("_"):  # x^2_1
                    node = Name(f"{node.name}_{self.subscript()}")
                node = Power(node, exponent)
            else:
                return node

    def _with_mark(self, node: Node, mark: str) -> Node:
        if mark == "degree" and self._functions:
            return Product((node, DEGREE))
        return Quantity(node, DEGREES if mark == "degree" else PERCENT)

    def exponent(self) -> Node:
        """Parse what stands behind a ``^``."""
        if self.at("-"):
            self.next()
            return negative(self.deeper(self.exponent))
        if not self.at("{", "(") and self.peek().kind not in ("number", "name", "constant"):
            raise Unreadable("exponent expected")
        plain = self.peek().kind == "number" and self.peek(1).text == "_"  # x^2_1
        exponent = Number(self.next().value or Fraction(0)) if plain else self.primary()
        return Power(exponent, self.deeper(self.exponent)) if self.skip("^") else exponent

    def _braced(self) -> Node:
        self.expect("{")
        self._braces += 1
        node = self.expression(Level.LIST)
        self._braces -= 1
        self.expect("}")
        return node

    def argument(self) -> Node:
        """Parse one argument of a command: a braced group, or one token, of a number its first digit."""
        if self.at("{"):
            return self._braced()
        token = self.peek()
        if token.kind == "number":
            if not token.text.isdigit():
                raise Unreadable("argument expected")
            if len(token.text) > 1:
                self.tokens[self.position] = Token("number", token.text[1:], Fraction(token.text[1:]))
            else:
                self.position += 1
            return Number(Fraction(token.text[0]))
        return self.deeper(self.primary)

    def primary(self) -> Node:
        """Parse the smallest expression that stands here."""
        token = self.next()
        match token.kind:
            case "number":
                return read_number(self, token.value or Fraction(0))
            case "name":
                return read_name(self, token.text)
            case "constant":
                return Constant(token.text)
            case "styled":
                reals = token.text == "bb R" and not self.at("^", "_")
                return REALS if reals else read_application(self, token.text)
            case "word":
                return self._word()
            case "function":
                return self._function(token.text)
            case "environment":
                return read_environment(self, token.text)
            case "command":
                return self._command(token.text)
            case "symbol":
                return self._bracket(token.text)
        raise Unreadable("expression expected")

    def _word(self) -> Node:
        """Read a number in words, or words as a member of a list or set of such; anywhere else they are prose."""
        self.position -= 1
        start = self.position
        value = read_numeral(self)
        if value is not None:
            return Number(read_parts(self, value))
        words: list[str] = []
        while self.peek().kind == "word":
            words.append(self.next().text.casefold())
        if not self._sets or not self.at("}", ",") or self.tokens[start - 1].text not in ("{", ","):
            raise Unreadable("prose")
        return Name("text " + " ".join(words))

    def _function(self, name: str) -> Node:
        if name in N_ARY:
            return Call(N_ARY[name], items_of(self._bracketed_arguments()))
        base = None
        if name == "log" and self.skip("_"):
            base = self._number_or_argument()
        power = None
        if self.skip("^"):
            power = self.deeper(self.exponent)
        self._functions += 1
        argument = self._function_argument()
        self._functions -= 1
        if power == MINUS_ONE:
            if name not in INVERSES:
                raise Unreadable("an inverse that has no name")
            return Call(INVERSES[name], (argument,))
        node = apply(name, argument, _BARE_LOG if name == "log" and base is None else base)
        return node if power is None else Power(node, power)

    def _bracketed_arguments(self) -> Node:
        closer = ")" if self.at("(") else "}"
        if not self.skip("(", "{"):
            raise Unreadable("arguments expected")
        inner = self.expression(Level.LIST)
        self.expect(closer)
        return inner

    def _number_or_argument(self) -> Node:
        token = self.peek()
        if token.kind == "number" and token.value is not None:
            self.position += 1
            return Number(token.value)
        return self.argument()

    def _function_argument(self) -> Node:
        """Parse the argument of a function: a bracketed one, or the product that follows up to the next function."""
        if self.at("(", "{", "["):
            return self.deeper(self.primary)
        if self.skip("-"):
            return negative(self.deeper(self._function_argument))
        factors = [self.deeper(self._factor)]
        while self._starts_factor() and self.peek().kind not in ("function", "number") and not self.at("(", "["):
            if self._unit_begins(factors):
                break
            factors.append(self.deeper(self._factor))
        return product(factors)

    def _command(self, name: str) -> Node:
        if name in GREEK:
            return read_name(self, "\\" + name)
        if name in ACCENTS:
            return read_accented(self, ACCENTS[name])
        match name:
            case "frac":
                top, bottom = self.argument(), self.argument()
                return derivative(top, bottom) or product([top, inverse(bottom)])
            case "binom":
                top = self.argument()
                return Call("binomial", (top, self.argument()))
            case "sqrt":
                return self._root()
            case "{":
                self._sets += 1
                members = read_set(self)
                self._sets -= 1
                return members
            case "emptyset":
                return Group("set", ())
            case "lfloor" | "lceil":
                inner = self.expression(Level.SUM)
                self.expect("r" + name[1:])
                return Call("floor" if name == "lfloor" else "ceiling", (inner,))
            case "langle":
                inner = self.expression(Level.LIST)
                self.expect("rangle")
                return Group("()", items_of(inner))
        raise Unreadable(f"unknown command {name}")

    def _root(self) -> Node:
        degree: Node = Number(Fraction(2))
        if self.skip("["):
            degree = self.expression(Level.SUM)
            self.expect("]")
        radicand = self._number_or_argument()
        if isinstance(degree, Number) and degree.value.denominator == 1 and degree.value % 2 == 1 and degree.value > 1:
            return Call("root", (radicand, degree))
        return Power(radicand, HALF if degree == Number(Fraction(2)) else inverse(degree))

    def _bracket(self, opener: str) -> Node:
        if opener == "{":
            self.position -= 1
            return self._braced()
        if opener == "|":
            self._bars += 1
            inner = self.expression(Level.SUM)
            self._bars -= 1
            self.expect("|")
            return Call("abs", (inner,))
        if opener not in _CLOSERS:
            raise Unreadable("expression expected")
        bars, self._bars = self._bars, 0
        inner = self.expression(Level.LIST)
        self._bars = bars
        if not self.at(*_CLOSERS[opener]):
            raise Unreadable("closing bracket expected")
        kind = opener + self.next().text
        if isinstance(inner, Group) and inner.kind == "list":
            return Group(kind, inner.items)
        if kind not in ("()", "[]"):
            raise Unreadable("half an interval")
        return inner


def _is_list(node: Node) -> TypeGuard[Group]:
    return isinstance(node, Group) and node.kind == "list"
