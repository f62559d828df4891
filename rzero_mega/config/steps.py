"""How a phase is cut up: what its loop goes through, and what its progress bar and `status` count."""

from __future__ import annotations

from rzero_mega.config.panel import rounds_over_questions
from rzero_mega.config.schema import Config
from rzero_mega.phase_name import PhaseName

PERCENT = 100


def parts(items: int, per_part: int) -> list[range]:
    """The positions of each part's items, in order; the last part may be smaller."""
    return [range(start, min(start + per_part, items)) for start in range(0, items, per_part)]


def labels_parts(questions: int, replayed: int, per_part: int) -> list[range]:
    """The positions of each part's questions in a row of new and replayed ones: no part holds both.

    So that the votes on new questions are drawn as they are without replay.
    """
    again = [range(questions + here.start, questions + here.stop) for here in parts(replayed, per_part)]
    return [*parts(questions, per_part), *again]


def phase_steps(config: Config, phase: PhaseName, questions: int | None, replayed: int = 0) -> int | None:
    """Steps of a training phase, parts of the questions and their labels, percent of an evaluation.

    `questions` are the well-formed ones of the iteration. Until they are written (None) nobody knows how many parts
    their labels will take: None. `replayed` are those of earlier iterations that are voted on again.
    """
    match phase:
        case PhaseName.CHALLENGER:
            return config.challenger.training.steps
        case PhaseName.QUESTIONS:
            return -(-config.questions.count // config.questions.per_part)
        case PhaseName.LABELS:
            if questions is None:
                return None
            here = labels_parts(questions, replayed, config.labels.questions_per_part)
            return rounds_over_questions(config.labels) * len(here)
        case PhaseName.VERIFIER:
            return config.verifier.training.steps
        case PhaseName.CRITIC:
            return config.critic.phase_steps
        case PhaseName.SOLVER:
            return config.solver.training.steps
        case PhaseName.EVALUATE:
            return PERCENT
