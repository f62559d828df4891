"""Which option a response settles on: a letter, however it is stated.

A response *states* an answer in a box, after a noun ("the answer is (C)"), before one ("C is the correct answer"), by a
verb ("I choose C") or on a line of its own ("**C. Paris**"). The last statement counts, since answers are revised;
where there is none, what the last sentence marks or names is taken if it is one option only. An option is named by its
letter or by its text. What names no option, or several, states nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from string import ascii_uppercase

from rzero_mega.grading.text.extraction import boxed_contents

MAX_TEXT_CHARS = 200_000
"""Of a longer response only the last this many characters are read."""

# What may stand around a letter: Markdown, TeX, quotes, brackets.
_OPEN = r"(?:\\(?:text|textbf|textit|mathbf|mathrm|mathsf|boxed|fbox)\s*\{|\\[(\[]|\*{1,3}|__?|[$`\"'“‘{(\[<«])"
_CLOSE = r"(?:\\[)\]]|\*{1,3}|__?|[$`\"'”’})\]>»])"
# A letter alone: no part of a word, a formula, an abbreviation or a name such as "C-peptide".
_ALONE = r"(?!\s*(?:[=+×·^/]|[-–−](?=\w)|'s\b|\.\s?[a-z]{2,}\b|\.\d|\\(?:cdot|times|frac))|[\w&#%])"
_LETTER = rf"(?:(?P<open>{_OPEN}[ ]?){{0,5}}(?P<letter>[A-Z])(?P<close>[.:]?{_CLOSE}){{0,5}}{_ALONE})"

_NOUNS = r"(?:answers?|ans|choice|option|alternative|selection|one|match|candidate)"
_ADJECTIVES = (
    r"(?:correct|right|best|most|likely|appropriate|suitable|accurate|plausible|closest|probable|reasonable|final|true|"
    r"nearest|matching|valid|only|overall|possible|fitting|obvious|logical|and)"
)
_COPULA = r"(?:is|are|was|be|becomes|remains|seems|appears|equals|means|being|corresponds?|matches|lies)"
_FILLER = (
    rf"(?:\s|[,:;=*_~>→⇒-]|\\(?:boldsymbol|quad|,|;|:|rightarrow|to)|{_COPULA}\b|{_NOUNS}\b|{_ADJECTIVES}\b|"
    r"(?:the|an|to|as|therefore|thus|then|hence|so|probably|indeed|actually|clearly|definitely|certainly|still|letter|"
    r"given|by|with|in|here|now|also|just|simply|represented|under|number|labell?ed|would|should|must|will|"
    r"could|may|might|statement|item|indicated|listed|below|above|approximately|about|roughly)\b)"
)
# What has no adjective may be an option of another kind, to buy shares for instance: then only its letter counts.
_NOUN_FIRST = re.compile(
    rf"(?P<before>\b{_ADJECTIVES}\s+)?\b(?P<noun>{_NOUNS})\b(?:(?P<between>[^.\n:=?!]{{0,120}}?)\b{_COPULA}\b|"
    rf"(?P<short>[^.\n:=?!]{{0,30}}?)[:：=→]|(?=\s*[(\[*>]))(?P<fillers>{_FILLER}{{0,30}})",
    re.IGNORECASE,
)
_CHINESE = re.compile(r"(?:答案|选项|选择|正确答案)(?P<between>[^。\n]{0,10}?)(?:是|为|：|:|选)(?P<fillers>\s*)")
_LETTER_FIRST = re.compile(
    rf"(?<![\w$\\'’-])(?:(?:option|choice|answer|statement)\s+)?{_LETTER}(?P<text>[^.\n?!]{{0,160}}?)"
    r"\b(?P<verb>is|are|was|as|would be|should be|must be|seems(?: to be)?|appears(?: to be)?|being|remains)\b"
    rf"(?P<fillers>(?:\s|therefore|thus|clearly|likely|probably|indeed|actually|also|our|\*)*)"
    rf"(?:the\s+|our\s+|my\s+)?\*{{0,2}}(?:{_ADJECTIVES}[\s,]+)*(?P<noun>answer|choice|option|one|correct|right|best)\b",
)
_VERB = re.compile(
    r"\b(?:I|we|let'?s|you)\b(?P<between>[^.\n?!]{0,30}?)\b(?:choose|select|pick|go(?:ing)? with|opt for|settle on|"
    r"conclude that it is|guess|say|answer)\b(?P<fillers>(?:\s|[:*]|(?:the|option|choice|answer|letter)\b){0,30})",
    re.IGNORECASE,
)
_CONCLUSION = re.compile(
    r"\b(?:therefore|thus|hence|so|consequently|in conclusion|finally|that leaves(?: us with)?|leaving|"
    r"it(?:'s| is| must be| has to be| should be| would be))\b(?P<between>[,:]?)(?P<fillers>(?:\s|[:,*]|"
    r"(?:it|we|us|have|get|must|should|would|be|is|the|option|choice|answer|only|with|to|that|this|gives?|leaves?)\b){0,30})",
    re.IGNORECASE,
)
# Between two statements these make the later one count.
_REVISES = re.compile(
    r"\b(?:wait|however|actually|correction|correcting|but|second thought|reconsider\w*|re-?evaluat\w*|re-?check\w*|"
    r"re-?examin\w*|mistake\w*|error|instead|incorrect|wrong|not|revis\w*|therefore|final|hmm|oops|sorry|apolog\w*)\b|n[’']t\b",
    re.IGNORECASE,
)
# "The most likely cause is D. Paris": a letter with its full stop or brackets right after the verb.
_AFTER_VERB = re.compile(rf"\b{_COPULA}\b(?P<fillers>[\s:*]{{0,8}})(?=\(?\*{{0,2}}[A-Z][.):])")
_NEGATED = re.compile(
    r"\b(?:not|never|neither|nor|cannot|incorrect|wrong|except|eliminate|unlikely|without|rather than|instead of)\b|"
    r"n[’']t\b",
    re.IGNORECASE,
)
_NEGATION = re.compile(r"\b(?:not|never|cannot|neither|nor)\b|n[’']t\b", re.IGNORECASE)
_HYPOTHETICAL = re.compile(r"\b(?:if|whether|suppose|assuming|unless|were|had)\b[^.\n:]{0,60}$", re.IGNORECASE)
# A base model goes on with a question of its own; a chat model's next turn is not its answer either.
_NEXT_QUESTION = re.compile(
    r"\n\s*(?:#+\s*|\*\*)?(?:Question|Q|Problem|User|Human|Instruction|Input)\s*\d*\s*(?:\*\*)?[:：]|<\|im_start\|>user|"
    r"<\|start_header_id\|>user|\n\s*\[INST\]",
    re.IGNORECASE,
)
_THOUGHT = "</think>"
_ANOTHER = re.compile(rf"\s*(?:,|or|and|/|&|,\s*(?:or|and))\s*(?:option\s+|choice\s+)?{_LETTER}")
_FOLLOWS_ARTICLE = re.compile(
    r"\s+(?!because|since|as|for|which|due|in|is|with|and|but|or|by|on|from|at|to|if)[a-z]{2,}"
)
_FALSE = re.compile(r"\W*[A-Z]?\W*(?:is|was|would be|seems)\s+(?:false|incorrect|wrong|untrue|not)\b")
_NOTHING = re.compile(r"\W*(?:[A-Z]\b)?\W*(?:answer\W*)?(?:the\W*)?", re.IGNORECASE)
_BLANK_LINE = re.compile(r"\W*?(?:[A-Z]\b)?[^\w\n]*\n\s*(?:\n|=)")
_MARKED = re.compile(rf"(?P<noun>\b(?:[Oo]ption|[Cc]hoice|[Aa]nswer)\s+)?{_LETTER}")
_SENTENCE = re.compile(r"(?<=[.!?。])\s+|\n+")
_LINE = re.compile(rf"\s*(?:[-*#>]+\s+)?(?:(?:[Oo]ption|[Cc]hoice|[Aa]nswer)\s+)?{_LETTER}\s*(?P<rest>[).:\-–—]?.*)")


@dataclass(frozen=True)
class _Statement:
    """Where in a text an answer is stated, and which option: None if it names none, or several."""

    start: int
    end: int
    letter: str | None


def extract_choice(text: str, options: Sequence[str]) -> str | None:
    """The letter of the option that a response settles on, or None.

    `options` are the options' texts in order; their letters are A, B, C … Runs in time linear in the text.
    """
    if not 1 <= len(options) <= 26:
        raise ValueError(f"{len(options)} options: letters go from A to Z")
    return _Reader(options).read(text[-MAX_TEXT_CHARS:])


def letters(options: Sequence[str]) -> str:
    """The letters of some options: A, B, C …"""
    return ascii_uppercase[: len(options)]


class _Reader:
    """Reads responses to a question with the given options."""

    def __init__(self, options: Sequence[str]) -> None:
        self._letters = letters(options)
        self._texts = dict(zip(self._letters, map(_plain, options), strict=True))

    def read(self, text: str) -> str | None:
        text = text.rpartition(_THOUGHT)[2] or text
        text = self._before_next_question(text)
        if len(text.strip()) == 1 and text.strip().upper() in self._letters:
            return text.strip().upper()
        for statements in (self._strong(text), self._lines(text), self._weak(text)):
            if statements:
                return _settled(text, statements)
        return self._marked_or_named(text)

    def _before_next_question(self, text: str) -> str:
        """What stands before a next question, if that has an answer already."""
        if not _NEXT_QUESTION.search(text):
            return text
        stated = [statement.end for statement in (*self._strong(text), *self._lines(text)) if statement.letter]
        cut = _NEXT_QUESTION.search(text, min(stated)) if stated else None
        return text[: cut.start()] if cut else text

    def _strong(self, text: str) -> list[_Statement]:
        """Statements that say that they are the answer."""
        found = []
        for start, content in boxed_contents(text):
            found.append(_Statement(start, start + len(content), self._option(content)))
        for match in _NOUN_FIRST.finditer(text):
            if not self._denied(text, match) and not re.fullmatch(r"\W*[A-Z]\W*", match["short"] or ""):
                any_text = bool(match["before"]) or match["noun"].lower() in ("answer", "answers", "ans")
                found.append(self._statement(text, match, any_text))
        found += [self._statement(text, match, False) for match in _CHINESE.finditer(text)]
        found += [
            self._statement(text, match, False) for match in _VERB.finditer(text) if not self._denied(text, match)
        ]
        for match in _LETTER_FIRST.finditer(text):
            if match["noun"] not in ("correct", "right", "best"):
                found += self._letter_first(text, match)
        return _in_order(found)

    def _weak(self, text: str) -> list[_Statement]:
        """Statements that a discussion of the options holds as well."""
        found = []
        for match in _CONCLUSION.finditer(text):
            if not self._denied(text, match):
                found.append(self._statement(text, match, False))
        for match in _AFTER_VERB.finditer(text):
            subject = re.split(r"[.\n?!]", text[max(0, match.start() - 200) : match.start()])[-1]
            if not _NEGATED.search(subject) and not self._denied(text, match):
                found.append(self._statement(text, match, False))
        for match in _LETTER_FIRST.finditer(text):
            found += self._letter_first(text, match)
        return _in_order(found)

    def _lines(self, text: str) -> list[_Statement]:
        """An answer on a line of its own, unless lines go through several options."""
        found = []
        position = 0
        for line in text.splitlines(keepends=True):
            if letter := self._whole_line(line.strip()):
                found.append(_Statement(position, position + len(line), letter))
            position += len(line)
        return found if len({statement.letter for statement in found}) == 1 else []

    def _statement(self, text: str, match: re.Match[str], any_text: bool) -> _Statement:
        """What follows a match. Any text of an option in its sentence names it if `any_text`, else only the first."""
        return _Statement(match.start(), match.end(), self._after(text[match.end() : match.end() + 400], any_text))

    def _letter_first(self, text: str, match: re.Match[str]) -> list[_Statement]:
        letter, said = match["letter"], match["text"] + match["fillers"]
        if letter not in self._letters or _NEGATED.search(said) or _ANOTHER.match(text, match.end("letter")):
            return []
        if not match["close"] and said.strip() and (letter == "I" or (letter == "A" and re.match(r"\s+[a-z]", said))):
            return []
        return [_Statement(match.start(), match.end(), letter)]

    def _denied(self, text: str, match: re.Match[str]) -> bool:
        """Whether a statement is one of what the answer is not, or of what would follow if it were."""
        said = "".join(
            group or "" for name, group in match.groupdict().items() if name in ("between", "short", "fillers")
        )
        after = text[match.end() : match.end() + 40]
        return bool(
            _NEGATED.search(said)
            or _NEGATED.match(after.lstrip())
            or _FALSE.match(after)
            or _HYPOTHETICAL.search(text[max(0, match.start() - 60) : match.start()])
        )

    def _after(self, rest: str, any_text: bool) -> str | None:
        """The option that a text begins with, by its letter or its text."""
        by_text = self._starts_with_text(rest)
        match = re.match(_LETTER, rest)
        if match and match["letter"] in self._letters:
            letter, tail = match["letter"], rest[match.end() :]
            bare = not match["open"] and not match["close"]
            if _ANOTHER.match(tail):
                return by_text
            if not (bare and letter in "AI" and _FOLLOWS_ARTICLE.match(tail)):
                return by_text if by_text and bare and len(self._texts[by_text]) > 1 else letter
        if by_text:
            return by_text
        lower = re.match(r"[(\[*$]*([a-z])(?:[)\]*$]+|\s*(?:[.\n]|$))", rest)
        if lower and lower[1].upper() in self._letters:
            return lower[1].upper()
        return self._only_text(_SENTENCE.split(rest.lstrip(), maxsplit=1)[0]) if any_text else None

    def _option(self, content: str) -> str | None:
        """The option that a box names."""
        content = content.strip()
        match = re.fullmatch(
            rf"(?:\\text\{{)?(?:(?:option|choice|answer)\s*)?{_LETTER}\}}?[.]?", content, re.IGNORECASE
        )
        if match and match["letter"].upper() in self._letters:
            return match["letter"].upper()
        exact = [letter for letter, text in self._texts.items() if text == _plain(content)]
        if len(exact) == 1:
            return exact[0]
        match = re.match(rf"(?:\\text\{{)?{_LETTER}(?:[).:,\\-]|\s+\S)", content)
        if match and match["letter"] in self._letters and not _ANOTHER.match(content, match.end("letter")):
            return match["letter"]
        return self._only_text(content)

    def _whole_line(self, line: str) -> str | None:
        match = _LINE.fullmatch(line)
        if not match or match["letter"] not in self._letters:
            return None
        rest = _plain(match["rest"].lstrip(").:-–— "))
        return match["letter"] if rest in ("", self._texts[match["letter"]]) else None

    def _starts_with_text(self, rest: str) -> str | None:
        """The option whose text a text begins with; of several the longest."""
        plain = _plain(rest)
        found = [
            letter
            for letter, text in self._texts.items()
            if text and plain.startswith(text) and not re.match(r"\w|[.,]\d|\s*[=+*/^×]", plain[len(text) :])
        ]
        longest = max((len(self._texts[letter]) for letter in found), default=0)
        found = [letter for letter in found if len(self._texts[letter]) == longest]
        return found[0] if len(found) == 1 else None

    def _only_text(self, sentence: str) -> str | None:
        """The only option whose text a sentence holds; a text within another's counts as the other."""
        plain = _plain(sentence)
        spans: dict[str, list[tuple[int, int]]] = {}
        for letter, text in self._texts.items():
            if text:
                pattern = rf"(?<![\w.]){re.escape(text)}(?!\w|[.,]\d)"
                spans[letter] = [match.span() for match in re.finditer(pattern, plain)]
        every = [span for found in spans.values() for span in found]
        holding = {
            letter
            for letter, found in spans.items()
            for start, end in found
            if not any(a <= start and end <= b and b - a > end - start for a, b in every)
        }
        return holding.pop() if len(holding) == 1 else None

    def _marked_or_named(self, text: str) -> str | None:
        """The only option that the last sentence, or else the first, marks by letter, or that the last one names."""
        sentences = [sentence.strip() for sentence in _SENTENCE.split(text) if sentence.strip()]
        if not sentences or _NEGATION.search(sentences[-1]):
            return None
        for sentence in (sentences[-1], sentences[0]):
            if marked := self._marked(sentence):
                return marked.pop() if len(marked) == 1 else None
        if len(set(filter(None, map(self._whole_line, text.splitlines())))) > 1:
            return None  # The options, repeated.
        if by_text := self._ends_with_text(text):
            return by_text
        complete = re.search(r"[.!。*)\]}]$", sentences[-1]) or len(sentences) == 1
        return self._only_text(sentences[-1]) if complete and _CONCLUSION.match(sentences[-1]) else None

    def _marked(self, sentence: str) -> set[str]:
        """Letters in brackets, emphasised or after "option"."""
        return {
            match["letter"]
            for match in _MARKED.finditer(sentence)
            if match["letter"] in self._letters and (match["noun"] or (match["open"] and match["close"]))
        }

    def _ends_with_text(self, text: str) -> str | None:
        """The option with whose text a response ends, the longest of several."""
        plain = _plain(text[-2_000:])
        found = [
            letter
            for letter, option in self._texts.items()
            if option and re.search(rf"(?<![\w.]){re.escape(option)}$", plain)
        ]
        return max(found, key=lambda letter: len(self._texts[letter]), default=None)


def _in_order(statements: Iterable[_Statement]) -> list[_Statement]:
    """Statements by where they end; none at all if no one names an option."""
    ordered = sorted(statements, key=lambda statement: statement.end)
    return ordered if any(statement.letter for statement in ordered) else []


def _settled(text: str, statements: Sequence[_Statement]) -> str | None:
    """The letter of the last statement on the first question.

    A model that doesn't stop goes on with statements that nothing leads to, or, after a blank line, with the solution
    of a question of its own; where something is taken back, it is still the same question.
    """
    first = next(statement for statement in statements if statement.letter)
    current = last = first
    reasoned = len(text[: first.start].strip()) > 20
    for statement in statements[statements.index(first) + 1 :]:
        between = text[last.end : statement.start]
        if reasoned and len(between) < 80 and _NOTHING.fullmatch(between):
            last = statement
        elif not statement.letter:
            continue
        elif _BLANK_LINE.match(between[:80]) and not _REVISES.search(between):
            break
        else:
            current = last = statement
    return current.letter


def _plain(text: str) -> str:
    """A text without what does not tell options apart: case, spaces, Markdown, TeX's wrappers, marks at its end."""
    text = re.sub(r"\\(?:text|textbf|mathrm|mathbf|mathit|operatorname)\s*\{([^{}]*)\}", r"\1", text)
    text = re.sub(r"\\[()\[\],;:! ]|[$*`\"“”‘’']|\\(?:left|right)\b", "", text)
    text = text.replace("−", "-").replace("–", "-").replace("\\%", "%").replace("\\times", "×").replace("\\pi", "π")
    return re.sub(r"\s+", " ", text).strip().rstrip(".;,").strip().lower()
