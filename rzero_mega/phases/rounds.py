"""Rounds over the questions of the labels phase: each asks all of them of one model, part by part."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, TypeAlias

from rzero_mega import spmd
from rzero_mega.coevolution.plan import Source
from rzero_mega.coevolution.records import Answers, WrittenQuestion
from rzero_mega.phases.context import ActivePhase, Role, RunContext
from rzero_mega.rollout.protocol import RolloutEngine

Draw: TypeAlias = Callable[[RolloutEngine, int, Sequence[WrittenQuestion]], Sequence[Answers]]
"""What a model says to the questions of a part, given by its number: a record for each, on rank 0."""


@dataclass(frozen=True)
class Round:
    """What one model is asked about every question; `parts` are the numbers of its parts in the phase.

    It takes the parts of the rounds `after`.
    """

    name: str
    parts: range
    role: Role
    model: Source
    draw: Draw
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
) -> None:
    """Draw the parts that are not there yet; `cut` has the positions of each part's questions.

    A model is loaded if it has something to say, once for rounds in a row.
    """
    done = set(spmd.on_rank_0(phase.directory.checked_parts, sum(len(one.parts) for one in rounds)))
    if done:
        phase.bar.advance(len(done))
    left = [one for one in rounds if not done.issuperset(one.parts)]
    for (role, model), of_model in groupby(in_turn(left), key=lambda one: (one.role, one.model)):
        began = time.monotonic()
        engine = ctx.engine(role, ctx.model(model))
        engine.prepare()
        loading = time.monotonic() - began
        wanted = [(one, number, part) for one in of_model for number, part in enumerate(one.parts) if part not in done]
        for one, number, part in wanted:
            began = time.monotonic()
            drawn = one.draw(engine, number, questions[cut[number].start : cut[number].stop])
            timed = _timed(drawn, time.monotonic() - began, loading)
            spmd.on_rank_0(phase.directory.write_part, part, timed)
            ctx.stop_if_asked()
            loading = 0.0
            done.add(part)
            phase.bar.advance(len(done))
        engine.close()


def costs(records: Sequence[Answers]) -> dict[str, Any]:
    """What a round took, for the phase's summary."""
    return {
        "samples": sum(len(record.answers) for record in records),
        "tokens": sum(record.tokens for record in records),
        "seconds": round(sum(record.seconds for record in records), 3),
        "load_seconds": round(sum(record.load_seconds for record in records), 3),
    }


def _timed(records: Sequence[Answers], seconds: float, loading: float) -> list[Answers]:
    """The time of a part, shared out evenly."""
    share, loaded = seconds / max(1, len(records)), loading / max(1, len(records))
    return [replace(record, seconds=share, load_seconds=loaded) for record in records]
