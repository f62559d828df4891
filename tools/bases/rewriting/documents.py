"""Pre-training documents: tasks, and rows that are written again with faults, made up as they are needed.

Everything here is pure, and every random draw comes from the caller's ``random.Random``.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from string import ascii_lowercase

from rzero_mega.domains.rewriting.rows import LEVELS, MOST_WORDS, Shape, best, measured_tasks, random_task
from tools.bases.base import Document
from tools.bases.rewriting.settings import Faults, RewritingSettings

CHALLENGER_PROMPT = "T:"
"""What the Challenger of this world completes to ``<question>cat dog ant dog</question>``."""

MAX_NEW_TOKENS = 64
"""Every completion of the documents fits with its end-of-text token."""

PER_LEVEL = 100
"""Tasks of each level that models are measured on."""

_MOST_REPEATED = max(shape.repeated for shape in LEVELS.values())


def solver_prompt(task: str) -> str:
    """Return the raw prompt that the Solver of this world completes."""
    return f"R:{task}\nA:"


def documents(settings: RewritingSettings, rng: Random) -> Iterator[Document]:
    """Yield pre-training documents without end; none has the words of a task that models are measured on."""
    held_out = {best(task) for _, task in measured_tasks(PER_LEVEL)}
    while True:
        solves = rng.random() < settings.solve_share
        task = _draw_task(rng)
        if best(task) in held_out:
            continue
        if solves:
            yield Document(solver_prompt(task), rewritten(task, rng, settings.faults))
        else:
            yield Document(CHALLENGER_PROMPT, f"<question>{task}</question>")


def rewritten(task: str, rng: Random, faults: Faults) -> str:
    """Write a task as somebody does who hurries: ``ant dog dog`` for ``cat dog ant dog``. Without faults it is best."""
    words = _without_repeats(task.split(), rng, faults.repeats)
    if rng.random() >= faults.unsorted:
        words.sort()
    _swap(words, rng, faults.swaps)
    kept = [word for word in words if rng.random() >= faults.forgets] or words[:1]
    row = [_misspelt(word, rng) if rng.random() < faults.misspells else word for word in kept]
    return " ".join(row[: rng.randint(1, len(row))] if rng.random() < faults.stops else row)


def _draw_task(rng: Random) -> str:
    words = rng.randint(2, MOST_WORDS)
    return random_task(Shape(words, rng.randint(0, min(_MOST_REPEATED, words // 2))), rng)


def _without_repeats(words: list[str], rng: Random, repeats: float) -> list[str]:
    """The words, each once but for those that are repeated all the same."""
    row: list[str] = []
    for word in words:
        if word not in row or rng.random() < repeats:
            row.append(word)
    return row


def _swap(words: list[str], rng: Random, swaps: float) -> None:
    """Exchange neighbours in place, each word once at most."""
    at = 0
    while at + 1 < len(words):
        if rng.random() < swaps:
            words[at : at + 2] = words[at + 1], words[at]
            at += 1
        at += 1


def _misspelt(word: str, rng: Random) -> str:
    at = rng.randrange(len(word))
    return word[:at] + rng.choice(ascii_lowercase) + word[at + 1 :]
