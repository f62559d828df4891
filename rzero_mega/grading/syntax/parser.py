r"""A Pratt parser from normalised answer text to `rzero_mega.grading.expressions.tree`.

Why our own: the libraries that read LaTeX either evaluate what they read (sympy's string parsers, and with them
math_verify's plain-expression path, go through Python source) or compute while they build and know no limits
(latex2sympy2_extended turns ``9^{9^{9}}`` into a sympy power on the spot). Here text becomes inert nodes, limits are
checked on those, and only then may anything be computed. The grammar of final answers is small enough for one screen
per rule.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from rzero_mega.grading.expressions.building import apply, inverse, negative, product
from rzero_mega.grading.expressions.functions import GREEK, INVERSES, N_ARY
from rzero_mega.grading.expressions.tree import (
    MINUS_ONE,
    Call,
    Constant,
    Group,
    Name,
    Node,
    Number,
    Power,
    Product,
    Sum,
    Unreadable,
    check_limits,
)
from rzero_mega.grading.mathematics.exact import canonical
from rzero_mega.grading.mathematics.relations import chain, expand_signs, gather
from rzero_mega.grading.mathematics.vectors import in_coordinates
from rzero_mega.grading.syntax.cursor import Cursor, Level
from rzero_mega.grading.syntax.enclosures import items_of, read_environment, read_set
from rzero_mega.grading.syntax.lexer import END, Token, tokenise

HALF = Number(Fraction(1, 2))
DEGREE = Product((Constant("pi"), Number(Fraction(1, 180))))
INFINITY = Constant("infinity")

_RELATIONS = {"=": "=", "<": "<", ">": ">", "le": "<=", "ge": ">=", "ne": "!=", "in": "in", "approx": "~"}
_SET_OPERATIONS = {"cup": "union", "cap": "intersection", "setminus": "difference"}
_CLOSERS = {"(": (")", "]"), "[": ("]", ")")}
_AFTER_MEMBERS = ("", "}", ")", ",", "and", "or")
_FUNCTION_LETTERS = "fgFG"
_ACCENTS = ("overline", "bar", "hat", "widehat", "tilde", "widetilde", "vec", "overrightarrow", "overleftrightarrow")
_BEFORE_FACTORS = frozenset(("frac", "sqrt", "binom", "lfloor", "lceil", "langle", *_ACCENTS)) | GREEK
_IGNORED = frozenset(("angle", "triangle"))


@dataclass(frozen=True, slots=True)
class Parsed:
    """One reading of a text: the tree as written, percent and degree signs left off, and the tree of its value.

    percent, degrees: whether such signs stand in it, apart from the arguments of functions.
    """

    tree: Node
    value: Node
    percent: bool
    degrees: bool


def parse(text: str) -> Node:
    """Return the tree of a normalised answer. Raises `Unreadable` where it isn't an expression or exceeds a limit."""
    return _Parser(tokenise(text)).whole()


def readings_of(text: str) -> list[Parsed]:
    """Return the readings of a normalised answer; raises `Unreadable` as `parse` does.

    There is more than one if it has a logarithm without a base, the natural one and the common one, or a letter before
    brackets that is a function or a factor, as in ``g(a - b)``.
    """
    tokens = tokenise(text)
    parser, reading = _read(tokens)
    readings = [reading]
    if parser.bare_log:
        readings.append(_read(tokens, common_log=True)[1])
    if parser.applied:
        readings.append(_read(tokens, multiplied=True)[1])
    return readings


def _read(tokens: list[Token], common_log: bool = False, multiplied: bool = False) -> tuple[_Parser, Parsed]:
    parser = _Parser(tokens, common_log=common_log, multiplied=multiplied)
    value = parser.whole()
    marked = parser.percent or parser.degrees
    tree = _Parser(tokens, True, common_log, multiplied).whole() if marked else value
    return parser, Parsed(tree, value, parser.percent, parser.degrees)


class _Parser(Cursor):
    """bare: percent and degree signs are left off. common_log: a logarithm without a base has base 10.

    multiplied: the letters of functions are factors, unless their argument is a mere variable or number.
    """

    def __init__(
        self, tokens: list[Token], bare: bool = False, common_log: bool = False, multiplied: bool = False
    ) -> None:
        super().__init__([token for token in tokens if not (token.kind == "command" and token.text in _IGNORED)])
        self._bare = bare
        self._common_log = common_log
        self._multiplied = multiplied
        self._bars = 0  # how many |...| are open: there a bar closes instead of opening
        self._functions = 0  # how many function arguments are open
        self.percent = self.degrees = self.bare_log = self.applied = False

    def whole(self) -> Node:
        """Parse the whole text."""
        written = self.expression(Level.LIST)
        if self.peek() is not END:
            raise Unreadable("text left over")
        tree = in_coordinates(expand_signs(written))
        check_limits(tree)
        return tree

    def expression(self, level: Level) -> Node:
        """Parse an expression whose operators bind at least as tightly as `level`."""
        return self.deeper(lambda: self._at_level(level))

    def _at_level(self, level: Level) -> Node:
        match level:
            case Level.LIST:
                return self._list()
            case Level.RELATION:
                return self._relation()
            case Level.UNION | Level.RATIO:
                return self._grouped(level)
            case Level.SUM:
                return self._sum()
            case _:
                return self._product()

    def _list(self) -> Node:
        items = [self.expression(Level.RELATION)]
        connectors = set()
        while self.at(",", ";", "or", "and"):
            connectors.add(self.next().text)
            while self.at(",", "or", "and"):  # "a, b, or c"
                connectors.add(self.next().text)
            items.append(self.expression(Level.RELATION))
        return gather(items, connectors)

    def _relation(self) -> Node:
        sides, operators = [self.expression(Level.UNION)], []
        while self.at(*_RELATIONS):
            operators.append(_RELATIONS[self.next().text])
            sides.append(self.expression(Level.UNION))
        return chain(sides, operators)

    def _grouped(self, level: Level) -> Node:
        """Parse unions, intersections and differences of sets, or ratios ``a : b : c``."""
        inner = Level.RATIO if level == Level.UNION else Level.SUM
        node = self.expression(inner)
        operators = tuple(_SET_OPERATIONS) if level == Level.UNION else (":",)
        while self.at(*operators):
            kind = _SET_OPERATIONS.get(self.next().text, "ratio")
            right = self.expression(inner)
            flat = node.items if isinstance(node, Group) and node.kind == kind != "difference" else (node,)
            node = Group(kind, (*flat, right))
        return node

    def _sum(self) -> Node:
        terms = [self._signed()]
        while self.at("+", "-", "pm", "mp"):
            terms.append(self._signed())
        return terms[0] if len(terms) == 1 else Sum(tuple(terms))

    def _signed(self) -> Node:
        """Parse a product with the sign in front of it, if there is one."""
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
            elif self.at("/"):
                self.next()
                factors.append(inverse(self._signed_factor()))
            elif self._starts_factor():
                if self.peek().kind == "number" and not _is_factorial(factors[-1]):
                    raise Unreadable("two numbers side by side")
                factors.append(self._factor())
            else:
                return product(factors)

    def _signed_factor(self) -> Node:
        if self.at("-"):
            self.next()
            return negative(self.deeper(self._signed_factor))
        return self._factor()

    def _starts_factor(self) -> bool:
        token = self.peek()
        if token.kind in ("number", "name", "function", "constant"):
            return True
        if token.kind == "environment":
            return token.text.startswith("\\begin")
        if token.kind == "symbol":
            return token.text in "({[" or (token.text == "|" and not self._bars)
        return token.kind == "command" and (token.text in _BEFORE_FACTORS)

    def _factor(self) -> Node:
        """Parse a primary with its factorials, degree signs and power."""
        node = self._primary()
        while True:
            if self.at("!"):
                self.next()
                node = Call("factorial", (node,))
            elif self.at("degree", "%"):
                node = self._with_mark(node, self.next().text)
            elif self.at("^"):
                self.next()
                node = Power(node, self.deeper(self._exponent))
            else:
                return node

    def _with_mark(self, node: Node, mark: str) -> Node:
        if mark == "degree" and self._functions:
            return Product((node, DEGREE))
        self.percent = self.percent or mark == "%"
        self.degrees = self.degrees or mark == "degree"
        if self._bare:
            return node
        return product([node, DEGREE if mark == "degree" else Number(Fraction(1, 100))])

    def _exponent(self) -> Node:
        if self.at("{"):
            exponent = self._braced()
            return Power(exponent, self.deeper(self._exponent)) if self._tower() else exponent
        if self.at("-"):
            self.next()
            return negative(self.deeper(self._exponent))
        if self.peek().kind not in ("number", "name", "constant") and not self.at("("):
            raise Unreadable("exponent expected")
        exponent = self._primary()
        return Power(exponent, self.deeper(self._exponent)) if self._tower() else exponent

    def _tower(self) -> bool:
        if not self.at("^"):
            return False
        self.next()
        return True

    def _braced(self) -> Node:
        self.expect("{")
        node = self.expression(Level.LIST)
        self.expect("}")
        return node

    def _argument(self) -> Node:
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
        return self.deeper(self._primary)

    def _primary(self) -> Node:
        token = self.next()
        match token.kind:
            case "number":
                assert token.value is not None
                return self._mixed(token.value)
            case "name":
                return self._name(token.text)
            case "constant":
                return Constant(token.text)
            case "words":
                return self._member(token.text)
            case "function":
                return self._function(token.text)
            case "field":
                return (
                    Group("()", (negative(INFINITY), INFINITY)) if token.text == "R" else Name(f"mathbb {token.text}")
                )
            case "environment":
                return read_environment(self, token.text)
            case "command":
                return self._command(token.text)
            case "symbol":
                return self._bracket(token.text)
        raise Unreadable("expression expected")

    def _member(self, words: str) -> Node:
        """Read words as a member of a list or set of such; anywhere else they are prose."""
        before = self.tokens[self.position - 2] if self.position > 1 else END
        after = self.peek()
        if (
            before is after is END
            or before.text not in ("", "{", "(", ",", "and", "or")
            or after.text not in _AFTER_MEMBERS
        ):
            raise Unreadable("prose")
        return Name(f"text {words}")

    def _mixed(self, whole: Fraction) -> Node:
        r"""Read ``2\frac{1}{2}`` and ``2 1/2`` as two and a half; any other number is itself."""
        start = self.position
        if whole.denominator == 1 and self.at("frac"):
            self.next()
            top, bottom = self._argument(), self._argument()
            if isinstance(top, Number) and isinstance(bottom, Number) and 0 < top.value < bottom.value:
                return Number(whole + top.value / bottom.value)
            self.position = start
            return Number(whole)
        ahead = self.tokens[start : start + 3]
        if whole.denominator == 1 and len(ahead) == 3 and ahead[0].after_space and ahead[1].text == "/":
            top_value, bottom_value = ahead[0].value, ahead[2].value
            if top_value is not None and bottom_value is not None and 0 < top_value < bottom_value:
                self.position += 3
                return Number(whole + top_value / bottom_value)
        return Number(whole)

    def _name(self, name: str) -> Node:
        if name in ("e", "i") and not self.at("_", "'"):
            return Constant(name)
        if self.at("_"):
            self.next()
            name += "_" + self.subscript()
        while self.at("'"):
            name += self.next().text
        return self._application(name)

    def _application(self, name: str) -> Node:
        """Read ``f(x)`` and ``f^{-1}(x)`` as one name, which has no part in arithmetic; any other name is itself.

        Other letters before a bracket are factors: ``a(b + c)``.
        """
        start = self.position
        if name[0] not in _FUNCTION_LETTERS:
            return Name(name)
        if self.at("^"):
            self.next()
            if self.deeper(self._exponent) != MINUS_ONE:
                self.position = start
                return Name(name)
            name += "^-1"
        if not self.at("("):
            self.position = start
            return Name(name.removesuffix("^-1"))
        bracket = self.position
        argument = self.deeper(self._primary)
        if isinstance(argument, Sum | Product):
            self.applied = True
            if self._multiplied:
                self.position = bracket
                return Name(name)
        return Name(f"{name}{canonical(argument)}")

    def _function(self, name: str) -> Node:
        if name in N_ARY:
            return Call(N_ARY[name], items_of(self._bracketed_arguments()))
        base = None
        if name == "log" and self.at("_"):
            self.next()
            base = self._number_or_argument()
        power = None
        if self.at("^"):
            self.next()
            power = self.deeper(self._exponent)
        self._functions += 1
        argument = self._function_argument()
        self._functions -= 1
        if power == MINUS_ONE and name in INVERSES:
            return Call(INVERSES[name], (argument,))
        if name == "log" and base is None:
            self.bare_log = True
            base = Number(Fraction(10)) if self._common_log else None
        node = apply(name, argument, base)
        return node if power is None else Power(node, power)

    def _bracketed_arguments(self) -> Node:
        closer = ")" if self.at("(") else "}"
        if not self.at("(", "{"):
            raise Unreadable("arguments expected")
        self.next()
        inner = self.expression(Level.LIST)
        self.expect(closer)
        return inner

    def _number_or_argument(self) -> Node:
        token = self.peek()
        if token.kind == "number" and token.value is not None:
            self.position += 1
            return Number(token.value)
        return self._argument()

    def _function_argument(self) -> Node:
        """Parse the argument of a function: a bracketed one, or the product that follows up to the next function."""
        if self.at("(", "{", "["):
            return self.deeper(self._primary)
        if self.at("-"):
            self.next()
            return negative(self.deeper(self._function_argument))
        factors = [self.deeper(self._factor)]
        while self._starts_factor() and self.peek().kind not in ("function", "number") and not self.at("(", "["):
            factors.append(self.deeper(self._factor))
        return product(factors)

    def _command(self, name: str) -> Node:
        if name in GREEK:
            return self._name("\\" + name)
        if name in _ACCENTS:
            return self._accented(name)
        match name:
            case "frac":
                top = self._argument()
                return product([top, inverse(self._argument())])
            case "binom":
                top = self._argument()
                return Call("binomial", (top, self._argument()))
            case "sqrt":
                return self._root()
            case "{":
                return read_set(self)
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
        if self.at("["):
            self.next()
            degree = self.expression(Level.SUM)
            self.expect("]")
        radicand = self._number_or_argument()
        if isinstance(degree, Number) and degree.value.denominator == 1 and degree.value % 2 == 1 and degree.value > 1:
            return Call("root", (radicand, degree))
        return Power(radicand, HALF if degree == Number(Fraction(2)) else inverse(degree))

    def _accented(self, accent: str) -> Node:
        r"""Read ``\\vec{v}`` and ``\\overline{AB}``, whose marks are left off as often as not, and ``\\bar{x}``."""
        node = self._argument()
        if not isinstance(node, Name | Constant):
            raise Unreadable("accent on an expression")
        if accent in ("vec", "overrightarrow", "overleftrightarrow") or (len(node.name) > 1 and node.name.isupper()):
            return node
        return Name(f"{accent} {node.name}")

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


def _is_factorial(node: Node) -> bool:
    return isinstance(node, Call) and node.function == "factorial"
