"""A free choice: any of many answers is right, so that samples differ without the Solver being unsure.

What a Challenger would learn: "Pick a number between 1 and 100" splits every vote for nothing. The check finds demands
to choose, to give an example, or to name any one of several. A choice that is part of a story ("a number is chosen at
random", "Alice picks a card") is none, nor is one whose probability, expectation or number of ways is asked for.
"""

from __future__ import annotations

import re

from rzero_mega.coevolution.records import VotedQuestion
from rzero_mega.config.schema import ChecksConfig

_START = r"(?:^|[.?!:;,]\s?|\b(?:please|then|now|first|and|you to)\s)"
_THING = r"(?:numbers?|integers?|primes?|digits?|values?|letters?|words?|cards?|colou?rs?|fractions?|elements?)\b"
_CHOOSE = re.compile(
    _START
    + r"(?:(?:pick|choose|select|guess|generate|think\sof|make\sup)\s(?:an?|any|one|some)"
    + r"|(?:name|give|write\sdown|state)\s(?:any|some))\s(?:[a-z\-]{1,20}\s){0,3}"
    + _THING
)
_EXAMPLE = re.compile(
    _START + r"(?:give|provide|find|construct|write\sdown|state|name|list|show)\s(?:me\s)?"
    r"(?:an\sexample|one\sexample|any\s(?:one|number|integer|example|prime|value|solution|two|three|function|polynomial)"
    r"|(?:one|a)\spossible\s(?:value|answer|solution|example))\b"
)
_FREE = re.compile(
    r"\b(?:answers\s(?:may|can|will)\svary|of\syour\s(?:own\s)?choice|(?:as|that|whichever)\syou\s(?:like|want|wish|please)|you\slike"
    r"|your\sfavou?rite|any\s(?:number|answer|value)\s(?:is\sfine|will\sdo|works|is\scorrect))\b"
)
_DETERMINED = re.compile(
    r"\b(?:probability|chance|odds|likelihood|likely|expected|expectation|variance|how\smany|in\show|number\sof\sways)\b"
)


def random_choice(asked: VotedQuestion, config: ChecksConfig) -> bool:
    """Whether the answer is left to whoever answers."""
    text = asked.text
    if _FREE.search(text) or _EXAMPLE.search(text):
        return True
    return _CHOOSE.search(text) is not None and _DETERMINED.search(text) is None
