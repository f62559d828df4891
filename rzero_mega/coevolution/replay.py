"""Questions of earlier iterations that are asked again, and trained on again where the vote still supports their label.

What a Solver is no longer asked it forgets. A label that an earlier vote gave may be wrong, and a vote on the same
question by models that have changed since is evidence of its own: where the two differ, neither is trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from rzero_mega.coevolution.checks import Checks
from rzero_mega.coevolution.curation import reason_to_drop, reasons_by_itself
from rzero_mega.coevolution.question_key import question_key
from rzero_mega.coevolution.records import TrainingQuestion, VotedQuestion
from rzero_mega.coevolution.streams import permutation
from rzero_mega.config.schema import CurationConfig

RELABELLED = "relabelled"
"""Another answer wins the vote now."""


def reasons_against_replay(checks: Checks) -> tuple[str, ...]:
    """Why a replayed question is dropped. Copies are none of them: it is known that it was asked before."""
    return ("overlong", RELABELLED, *reasons_by_itself(checks))


def replay_pool(datasets: Iterable[Sequence[TrainingQuestion]], asked: Iterable[str]) -> list[TrainingQuestion]:
    """The questions of earlier data sets, oldest first, each once, with its newest label.

    Questions that are asked in this iteration anyway are not among them; whitespace makes no difference.
    """
    known = {question_key(text) for text in asked}
    pool: dict[str, TrainingQuestion] = {}
    for row in (row for dataset in datasets for row in dataset):
        key = question_key(row.question)
        if key not in known:
            pool[key] = row
    return list(pool.values())


def draw_replayed(pool: Sequence[TrainingQuestion], count: int, *stream: str | int) -> list[TrainingQuestion]:
    """`count` of the pool, or all if there are fewer, without replacement by the stream; in the pool's order."""
    return [pool[place] for place in sorted(permutation(len(pool), *stream)[:count])]


def reason_against_replay(
    voted: VotedQuestion,
    same_label: bool,
    banded: bool,
    config: CurationConfig,
    checks: Checks,
    held_out: Callable[[str], bool] | None = None,
    overlong: Callable[[str], bool] | None = None,
) -> str | None:
    """One of `reasons_against_replay`; None if the question may be trained on again.

    `same_label` says whether the vote's answer equals the earlier label. The band counts where `banded`: what has
    become easy is what is to be kept from being forgotten. All else that curation drops a question for holds here too.
    """
    if overlong is not None and overlong(voted.question.text):
        return "overlong"
    if voted.vote.answer is not None and not same_label:
        return RELABELLED
    return reason_to_drop(voted, config, checks, held_out, banded)
