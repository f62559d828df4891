"""Rounds over the questions of the labels phase: each asks all of them of one model, and is kept part by part."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TypeAlias

from rzero_mega import spmd
from rzero_mega.coevolution.plan import Source
from rzero_mega.coevolution.records import Answers, WrittenQuestion
from rzero_mega.phases.context import ActivePhase, Role, RunContext
from rzero_mega.phases.drawing import QuestionsAsked, draw_units_where_possible
from rzero_mega.rollout.protocol import Decided, RolloutEngine, Sample
from rzero_mega.tracking.label_costs import LabelCost

Ask: TypeAlias = Callable[[int, Sequence[WrittenQuestion]], QuestionsAsked]
"""Takes the number of a part and its questions; all ranks make the same calls."""


@dataclass(frozen=True)
class Round:
    """What one model is asked about every question; `parts` are the numbers of its parts in the phase.

    It takes the parts of the rounds `after`.
    """

    name: str
    parts: range
    role: Role
    model: Source
    ask: Ask
    after: tuple[str, ...] = ()


def in_turn(rounds: Sequence[Round]) -> list[Round]:
    """The rounds in an order in which a model that is loaded does all that it can before the next one is."""
    left, ordered = list(rounds), list[Round]()
    while left:
        waiting = {one.name for one in left}
        ready = [one for one in left if waiting.isdisjoint(one.after)]
        loaded = [one for one in ready if ordered and one.model == ordered[-1].model and one.role == ordered[-1].role]
        ordered.append((loaded or ready)[0])
        left.remove(ordered[-1])
    return ordered


def run_rounds(
    ctx: RunContext,
    phase: ActivePhase,
    questions: Sequence[WrittenQuestion],
    rounds: Sequence[Round],
    cut: Sequence[range],
    decided: Decided | None = None,
) -> None:
    """Draw the parts that are not there yet; `cut` has the positions of each part's questions.

    What is `decided` is not drawn to its end where the engine can leave it.

    A model is loaded if it has something to say, once for rounds in a row. What it is asked in these is one queue, as
    far as no round waits for another one: nobody waits for a part to be whole.
    """
    done = set(spmd.on_rank_0(phase.directory.checked_parts, sum(len(one.parts) for one in rounds)))
    if done:
        phase.bar.advance(len(done))
    left = [one for one in rounds if not done.issuperset(one.parts)]
    for (role, model), of_model in groupby(in_turn(left), key=lambda one: (one.role, one.model)):
        began = time.monotonic()
        engine = ctx.engine(role, ctx.model(model))
        engine.prepare()
        keeper = _Keeper(ctx, phase, done, time.monotonic() - began, decided)
        for together in side_by_side(list(of_model)):
            wanted = [(one, number) for one in together for number, part in enumerate(one.parts) if part not in done]
            asked = [one.ask(number, questions[cut[number].start : cut[number].stop]) for one, number in wanted]
            keeper.draw(engine, [one.parts[number] for one, number in wanted], asked)
            ctx.stop_if_asked()
        engine.close()


def side_by_side(rounds: Sequence[Round]) -> list[list[Round]]:
    """Rounds in a row that can be asked at the same time: none of them takes the parts of another one."""
    found: list[list[Round]] = []
    for one in rounds:
        if found and {other.name for other in found[-1]}.isdisjoint(one.after):
            found[-1].append(one)
        else:
            found.append([one])
    return found


class _Keeper:
    """Keeps parts as they come, each with the time since the one before; the first one asked has that of loading."""

    def __init__(
        self, ctx: RunContext, phase: ActivePhase, done: set[int], loading: float, decided: Decided | None
    ) -> None:
        """`done` are the parts that are there; `loading` are the seconds that the model took."""
        self._ctx, self._phase, self._done, self._loading = ctx, phase, done, loading
        self._decided = decided

    def draw(self, engine: RolloutEngine, parts: Sequence[int], asked: Sequence[QuestionsAsked]) -> None:
        """Have these parts drawn, until somebody has asked to stop."""
        began = time.monotonic()
        loading = [self._loading] + [0.0] * len(parts)
        self._loading = 0.0

        def arrived(place: int, samples: list[Sample]) -> bool:
            nonlocal began
            records = asked[place].read(samples)
            now = time.monotonic()
            self._phase.directory.write_part(parts[place], _timed(records, now - began, loading[place]))
            began = now
            self._done.add(parts[place])
            self._phase.bar.advance(len(self._done))
            return not self._ctx.stop.requested

        draw_units_where_possible(engine, [part.requests for part in asked], arrived, self._decided)


def costs(records: Sequence[Answers]) -> dict[str, float]:
    """What a round took, for the phase's summary."""
    return LabelCost(
        sum(len(record.answers) for record in records),
        sum(record.tokens for record in records),
        sum(record.seconds for record in records),
        sum(record.load_seconds for record in records),
    ).as_json()


def _timed(records: Sequence[Answers], seconds: float, loading: float) -> list[Answers]:
    """The time of a part, shared out evenly."""
    share, loaded = seconds / max(1, len(records)), loading / max(1, len(records))
    return [replace(record, seconds=share, load_seconds=loaded) for record in records]
