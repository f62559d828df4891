"""What can't be asked of a domain whose answers have scores: whatever takes votes, labels or a truth."""

from __future__ import annotations

from collections.abc import Iterator

from rzero_mega.coevolution.uncertainty import UNCERTAINTIES_OF_SCORES
from rzero_mega.config.schema import Config
from rzero_mega.config.schema.labelled import VOTES
from rzero_mega.domains.domain import Domain, ScoredAnswers
from rzero_mega.errors import UserError


def check_scored(config: Config, domain: Domain) -> None:
    """UserError for the first key that asks for it, with the value that it takes."""
    if domain.checks:
        raise UserError(
            f"domain: checks look at votes, and answers of {domain.name} have scores; give it none (checks={{}})"
        )
    for key, asked, instead in _of_votes(config):
        if asked:
            raise UserError(
                f"{key}: is for answers that are right or wrong, and those of domain {domain.name} have scores; set it "
                f"to {instead}"
            )
    critic, answers = config.critic, domain.answers
    if not (critic.train and isinstance(answers, ScoredAnswers)):
        return
    if critic.recombined_answers and answers.decomposition is None:
        raise UserError(
            f"critic.recombined_answers: domain {domain.name} does not say how a question is taken apart "
            "(Decomposition); set it to 0"
        )
    if critic.generative and answers.comparison is None:
        raise UserError(
            f"critic.form: domain {domain.name} does not say how a verdict on two answers is read (Comparison); set it "
            "to scalar"
        )
    if not (answers.corruptions or critic.rival_answers or critic.recombined_answers):
        raise UserError(
            f"critic.rival_answers: domain {domain.name} has no corruptions, and without the base's answers no order "
            "of two answers is known; set it to 1, or critic.train to false"
        )


def _of_votes(config: Config) -> Iterator[tuple[str, bool, str]]:
    """A key, whether it asks for something that there is not, and what it is to be set to."""
    challenger, labels, curation = config.challenger, config.labels, config.labels.curation
    unsure = challenger.reward.uncertainty
    yield "challenger.reward.uncertainty", unsure not in UNCERTAINTIES_OF_SCORES, " or ".join(UNCERTAINTIES_OF_SCORES)
    yield "challenger.reward.unanswered_counts_as_doubt", not challenger.reward.unanswered_counts_as_doubt, "true"
    yield "challenger.votes.unanswered", challenger.votes.unanswered != "denominator", "denominator"
    yield "labels.votes.unanswered", labels.votes.unanswered != "denominator", "denominator"
    yield "labels.panel", labels.panel.votes > 0, "no votes"
    yield "labels.label", labels.label != "votes", "votes"
    yield "labels.selection", labels.selection != "band", "band"
    yield "labels.weighting", labels.weighting != "none", "none"
    yield "labels.gauges.questions", labels.gauges.questions > 0, "0"
    yield "labels.guard.panel", labels.guard.panel.votes > 0, "no votes"
    yield "labels.replay.questions", labels.replay.questions > 0, "0"
    yield "labels.abort_decided", labels.abort_decided, "false"
    yield "labels.audit.endpoint.url", labels.audit.endpoint.url is not None, "null"
    yield "labels.curation.band_of", curation.band_of != "all", "all"
    yield "labels.curation.minimum_support", curation.minimum_support > 0, "0"
    yield "labels.curation.drop_answers", bool(curation.drop_answers), "[]"
    yield "labels.curation.drop_answers_containing", bool(curation.drop_answers_containing), "[]"
    yield "solver.accumulate", config.solver.accumulate, "false"
    yield "verifier.train", config.verifier.train, "false"
    yield "labelled.method", config.labelled.method != VOTES, VOTES
    yield "evaluation.judge.endpoint.url", config.evaluation.judge.endpoint.url is not None, "null"
