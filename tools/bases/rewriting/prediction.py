"""What a model would do that had learnt its documents exactly, in seconds: `-m tools.bases.rewriting.prediction`.

A base does worse, since it is small; how much there is to gain and to lose is decided here.
"""

from __future__ import annotations

from dataclasses import astuple
from random import Random

from rich.console import Console

from rzero_mega.domains.rewriting.rows import measured_tasks
from tools.bases.rewriting.bases import REWRITING
from tools.bases.rewriting.documents import PER_LEVEL, rewritten
from tools.bases.rewriting.measuring import Answers, judged, print_answers
from tools.bases.rewriting.settings import Faults


def predicted(faults: Faults, samples: int = 8) -> Answers:
    """What rows with these faults are worth; greedy decoding makes those that are likelier than not."""
    rng, tasks = Random(0), list(measured_tasks(PER_LEVEL))
    likelier = Faults(*(float(often > 0.5) for often in astuple(faults)))
    greedy = [rewritten(task, rng, likelier) for _, task in tasks]
    return judged(tasks, greedy, [[rewritten(task, rng, faults) for _ in range(samples)] for _, task in tasks])


if __name__ == "__main__":
    print_answers(predicted(REWRITING.settings.faults), Console())
