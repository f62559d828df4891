"""Votes that are aborted once their question is out of the band, whatever is still to come."""

from __future__ import annotations

from collections import Counter, defaultdict

from rzero_mega.coevolution.decided_votes import OutOfBand
from rzero_mega.coevolution.plan import has_gauges
from rzero_mega.phases.context import ActivePhase, InferenceContext, RunContext
from rzero_mega.phases.responses import answers_of
from rzero_mega.rollout.protocol import Decided, Sample


class OpenVotes:
    """How many samples of each request have said what so far. On the first rank alone."""

    def __init__(self, ctx: InferenceContext, rule: OutOfBand) -> None:
        """A request asks one question for all of its votes."""
        self._ctx, self._rule = ctx, rule
        self._counts = defaultdict[str, Counter[str | None]](Counter)

    def decided(self, sample: Sample) -> bool:
        """Whether this sample's question is out of the band by now (`Decided`)."""
        counts = self._counts[sample.key]
        counts.update(answers_of(self._ctx, [sample]))
        return self._rule.decided(counts)


def decided_votes(ctx: RunContext, phase: ActivePhase) -> Decided | None:
    """What decides votes of the phase before their end, if anything does.

    Those of the first iteration are drawn to their end where gauges read all of them.
    """
    labels = ctx.config.labels
    if not labels.abort_decided or (phase.directory.iteration == 1 and has_gauges(ctx.config)):
        return None
    return OpenVotes(ctx, OutOfBand.of(labels)).decided
