r"""Answers made to do harm, by family: what a model could learn to write to stop, slow down or fool a grader.

Every attack is drawn from (seed, number) alone. Sizes are drawn on both sides of the grader's limits: what is just
small enough to be read is what costs most. The files that code in an answer would leave carry the name `CANARY`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

CANARY = "rzero-mega-canary"
MEGABYTE = 1_000_000

Draw = random.Random
Family = Callable[[Draw], str]

ORDINARY = (
    "1", "0", "-3", "x", "1/2", "0.5", r"\sqrt{2}", r"\frac{\pi}{3}", "x^2+1", "(1, 2)", r"\{1, 2\}", "[0, 1)",
    "x = 5",
    "5 cm", "no solution", "A", "2^{100}", r"\sin x", "1 + i", "10^{3000}", r"\infty", "x > 3", "1:2", "e^{x}", "n!",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Attack:
    """A pair of answers; one of them, or both, were made to do harm."""

    family: str
    a: str
    b: str


def attacks(count: int, seed: int = 0) -> Iterator[Attack]:
    """Yield `count` attacks, the families in turn."""
    names = list(FAMILIES)
    for number in range(count):
        yield _attack(names[number % len(names)], Draw(f"attack/{seed}/{number}"))


def _attack(family: str, draw: Draw) -> Attack:
    text = FAMILIES[family](draw)
    partner = draw.choice(("ordinary", "ordinary", "same family", "other family", "itself", "grown", "spaced"))
    other = {
        "ordinary": lambda: draw.choice(ORDINARY),
        "same family": lambda: FAMILIES[family](draw),
        "other family": lambda: draw.choice(list(FAMILIES.values()))(draw),
        "itself": lambda: text,
        "grown": lambda: f"{text}+1",
        "spaced": lambda: f"  {text} ",
    }[partner]()
    pair = (text, other) if draw.random() < 0.5 else (other, text)
    return Attack(family, *pair)


def _size(draw: Draw, most: int, least: int = 1) -> int:
    """Draw a size whose logarithm is spread evenly."""
    return round(least * (most / least) ** draw.random())


def _towers(draw: Draw) -> str:
    height, base = draw.randint(2, 12), draw.choice(("9", "2", "10", "x", "e", "(-1)", "1", "0.5", "(9!)", r"\pi", "i"))
    open_power, close_power = draw.choice((("^{", "}"), ("^", ""), ("**", ""), ("^(", ")")))
    tower = base + "".join(f"{open_power}{base}" for _ in range(height)) + close_power * height
    return draw.choice(("{}", r"\frac{{1}}{{{}}}", r"\sqrt[{}]{{2}}", r"\sin({})", "x^{{{}}}", "({})!")).format(tower)


def _long_numbers(draw: Draw) -> str:
    digits = draw.choice("123456789") * _size(draw, 100_000, 500)
    cut = len(digits) // 2
    return draw.choice((
        digits, f"-{digits}", f"0.{digits}", f"{digits[:cut]}.{digits[cut:]}", rf"\frac{{{digits}}}{{{digits}1}}",
        rf"0.\overline{{{digits}}}", ",".join(["999"] * (len(digits) // 3)), f"0x{digits}", f"{digits}_{{7}}",
        f"{digits[:900]}^{{{digits[:3]}}}", f"x^{{{digits[:900]}}}", rf"\sqrt{{{digits[:990]}}}",
        "0" * len(digits) + "1",
    ))  # fmt: skip


def _nesting(draw: Draw) -> str:
    depth = _size(draw, 2_000, 10)
    before, after = draw.choice((
        ("(", ")"), ("{", "}"), (r"\left(", r"\right)"), (r"\frac{1}{", "}"), (r"\sqrt{", "}"), ("2^{", "}"),
        ("-", ""),
        (r"\sin(", ")"), ("|", "|"), (r"\{", r"\}"), ("[", "]"), (r"\text{", "}"), (r"\boxed{", "}"), ("x_{", "}"),
        (r"\lfloor ", r"\rfloor "), ("((", "),1)"), (r"\binom{", "}{1}"), ("1+(", ")"), (r"\pm(", ")"), ("ln", ""),
    ))  # fmt: skip
    return before * depth + draw.choice("1x") + after * depth


def _unbalanced(draw: Draw) -> str:
    pieces = (*"{}()[]|1x\\", r"\{", r"\}", r"\left(", r"\right]", r"\frac{", r"\sqrt[")
    return "".join(draw.choices(pieces, k=_size(draw, 4_000, 2)))


def _matrices(draw: Draw) -> str:
    rows, columns = _size(draw, 60), _size(draw, 60)
    entry = draw.choice(("1", r"\frac{1}{2}", "x", r"\sqrt{2}", r"\sin x", "9^{99}", r"\begin{pmatrix}1\end{pmatrix}"))
    kind = draw.choice(("pmatrix", "bmatrix", "matrix", "vmatrix", "array", "cases"))
    body = r" \\ ".join([" & ".join([entry] * columns)] * rows)
    return rf"\begin{{{kind}}}{body}" + draw.choice((rf"\end{{{kind}}}", "", r"\end{pmatrix}", r"\end{document}"))


_LOOK_ALIKES = tuple("хеаорсуΑΒΕⅹⅽ１２３⒈①𝟏𝟐𝑥𝐱ᵡ₂²³⁄₄٣४൪一Ⅻﷺﬁ㎝㎢ℯⅈ−–‒﹣＋×✕⨯∗⁄∕÷＝≡≈｛｝（）∞√∛∜")


def _look_alikes(draw: Draw) -> str:
    return "".join(draw.choices((*_LOOK_ALIKES, "1", "2", "x", "+", "="), k=_size(draw, 4_000, 1)))


def _regex_bombs(draw: Draw) -> str:
    """Texts at which the patterns of normalisation, units and lexing would backtrack, if they did."""
    unit = draw.choice((
        " ", ". ", ",", "{,}", "1,000", "1 000 ", r"\,", r"\!", r"\text{", r"\text{percent}", r"\text{ cm", r"\%",
        "^ ", "^{",
        r"^{\circ}", r"\degree", r"\operatorname{a", r"\operatorname*{", r"\hspace{", r"\boxed{", r"\boxed", "the ",
        "so, ",
        "answer is ", "A. ", "(A", "a a a ", "a/a", "1a ", "1.1", ".1.", "1e1e", "0.\\overline{", r"\mathbb{",
        r"\begin{",
        "$", r"\$", "~", "**", "<=", "!=", r"\left", r"\left.", r"\big", "½", "sq cm ", "cm^2", "per ", "a.", "\\",
        "\\\\",
    ))  # fmt: skip
    body = unit * (_size(draw, 4_000, 50) // len(unit) + 1)
    before, after = ("", "1", "1 ", r"\text{", "(", "the answer is "), ("", "1", "x", "}", "!", " cm", "%")
    return draw.choice(before) + body + draw.choice(after)


_CODE = (
    "__import__('os').system('touch {0}')", "open('{0}','w')", "exec(\"open('{0}','w')\")",
    "eval('open(\"{0}\",\"w\")')",
    "(lambda: open('{0}', 'w'))()", "$(touch {0})", "`touch {0}`", "1; touch {0}", "1 && touch {0}", "| touch {0}",
    "[x for x in ().__class__.__base__.__subclasses__()][0]", "x=open('{0}','w')", "1 if open('{0}','w') else 2",
    "Symbol('x').__class__.__init__.__globals__['__builtins__']['open']('{0}','w')", "f'{{open(\"{0}\",\"w\")}}'",
    "import os; os.system('touch {0}')", "cos(__import__('pathlib').Path('{0}').touch())",
    "lambdify(x, open('{0}','w'))",
    "sympify('open(\"{0}\",\"w\")')", "<script>fetch('{0}')</script>", "'; DROP TABLE answers; --", "../../{0}",
    "!touch {0}",
    "cos\nsystem\n(S'touch {0}'\ntR.", "!!python/object/apply:os.system ['touch {0}']",
)  # fmt: skip


def _code(draw: Draw) -> str:
    payload = draw.choice(_CODE).format(CANARY)
    around = ("{}", "1+{}", r"\frac{{{}}}{{2}}", "x={}", "({}, 1)", r"\text{{{}}}", r"\operatorname{{{}}}", "{}^2")
    return draw.choice(around).format(payload)


_TEX = (
    r"\write18{{touch {0}}}", r"\immediate\write18{{touch {0}}}", r"\input{{/etc/passwd}}", r"\input{{|touch {0}}}",
    r"\openout5={0}", r"\include{{{0}}}", r"\usepackage{{{0}}}", r"\catcode`\{{=12",
    r"\href{{javascript:alert(1)}}{{1}}",
    r"\csname end\endcsname", r"\directlua{{os.execute('touch {0}')}}", r"\special{{{0}}}", "{{{{7*7}}}}", "${{7*7}}",
    "#{{7*7}}", "<%= 7*7 %>", "${{jndi:ldap://localhost/{0}}}", "{{% include '{0}' %}}", "{{0.__class__}}", "%s%s%n",
    "%(a)s",
    r"\url{{file:///{0}}}", r"\verb|{0}|", r"\lstinputlisting{{{0}}}",
)  # fmt: skip


def _tex(draw: Draw) -> str:
    return draw.choice(_TEX).format(CANARY) * _size(draw, 20)


def _macros(draw: Draw) -> str:
    definition = draw.choice((
        r"\def\a{\a\a}\a", r"\newcommand{\a}{\a\a}\a", r"\let\a\b\let\b\a\a", r"\def\a#1{\a{#1#1}}\a{1}",
        r"\expandafter\expandafter\expandafter\a", r"\loop\iftrue\repeat",
        r"\renewcommand{\frac}[2]{#2/#1}\frac{1}{2}",
        r"\edef\a{\a}", r"\newcommand\x{1+\x}\x", r"\def\x{x\x}\x^2", r"\DeclareMathOperator{\a}{\a}\a",
    ))  # fmt: skip
    return definition * _size(draw, 200)


def _control_characters(draw: Draw) -> str:
    characters = [chr(n) for n in (*range(0, 32), 127, 0x85, 0xA0, 0x2028, 0x2029, 0xFEFF, 0xFFFE, 0xFFFF)]
    return "".join(draw.choices((*characters, "\x00", "1", "x", "+"), k=_size(draw, 5_000)))


def _megabytes(draw: Draw) -> str:
    unit = draw.choice((*"1{}( $é\\\x00\U0001d7d9", "x+", "1,", r"\frac{", r"\boxed{1}"))
    return unit * (_size(draw, MEGABYTE, 4_000) // len(unit)) + draw.choice(("", "1"))


def _invisible(draw: Draw) -> str:
    marks = "\ud800\udfff\u202e\u202c\u200b\u200d\u2066\u0301\ufe0f\u061c\U000e0001"
    return "".join(draw.choices(marks + "12x-", k=_size(draw, 5_000)))


def _lists(draw: Draw) -> str:
    size = _size(draw, 2_000, 5)
    item = draw.choice((
        lambda n: str(n), lambda n: rf"\sqrt{{{n}}}", lambda n: f"x_{{{n}}}", lambda n: "1", lambda n: f"({n},{n})",
        lambda n: f"{n}/7", lambda n: rf"{n}\pi", lambda n: "x", lambda n: rf"\{{{n}\}}", lambda n: f"x={n}",
        lambda n: r"\pm 1",
    ))  # fmt: skip
    items = [item(n) for n in draw.sample(range(2, 10_000), size)]
    listed = draw.choice((",", ", ", " or ", ";")).join(items)
    return draw.choice((r"\{{{}\}}", "{}", "({})", "[{}]", "x={}", r"\max({})")).format(listed)


def _factorials(draw: Draw) -> str:
    n = draw.choice((_size(draw, 10**9, 10), draw.randint(150, 1_000)))
    return draw.choice((
        f"{n}!", f"{n}!!", "3" + "!" * draw.randint(2, 40), rf"\binom{{{n}}}{{{n // 2}}}", rf"\binom{{{n}}}{{k}}",
        f"({n}!)!",
        "+".join(f"{draw.randint(900, 1000)}!" for _ in range(60)), "*".join(["1000!"] * 60), "x!" * 100,
        f"{n}!^{{{n}!}}",
        rf"\frac{{{n}!}}{{{n - 1}!}}", rf"({n}.5)!", f"(-{n})!", r"\binom{x}{y}" * 50, f"(x+{n})!", f"{n}!+x",
        f"(n!)^{{{n}}}",
    ))  # fmt: skip


def _radicals(draw: Draw) -> str:
    depth = draw.randint(2, 16)
    text = draw.choice("235x")
    for _ in range(depth):
        text = rf"\sqrt{{{draw.randint(1, 9)}{draw.choice('+-')}{draw.choice(('', '2', 'x'))}{text}}}"
    roots = "+".join(rf"\sqrt[{draw.randint(2, 9)}]{{{draw.randint(2, 99)}}}" for _ in range(_size(draw, 30, 2)))
    power = draw.randint(2, 40)
    return draw.choice((text, roots, rf"\frac{{1}}{{{roots}}}", rf"\sqrt{{{roots}}}", rf"({roots})^{{{power}}}"))


def _identities(draw: Draw) -> str:
    """Expressions without values at the fixed points, or whose difference simplifiers take apart for long."""
    n = draw.randint(2, 60)
    return draw.choice((
        rf"\sin^{{{n}}} x + \cos^{{{n}}} x", rf"\sin({n}x)\cos({n}y)+\tan(x+y)", rf"(\sin x+\cos y)^{{{n}}}",
        rf"\ln(\ln(\ln(x-{n})))", rf"\arcsin({n}+x)", rf"(x-x)^{{-1}}+{n}", rf"\ln(0x)+{n}",
        rf"\ln(-|x|)+\ln(-|y|)^{{{n}}}",
        rf"\frac{{\sin {n}x}}{{\sin x}}", rf"\sqrt{{x^2+{n}\sqrt{{x^2+1}}}}-\sqrt[3]{{x}}", rf"\tan({n}\arctan x)",
        rf"\lfloor x+\lfloor {n}x \rfloor \rfloor", rf"\max(x,y,\min(x,{n}y))", rf"e^{{e^{{x}}}}+{n}^{{x!}}",
        rf"\frac{{(x+1)^{{{n}}}-(x-1)^{{{n}}}}}{{x}}", rf"\ln(x!)+\binom{{x}}{{{n}}}",
        rf"|x|^{{{n}}}+|y|^{{x}}-i^{{x}}",
        rf"\log_{{x}}{n}+\log_{{y}}x", rf"(x+y+z)^{{{n}}}", rf"(a+b+c+d)^{{{n}}}-(a-b)^{{{n}}}", rf"1^{{x!!}}+{n}",
        rf"e^{{10^{{{n}}}x}}-x^{{x^{{x}}}}", rf"\ln(1-1)\cdot {n}", rf"\frac{{{n}}}{{\sin^2 x+\cos^2 x-1}}",
    ))  # fmt: skip


def _precision(draw: Draw) -> str:
    n = _size(draw, 20_000, 20)
    return draw.choice((
        rf"10^{{{n}}}+\sin(10^{{{n}}})", rf"10^{{{n}}}+10^{{-{n}}}", rf"\sin(10^{{{n}}}\pi)",
        rf"e^{{{n}}}-e^{{{n}}}+1",
        rf"\pi\cdot 10^{{{n}}}+x", rf"(1+10^{{-{n}}})^{{10^{{{n}}}}}", rf"\ln(1+10^{{-{n}}})", rf"\cos(\pi^{{{n}}})",
        rf"\lfloor \pi\cdot 10^{{{n}}} \rfloor", rf"\sqrt{{10^{{{n}}}+1}}-\sqrt{{10^{{{n}}}}}",
        rf"e^{{\pi\sqrt{{163}}}}-10^{{-{n}}}",
        rf"2^{{{n}.5}}", rf"\tan(\frac{{\pi}}{{2}}-10^{{-{n}}})", rf"x^{{{n}}}+x^{{-{n}}}",
        rf"{draw.randint(2, 9)}^{{{n}}}",
        rf"\frac{{3^{{{n}}}}}{{2^{{{n}}}}}", rf"(\frac{{3}}{{7}})^{{{n}}}", rf"3^{{{n}}}x+7^{{{n}}}y",
        rf"(\sqrt2)^{{{n}}}",
    ))  # fmt: skip


def _floats(draw: Draw) -> str:
    n = draw.choice((_size(draw, 2_000, 10), _size(draw, 10**18, 10)))
    return draw.choice((
        f"1e{n}", f"1e-{n}", f"1E+{n}", f"1.{'9' * 300}e{n}", f"1e{n}e{n}", rf"1 \times 10^{{{n}}}",
        rf"1\times10^{{-{n}}}",
        f"{'9' * 300}e{min(n, 1_000)}", f"1e{n}x", f"-.0e{n}", "nan", "inf", "-inf", "1e", "0e0", "1e" + "9" * 900,
        f"0.{'0' * n}1" if n < 4_000 else "0.0",
    ))  # fmt: skip


def _polynomials(draw: Draw) -> str:
    n = _size(draw, 200, 3)
    return draw.choice((
        "+".join(f"{draw.randint(1, 99)}x^{{{k}}}" for k in range(n)), "+".join(f"x_{{{k}}}" for k in range(n)),
        "".join(f"(x+{k})" for k in range(n)),
        f"(x+y+z+1)^{{{draw.choice((n, 9_999, 99_999))}}}", "+".join(["x"] * n * 2), "x" * n, "(x+1)" * n,
        f"(x^{{{n}}}-1)/(x-1)",
        "+".join(rf"\frac{{1}}{{x+{k}}}" for k in range(n)), "*".join(f"(x-{k})^{{{k}}}" for k in range(1, n)),
        f"((x+1)^{{{n}}}+1)^{{{n}}}",
    ))  # fmt: skip


def _relations(draw: Draw) -> str:
    n = _size(draw, 300, 2)
    sign = draw.choice((*"=<>:", "<=", r"\le ", r"\ne ", r"\in ", r"\cup ", r"\cap ", r"\setminus ", r"\equiv "))
    item = draw.choice((
        "x", "1", "x^2+y", "(0,1)", r"\{1\}", "x_1", r"\mathbb{R}", r"\infty", "[1,2)", r"\frac{1}{0}", r"\sin x",
    ))  # fmt: skip
    return sign.join([item] * n) + draw.choice(("", sign, "0"))


def _signs(draw: Draw) -> str:
    sign = draw.choice((r"\pm ", r"\mp ", "-", "+", "--", "+-", "±"))
    chain = "".join(f"{sign}{k}" for k in range(_size(draw, 300)))
    return draw.choice((sign * _size(draw, 2_000) + "1", chain, rf"{sign}\sqrt{{{sign}2}}" * 30))


def _undefined(draw: Draw) -> str:
    pieces = (
        "1/0", "0^0", r"\ln 0", r"\log_1 5", r"\frac{0}{0}", r"\infty-\infty", r"0\infty", r"\tan(\pi/2)", "(-1)!",
        "0^{-1}", r"\sqrt[0]{2}", r"\log_0 0", r"\infty^0", r"\arcsin 2", r"i^i", r"\binom{-1}{-1}", r"\max()", "0^{i}",
        r"\infty!", r"\log_{x}{1}",
    )  # fmt: skip
    return draw.choice(("+", "", "-", ",", "^")).join(draw.choices([f"({part})" for part in pieces], k=_size(draw, 40)))


def _units(draw: Draw) -> str:
    words = ("cm", "square ", "cubic ", "m/", "per ", "s.", "apples ", "sq. ", "a", "of the ", "$", "°", "degrees")
    before, after = ("5 ", "5", r"5\text{", "5 x ", r"\frac12 "), ("", "}", "^2", "^{3}", "}^2")
    return draw.choice(before) + draw.choice(words) * _size(draw, 1_000) + draw.choice(after)


FAMILIES: dict[str, Family] = {
    "exponent towers": _towers,
    "long numbers": _long_numbers,
    "deep nesting": _nesting,
    "unbalanced brackets": _unbalanced,
    "huge matrices": _matrices,
    "unicode look-alikes": _look_alikes,
    "regex bombs": _regex_bombs,
    "code": _code,
    "TeX and templates": _tex,
    "recursive macros": _macros,
    "control characters": _control_characters,
    "megabytes": _megabytes,
    "invisible characters": _invisible,
    "huge lists": _lists,
    "factorials": _factorials,
    "nested radicals": _radicals,
    "identities": _identities,
    "precision": _precision,
    "giant floats": _floats,
    "polynomials": _polynomials,
    "relations": _relations,
    "signs": _signs,
    "undefined values": _undefined,
    "units": _units,
}


def _mixed(draw: Draw) -> str:
    """Pieces of several families, cut anywhere and joined."""
    pieces = []
    for family in draw.choices(list(FAMILIES.values()), k=draw.randint(2, 5)):
        text = family(draw)[:600]
        cut = draw.randint(0, len(text))
        pieces.append(text[:cut] if draw.random() < 0.5 else text[-cut:])
    return draw.choice(("", "+", ",", "=", " ", "^", "/")).join(pieces)


FAMILIES["mixed"] = _mixed
