"""Pairs of answers whose order is known before anybody compares them: what a Critic learns from and is measured on.

A file for each way to know it. A kind of pairs has a name, by which its reliability is told.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from rzero_mega.coevolution.plan import solver_row
from rzero_mega.coevolution.set_aside import set_aside
from rzero_mega.coevolution.streams import derive_seed
from rzero_mega.config.schema import CriticGateConfig


@dataclass(frozen=True)
class RankedPair:
    """Two answers to a question, of which one is better as far as its `kind` knows."""

    kind: str
    question: str
    better: str
    worse: str


def paired(
    kind: str, better: Mapping[str, Sequence[str | None]], worse: Mapping[str, Sequence[str | None]]
) -> list[RankedPair]:
    """As many pairs of different answers to each question as both have, in their order; by question."""
    return [
        RankedPair(kind, question, *both)
        for question, answers in better.items()
        for both in zip(_different(answers), _different(worse.get(question, ())), strict=False)
        if both[0] != both[1]
    ]


def _different(answers: Sequence[str | None]) -> list[str]:
    return list(dict.fromkeys(answer for answer in answers if answer is not None))


def divided(pairs: Sequence[RankedPair], gate: CriticGateConfig) -> tuple[list[RankedPair], list[RankedPair]]:
    """(pairs to train on, pairs to measure by): those of questions set aside, `gate.pairs` of each kind at most."""
    training, measured = list[RankedPair](), defaultdict[str, list[RankedPair]](list)
    for pair in pairs:
        if set_aside("critic", pair.question, gate.share):
            measured[pair.kind].append(pair)
        else:
            training.append(pair)
    return training, [pair for of_kind in measured.values() for pair in of_kind[: gate.pairs]]


def of_kinds(pairs: Sequence[RankedPair], closed: Collection[str]) -> list[RankedPair]:
    """Those of the kinds that the gate hasn't closed."""
    return [pair for pair in pairs if pair.kind not in closed]


def balanced_batch(pairs: Sequence[RankedPair], step: int, per_step: int, seed: int) -> list[int]:
    """Indices of the pairs that a step (counted from 1) trains on.

    Those whose better answer is longer, is shorter, and is as long take turns; within each of these, kinds do. So no
    kind outweighs another one because it has more pairs, and length by itself predicts nothing: a Critic that is shown
    more pairs of longer answers learns that longer is better. The pairs of one kind in one of the three come in epochs
    as in `solver_row`, more often where they are fewer.
    """
    groups = defaultdict[int, dict[str, list[int]]](dict)
    for index, pair in enumerate(pairs):
        longer = len(pair.better) - len(pair.worse)
        groups[(longer > 0) - (longer < 0)].setdefault(pair.kind, []).append(index)
    turns, places = [groups[sign] for sign in sorted(groups)], defaultdict[tuple[int, str], list[int]](list)
    for place in range((step - 1) * per_step, step * per_step):
        round_, turn = divmod(place, len(turns))
        nth, number = divmod(round_, len(turns[turn]))
        places[turn, list(turns[turn])[number]].append(nth)
    batch = list[int]()
    for (turn, kind), nths in places.items():
        own, order = turns[turn][kind], derive_seed(kind, turn, seed)
        batch += [own[index] for index in solver_row(len(own), nths[0], len(nths), order)]
    return batch
