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
from rzero_mega.evaluation.texts import run_texts

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
    check_scored(load_config(["paper", "nano"], [*SCORED, "critic.rival_answers=1"]), domain)


GENERATIVE = (*SCORED, "critic.form=generative", "critic.comparing.training.sampling.max_new_tokens=16")


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ("critic.comparing.opponents=3", r"critic\.comparing\.opponents: 3 is odd"),
        ("critic.remove_length=true", r"critic\.remove_length: a share of won comparisons has ends"),
        (
            "challenger.reward.uncertainty=shortfall",
            r"challenger\.reward\.uncertainty: shares of won comparisons lack one half",
        ),
        (
            "critic.comparing.training={prompts_per_step: 7, grpo: {sequences_per_update: 56}}",
            r"critic\.comparing\.training\.prompts_per_step: 7 is odd",
        ),
        ("critic.comparing.training.grpo.sequences_per_update=5", r"critic\.comparing\.training\.grpo\.sequences_per_"),
        ("critic.comparing.training.sampling.max_new_tokens=4096", r"critic\.comparing\.training\.sampling\.max_new"),
        ("solver.training.ahead=1", r"solver\.training\.ahead: no verdict of a generative Critic is drawn while"),
        ("prompts.critic=nano_verifier", r"prompts\.critic: .*placeholder \{answer\} has no meaning in this role"),
    ],
)
def test_what_goes_with_no_generative_one_is_refused_by_its_key(overrides: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        check_inference(load_config(["paper", "nano"], [*GENERATIVE, overrides]))


def test_a_domain_that_reads_no_verdict_on_two_answers_has_no_generative_one() -> None:
    config = load_config(["paper", "nano"], list(GENERATIVE))
    check_scored(config, REWRITING)
    domain = replace(REWRITING, answers=replace(SCORED_ANSWERS, comparison=None))
    with pytest.raises(UserError, match=r"critic\.form: domain rewriting does not say how a verdict on two answers"):
        check_scored(config, domain)
    check_scored(load_config(["paper", "nano"], list(SCORED)), domain)


@pytest.mark.parametrize(
    "overrides", ["learner={processes: 2, layout: {cp: 2}}", "learner.lora.rank=8", "learner.fp8.format=hybrid"]
)
def test_a_generative_one_is_trained_as_the_other_roles_are(overrides: str) -> None:
    check_inference(load_config(["paper", "nano"], [*GENERATIVE, overrides]))


def test_a_prompt_that_asks_for_a_verdict_belongs_to_runs_with_a_generative_one_alone() -> None:
    scalar, generative = (run_texts(load_config(["paper", "nano"], list(given))) for given in (SCORED, GENERATIVE))
    assert "prompts.critic" not in scalar and generative["prompts.critic"].count("{first}") == 1
    assert scalar == {key: text for key, text in generative.items() if key != "prompts.critic"}


def test_without_it_nothing_of_its_section_is_looked_at() -> None:
    load_config(["paper"], ["learner={processes: 2, layout: {cp: 2}}", "critic.steps=3"])
    check_inference(load_config(["paper", "nano"], list(SCORED)))
