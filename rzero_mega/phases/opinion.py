"""What a Verifier makes of an iteration's votes: verdicts on the answers, and what they do to labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from rzero_mega import spmd
from rzero_mega.coevolution.plan import Source
from rzero_mega.coevolution.records import AnsweredQuestion, LabelledQuestion
from rzero_mega.coevolution.verdicts import Rates, candidates, is_accepted, weighed
from rzero_mega.config.schema import VerifierConfig
from rzero_mega.config.schema.verifier import DROP, WEIGH
from rzero_mega.phases.context import ActivePhase, RunContext
from rzero_mega.phases.panel_rounds import PanelRounds
from rzero_mega.phases.verifying import Claim, VerdictShares, verdict_shares
from rzero_mega.tracking.label_costs import VERDICT_SOURCE
from rzero_mega.tracking.verifier import measured_verifier


@dataclass(frozen=True)
class Opinion:
    """The share of verdicts that accept an answer, by the place of its question and the answer as the vote has it.

    `rates` are those by which the Verifier was found to tell right from wrong. A Verifier that the gate keeps out has
    no opinion: `verdicts` is None.
    """

    config: VerifierConfig
    rates: Rates
    shares: dict[tuple[int, str], float | None]
    verdicts: VerdictShares | None

    @property
    def costs(self) -> dict[str, dict[str, float]]:
        """Beside those of the votes."""
        return {} if self.verdicts is None else {VERDICT_SOURCE: self.verdicts.cost.as_json()}

    def weighed(self, answered: Sequence[AnsweredQuestion]) -> list[AnsweredQuestion]:
        """The questions with the votes as verdicts weigh them, where that is asked."""
        if self.verdicts is None or WEIGH not in self.config.use:
            return list(answered)
        return [self._weighed(place, question) for place, question in enumerate(answered)]

    def rejected(self, answered: Sequence[AnsweredQuestion]) -> set[int] | None:
        """Places of the questions whose label too few verdicts accept; None where that is not looked at.

        The questions are those that were weighed. A label without a verdict that can be read is not rejected.
        """
        if self.verdicts is None or DROP not in self.config.use:
            return None
        shares = {place: self._of_label(place, question) for place, question in enumerate(answered)}
        return {place for place, share in shares.items() if share is not None and share < self.config.drop_below}

    def told(self, labelled: Sequence[LabelledQuestion]) -> list[LabelledQuestion]:
        """The questions with the share of verdicts that accept their label."""
        return [replace(item, acceptance=self._of_label(place, item.answered)) for place, item in enumerate(labelled)]

    def summary(self, voted: Sequence[AnsweredQuestion], labelled: Sequence[LabelledQuestion]) -> dict[str, Any]:
        """What verdicts did to the votes; and what they said of labels whose truth is known, for the report alone."""
        if self.verdicts is None:
            return {"takes_part": False}
        known = [item for item in labelled if item.acceptance is not None]
        right, wrong = ([item for item in known if item.correct is truth] for truth in (True, False))
        rates = Rates.of([item.acceptance for item in right], [item.acceptance for item in wrong])
        rejected = sum(item.dropped == "rejected" for item in labelled)
        pairs = zip(voted[: len(labelled)], labelled, strict=True)
        return {
            "takes_part": True,
            "answers_verified": len(self.shares),
            "labels_verified": len(known),
            "labels_accepted": sum(is_accepted(item.acceptance) for item in known),
            "rejected": rejected,
            "rejected_share": rejected / (kept + rejected) if (kept := sum(i.kept for i in labelled)) else 0.0,
            "overruled": sum(before.vote.answer != after.answered.vote.answer for before, after in pairs),
            "unread": self.verdicts.unread_share,
            **({"audit": rates.as_json()} if right or wrong else {}),
        }

    def _weighed(self, place: int, question: AnsweredQuestion) -> AnsweredQuestion:
        weights = [self.rates.weight(self.shares.get((place, answer))) for answer, _ in question.vote.tally]
        return replace(question, vote=weighed(question.vote, weights))

    def _of_label(self, place: int, question: AnsweredQuestion) -> float | None:
        answer = question.vote.answer
        return None if answer is None else self.shares.get((place, answer))


def opinion_on(
    ctx: RunContext, phase: ActivePhase, verifier: Source | None, panel: PanelRounds, questions: int
) -> Opinion | None:
    """The Verifier's opinion of the votes on the first so many questions, on rank 0; None without one. For all ranks.

    Those after them are asked again, and have labels.
    """
    if verifier is None:
        return None
    config = ctx.config.verifier
    measured = spmd.on_rank_0(measured_verifier, ctx.run, verifier.iteration)
    if not measured.takes_part:
        return Opinion(config, measured.known, {}, None)
    claims = spmd.on_rank_0(_claims, ctx, panel, questions)
    verdicts = verdict_shares(ctx, phase, ctx.model(verifier), claims)
    if verdicts is None:
        return None
    samples = ctx.config.labels.votes.samples
    shares = {(claim.number // samples, claim.answer): verdicts.shares[claim.number] for claim in claims}
    return Opinion(config, measured.known, shares, verdicts)


def _claims(ctx: RunContext, panel: PanelRounds, questions: int) -> list[Claim]:
    """Numbered so that each has its number whichever others there are: no question has more answers than votes."""
    labels, voted = ctx.config.labels, panel.count()[0][:questions]
    found = []
    for place, rank in candidates(voted, labels, ctx.config.verifier):
        item = voted[place]
        found.append(Claim(place * labels.votes.samples + rank, item.question.text, item.vote.tally[rank][0]))
    return found
