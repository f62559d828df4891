"""How a phase is cut up: what its loop goes through, and what its progress bar and `status` count."""

from __future__ import annotations

from rzero_mega.config.panel import rounds_over_questions
from rzero_mega.config.schema import Config
from rzero_mega.phase_name import PhaseName

PERCENT = 100


def parts(items: int, per_part: int) -> list[range]:
    """The positions of each part's items, in order; the last part may be smaller."""
    return [range(start, min(start + per_part, items)) for start in range(0, items, per_part)]


def phase_steps(config: Config, phase: PhaseName, questions: int | None) -> int | None:
    """Steps of a training phase, parts of the questions and their labels, percent of an evaluation.

    `questions` are the well-formed ones of the iteration. Until they are written (None) nobody knows how many parts
    their labels will take: None.
    """
    match phase:
        case PhaseName.CHALLENGER:
            return config.challenger.training.steps
        case PhaseName.QUESTIONS:
            return -(-config.questions.count // config.questions.per_part)
        case PhaseName.LABELS:
            rounds = rounds_over_questions(config.labels)
            return None if questions is None else rounds * -(-questions // config.labels.questions_per_part)
        case PhaseName.SOLVER:
            return config.solver.training.steps
        case PhaseName.EVALUATE:
            return PERCENT
