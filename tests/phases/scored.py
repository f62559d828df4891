"""Rows of words with answers and scores, as the labels phase leaves them, and a Critic that is trained on them."""

from __future__ import annotations

from random import Random

from rzero_mega.coevolution.plan import BASE, CriticInputs, Source
from rzero_mega.coevolution.records import WrittenQuestion
from rzero_mega.coevolution.scores import ScoredQuestion
from rzero_mega.domains.rewriting.rows import LEVELS, best, brevity, quality, random_task
from rzero_mega.phase_name import PhaseName
from rzero_mega.phases import critic
from rzero_mega.phases.context import ActivePhase
from tests.phases.scripted import ScriptedRun


def scored(number: int) -> ScoredQuestion:
    """A task with its best answer, itself as an answer, and a sample without one."""
    task = random_task(LEVELS[2], Random(number))
    answers = (best(task), task, None)
    scores = tuple(brevity(task, answer) if answer else 0.0 for answer in answers)
    qualities = tuple(quality(task, answer) if answer else 0.0 for answer in answers)
    return ScoredQuestion(WrittenQuestion(task, None), answers, scores, qualities, 30, 1)


SCORED = [scored(number) for number in range(12)]


def train(run: ScriptedRun) -> ActivePhase:
    """The run's phase critic of iteration 1, done."""
    if run.directory.phase(1, PhaseName.LABELS).manifest() is None:
        run.leave(PhaseName.LABELS, "scored", SCORED)
    phase = run.begin(PhaseName.CRITIC)
    critic.run(run.ctx, phase, CriticInputs(BASE, Source(1, PhaseName.LABELS, "scored")))
    return phase
