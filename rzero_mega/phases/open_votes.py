"""Votes that are aborted once their question is out of the band, whatever is still to come."""

from __future__ import annotations

from rzero_mega.coevolution.decided_votes import OpenVotes, OutOfBand
from rzero_mega.coevolution.plan import has_gauges
from rzero_mega.phases.context import ActivePhase, RunContext
from rzero_mega.phases.responses import answers_of
from rzero_mega.rollout.protocol import Decided, Sample


def decided_votes(ctx: RunContext, phase: ActivePhase) -> Decided | None:
    """What decides votes of the phase before their end, if anything does; a request asks one question for all of them.

    Those of the first iteration are drawn to their end where gauges read all of them.
    """
    labels = ctx.config.labels
    if not labels.abort_decided or (phase.directory.iteration == 1 and has_gauges(ctx.config)):
        return None
    votes = OpenVotes(OutOfBand.of(labels))

    def decided(sample: Sample) -> bool:
        (answer,) = answers_of(ctx, [sample])
        return votes.decided(sample.key, answer)

    return decided
