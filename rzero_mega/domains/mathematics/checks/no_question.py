"""No question at all: what the Solver makes of a mere statement differs from sample to sample.

What a Challenger would learn: a few facts without a demand leave the Solver to invent the question, and invented
questions have different answers. The check knows English; a text that is mostly written in another script passes, and
so does one without words, such as ``12*3+4``, and one that ends in a gap ("The larger number is").
"""

from __future__ import annotations

import re

from rzero_mega.coevolution.records import VotedQuestion
from rzero_mega.config.schema import ChecksConfig
from rzero_mega.domains.mathematics.checks.words import VERBS

# Some verbs demand wherever they stand; others do where a sentence or clause begins: "their sum", "they show" don't.
_DEMAND = re.compile(
    r"[?？]|\b(?:what|how|who|whose|why|find|compute|determine|calculate|evaluate|solve|simplify|prove)\b"
    r"|(?:^|[.!:;,$)\]]\s?|\b(?:then|and|now|hence|thus|next|finally|first|please|to|you|must|should|could|can)\s)"
    rf"(?:{VERBS}|choose|select|pick|think|complete|fill|answer|add|subtract|multiply|divide|sum|draw|sketch|plot|graph"
    r"|arrange|order|rank|sort|compare|classify|reduce|obtain|decide|deduce|justify|establish|discuss|rewrite|tell"
    r"|report|output|return|invert|rationali[sz]e|let us|make|take|use|guess|generate|provide)\b"
)
_GAP = re.compile(r"(?:[:=_…]|\.\.\.|\b(?:is|are|equals?|was|by|of|to|be))\s?[.$]?$")
_COMMAND = re.compile(r"\\[a-z]+")
_WORD = re.compile(r"[a-z]{3}")


def no_question(asked: VotedQuestion, config: ChecksConfig) -> bool:
    """Whether an English text asks for nothing."""
    text = asked.text
    if _DEMAND.search(text) or _GAP.search(text[-20:]):
        return False
    letters = sum(c.isalpha() for c in text)
    english = sum("a" <= c <= "z" for c in text)
    return 2 * english >= letters and _WORD.search(_COMMAND.sub(" ", text)) is not None
