"""What a run with a Critic can't have is told by its key before anything starts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rzero_mega.commands.checks import check_inference
from rzero_mega.commands.scored_checks import check_scored
from rzero_mega.config import load_config
from rzero_mega.domains.domain import ScoredAnswers
from rzero_mega.domains.rewriting.domain import REWRITING
from rzero_mega.errors import UserError

assert isinstance(REWRITING.answers, ScoredAnswers)
SCORED_ANSWERS = REWRITING.answers

SCORED = (
    "domain=rewriting",
    "critic.train=true",
    "challenger.reward.uncertainty=spread",
    "labels.gauges.questions=0",
    "evaluation.benchmarks=[]",
)


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ("learner={processes: 2, layout: {cp: 2}}", r"learner\.layout\.cp: the two answers"),
        ("learner.lora.rank=8", r"learner\.lora\.rank: a Critic's head"),
        ("learner.fp8.format=hybrid", r"learner\.fp8\.format: "),
        ("challenger.training.ahead=1", r"challenger\.training\.ahead: answers are scored by"),
        ("solver.training.ahead=1", r"solver\.training\.ahead: answers are scored by"),
        (
            "labelled={method: grpo, data: arithmetic:9}",
            r"critic\.train: a Critic learns from answers to the run's own",
        ),
        ("domain=mathematics", r"critic\.train: answers of domain mathematics are right or wrong"),
    ],
)
def test_what_goes_with_no_critic_is_refused_by_its_key(overrides: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        check_inference(load_config(["paper", "nano"], [*SCORED, "challenger.reward.uncertainty=tent", overrides]))


def test_pairs_that_the_domain_can_t_make_are_refused_by_their_key() -> None:
    answers = replace(SCORED_ANSWERS, corruptions={}, decomposition=None)
    domain = replace(REWRITING, answers=answers)
    for overrides, told in (
        ("critic.recombined_answers=1", r"critic\.recombined_answers: domain rewriting does not say how"),
        ("critic.rival_answers=0", r"critic\.rival_answers: domain rewriting has no corruptions"),
    ):
        with pytest.raises(UserError, match=told):
            check_scored(load_config(["paper", "nano"], [*SCORED, overrides]), domain)
    check_scored(load_config(["paper", "nano"], list(SCORED)), domain)


def test_without_it_nothing_of_its_section_is_looked_at() -> None:
    load_config(["paper"], ["learner={processes: 2, layout: {cp: 2}}", "critic.steps=3"])
    check_inference(load_config(["paper", "nano"], list(SCORED)))
