"""An iteration in virtual time: counts are the configuration's, shares are shares, and better is never worse."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rzero_mega.recipes import load_recipe

from rzero_mega.coevolution.plan import iteration_plan
from rzero_mega.errors import UserError
from rzero_mega.phase_name import PhaseName
from rzero_mega.planning.assumptions import Assumptions, shipped
from rzero_mega.planning.hardware import GPUS
from rzero_mega.simulation.asked import critic_measured
from rzero_mega.simulation.costs import checkpoints, critic_moves, learner_start, servers_start
from rzero_mega.simulation.iteration import SCORING, IterationTime, iteration_time
from rzero_mega.simulation.site import Site
from rzero_mega.simulation.switches import effects, on_nodes
from tests.simulation.small import small

COLOCATED = (
    "placement.servers=colocated",
    "learner.processes=8",
    "rollout.sglang.replicas=8",
    "learner.offload=all",
)


def seconds(found: IterationTime) -> dict[PhaseName, float]:
    return {phase.phase: phase.seconds for phase in found.phases}


def test_phases_and_draws_are_those_of_the_configuration() -> None:
    site = small()
    found, config = iteration_time(site), site.config
    assert [phase.phase for phase in found.phases] == [p.name for p in iteration_plan(config) if p.iteration == 1]
    share = site.assumptions.responses.well_formed_share
    assert {phase.phase: phase.draws for phase in found.phases} == {
        PhaseName.CHALLENGER: 5 * (128 + 4 * round(share * 128)),
        PhaseName.QUESTIONS: 250,
        PhaseName.LABELS: 3 * round(share * 250),
        PhaseName.SOLVER: config.solver.training.steps * 16 * config.solver.training.rollouts_per_prompt,
        PhaseName.EVALUATE: 10 * 3,
    }


@pytest.mark.parametrize(
    "overrides", [(), COLOCATED, ("challenger.training.ahead=1", "solver.training.ahead=1")], ids=str
)
def test_gpu_hours_are_gpus_times_time_and_idle_is_a_share(overrides: tuple[str, ...]) -> None:
    found = iteration_time(small(*overrides))
    assert found.seconds == pytest.approx(sum(phase.seconds for phase in found.phases))
    assert found.gpu_hours == pytest.approx(8 * found.seconds / 3600)
    assert all(0 <= phase.idle <= 1 for phase in found.phases) and 0 < found.idle < 1
    assert sum(found.by_activity.values()) == pytest.approx(found.seconds)


def test_benchmarks_are_asked_by_their_protocols_without_their_data() -> None:
    names = "evaluation.benchmarks=[math500, aime24, 'gsm8k:100', 'arithmetic:2']"
    evaluate = iteration_time(small(names)).phases[-1]
    arithmetic = 2 * 5 * 2  # two of each level, greedily and once sampled
    assert evaluate.draws == 500 + 30 * 32 + 100 + arithmetic + 10 * 3


def test_what_is_switched_off_is_not_there() -> None:
    off = small("challenger.train=false", "labels.gauges.questions=0")
    assert [phase.phase for phase in iteration_time(off).phases] == ["questions", "labels", "solver"]
    fine_tuning = small("labelled.method=sft", "labelled.data=arithmetic:64")
    (only,) = iteration_time(fine_tuning).phases
    assert (only.phase, only.draws) == (PhaseName.SOLVER, 0)


CRITIC = (
    "domain=rewriting",
    "critic={train: true, steps: 4, fixed_answers: 64, rival_answers: 1}",
    # Checkpoints that don't go by how long a step takes.
    "learner.checkpoint={every: 1, asynchronous: false}",
)


def test_a_critic_is_trained_and_scores_every_answer_on_the_learner_s_gpus() -> None:
    site = small(*CRITIC)
    found, less, before = (
        iteration_time(site),
        *(
            {phase.phase: phase for phase in iteration_time(small(*CRITIC, off)).phases}
            for off in ("critic.weight=0", "critic.train=false")
        ),
    )
    after = {phase.phase: phase for phase in found.phases}
    added = after.pop(PhaseName.CRITIC)
    assert added.draws == round(site.assumptions.responses.well_formed_share * 250)
    assert added == less.pop(PhaseName.CRITIC) and added.by_activity[SCORING] > 0 < added.by_activity["training"]
    assert less == before, "what gives no rewards is trained and measured alone"
    for name, phase in after.items():
        spent, spent_before = phase.by_activity, before[name].by_activity
        more = {activity: spent[activity] - spent_before.get(activity, 0.0) for activity in spent}
        assert phase.draws == before[name].draws
        if name in (PhaseName.QUESTIONS, PhaseName.EVALUATE):
            assert phase == before[name]
        else:
            assert {activity for activity, seconds in more.items() if seconds > 1e-9} == {"start", SCORING}
            assert more["start"] == pytest.approx(learner_start(site)) and phase.busy > before[name].busy


def test_a_verifier_that_has_a_say_gives_verdicts_on_a_share_of_the_votes() -> None:
    trained = ("verifier.train=true", "verifier.samples=4")
    site = small(*trained)
    says, silent = (
        {phase.phase: phase for phase in iteration_time(one).phases}
        for one in (site, small(*trained, "verifier.use=[]"))
    )
    responses = site.assumptions.responses
    verdicts = 4 * round(responses.verified_share * responses.well_formed_share * 250)
    assert says[PhaseName.LABELS].draws - silent[PhaseName.LABELS].draws == verdicts > 0
    assert says[PhaseName.LABELS].by_activity["sending weights"] > 0, "to the servers that the Solver had"
    assert all(says[phase] == silent[phase] for phase in says if phase is not PhaseName.LABELS)


def test_pairs_of_answers_out_of_parts_take_answers_to_these() -> None:
    few, more = (iteration_time(small(*CRITIC, f"critic.recombined_answers={count}")).phases[3] for count in (0, 2))
    assert few.phase is PhaseName.CRITIC and more.draws - few.draws == 2 * 2 * few.draws
    assert more.by_activity[SCORING] > few.by_activity[SCORING]


def test_a_generative_critic_is_trained_on_verdicts_and_gives_them_on_servers() -> None:
    comparing = (
        "critic.comparing={training: {steps: 3, prompts_per_step: 8, rollouts_per_prompt: 2}, opponents: 4}",
        "critic.comparing.training={grpo: {sequences_per_update: 16}, sampling: {max_new_tokens: 64}}",
        "challenger.reward.uncertainty=spread",
    )
    site = small(*CRITIC, "critic.form=generative", *comparing)
    after, before = (
        {phase.phase: phase for phase in iteration_time(one).phases}
        for one in (site, small(*CRITIC, "critic.weight=0"))
    )
    share, config = site.assumptions.responses.well_formed_share, site.config
    rivals, told = round(share * 250), critic_measured(config, site.assumptions.responses)
    measured = 2 * told.pairs + 4 * (told.answers + 2 * told.fixed)
    assert after[PhaseName.CRITIC].draws == rivals + 3 * 8 * 2 + measured and told.pairs > 0 < told.fixed
    more = {name: phase.draws - before[name].draws for name, phase in after.items() if name is not PhaseName.CRITIC}
    training = config.solver.training
    assert more == {
        PhaseName.CHALLENGER: 4 * 5 * 4 * round(share * 128),
        PhaseName.QUESTIONS: 0,
        PhaseName.LABELS: 4 * 3 * round(share * 250),
        PhaseName.SOLVER: 4 * training.steps * 16 * training.rollouts_per_prompt,
        PhaseName.EVALUATE: 0,
    }
    sent = {name: phase.by_activity.get("sending weights", 0.0) for name, phase in after.items()}
    assert sent[PhaseName.CHALLENGER] > before[PhaseName.CHALLENGER].by_activity["sending weights"]


def test_scoring_an_answer_is_a_forward_pass() -> None:
    site = small(*CRITIC, "solver.training.steps=1", "solver.training.grpo.kl_coefficient=0")
    solver = next(phase for phase in iteration_time(site).phases if phase.phase is PhaseName.SOLVER).by_activity
    # Beside one of each rollout come the backward pass, of twice as much, the output layer and the updates.
    assert solver[SCORING] - critic_moves(site) < solver["training"] / 3


BETTER = {
    "decoding.fixed_s": 0.5,
    "decoding.memory_share": 2.0,
    "training.gemm_share": 1.5,
    "training.link_share": 1.4,
    "costs.train_factor": 0.5,
    "costs.send_bytes_s": 4.0,
    "costs.checkpoint_copy_bytes_s": 4.0,
    "costs.server_start_s": 0.5,
    "costs.gpu_hash_bytes_s": 10.0,
    "costs.job_start_s": 0.1,
}


@pytest.mark.parametrize("key", BETTER)
def test_nothing_that_is_faster_makes_an_iteration_slower(key: str) -> None:
    site = small()
    section, _, name = key.partition(".")
    value = getattr(getattr(site.assumptions, section), name)
    better: Assumptions = site.assumptions.with_values({key: BETTER[key] * value}, "better")
    before, after = (iteration_time(replace(site, assumptions=found)) for found in (site.assumptions, better))
    assert after.seconds < before.seconds
    assert all(later <= sooner for later, sooner in zip(seconds(after).values(), seconds(before).values(), strict=True))


def test_drawing_ahead_hides_training_and_leaves_the_first_step() -> None:
    before, after = iteration_time(small()), iteration_time(small("solver.training.ahead=1"))
    saved = seconds(before)[PhaseName.SOLVER] - seconds(after)[PhaseName.SOLVER]
    assert 0 < saved < before.by_activity["training"]
    assert after.phases[3].busy == pytest.approx(before.phases[3].busy)


def test_more_questions_than_a_step_takes_shorten_its_end_and_nothing_else() -> None:
    before, after = iteration_time(small()), iteration_time(small("solver.over_provision=0.5"))
    changed = {phase for phase, time in seconds(before).items() if time != seconds(after)[phase]}
    assert changed == {PhaseName.SOLVER} and after.seconds < before.seconds


def test_servers_with_gpus_of_their_own_start_while_the_learner_does_and_others_after_it() -> None:
    for site in (small(), small(*COLOCATED)):
        job, servers, learner = site.assumptions.costs.job_start_s, servers_start(site), learner_start(site)
        # Of the Challenger's phase, in which both roles' servers start, and the Solver's.
        begins = servers + learner if site.colocated else max(servers, learner)
        expected = job + servers + begins + learner
        assert iteration_time(site).by_activity["start"] == pytest.approx(expected)
    assert site.colocated and not small().colocated


def test_a_job_per_iteration_starts_servers_once() -> None:
    site = small()
    phases, iteration = iteration_time(small(job_per="phase")), iteration_time(site)
    assert iteration.by_activity["start"] < phases.by_activity["start"] / 2
    assert iteration.by_activity["sending weights"] > phases.by_activity["sending weights"]
    assert iteration.idle < phases.idle and len(iteration.phases) == len(phases.phases)
    back = next(effect for effect in effects(site) if effect.switch.name == "submit --job-per phase")
    assert back.time == phases


def test_switches_are_tried_alone_and_say_why_one_cannot_be() -> None:
    site = small()
    base = iteration_time(site)
    found = {effect.switch.name: effect for effect in effects(site)}
    assert len(found) >= 8 and all(effect.time or effect.refused for effect in found.values())
    for name in ("no checksums", "no probes", "ahead=1 in both trainings"):
        time = found[name].time
        assert time is not None and time.seconds < base.seconds, name
    for part in ("before the queue", "a checkpoint after each step"):
        slower = next(effect.time for name, effect in found.items() if part in name)
        assert slower is not None and slower.seconds > base.seconds, part
    tp3 = {effect.switch.name: effect for effect in effects(small(*COLOCATED, "learner.layout.tp=8"))}
    half = tp3["learner and servers on half of the GPUs each"]
    assert half.time is None and half.refused.startswith("learner.processes")


@pytest.mark.parametrize("share", [0.0, 0.01, 0.03, 0.3, 1.0])
@pytest.mark.parametrize("asynchronous", [True, False])
def test_checkpoints_by_time_take_their_share_of_a_phase_besides_the_last_one(share: float, asynchronous: bool) -> None:
    rule = f"learner.checkpoint={{share: {share}, asynchronous: {str(asynchronous).lower()}}}"
    site, steps, step_s = small(rule), 50, 60.0
    one, spent = checkpoints(site, 1, step_s), checkpoints(site, steps, step_s)
    each = checkpoints(small(rule, "learner.checkpoint.every=1"), steps, step_s)
    assert one <= spent <= each
    assert spent - one <= share * ((steps - 1) * step_s + spent - one) + 1e-6
    assert share < 1 or not asynchronous or spent == pytest.approx(each)


@pytest.mark.parametrize("nodes", [2, 4, 16])
def test_more_nodes_take_less_time_and_more_gpu_hours(nodes: int) -> None:
    site = small()
    one = iteration_time(site)
    many = iteration_time(replace(site, config=on_nodes(site.config, nodes)))
    assert many.gpus == 8 * nodes and many.seconds < one.seconds and many.gpu_hours > one.gpu_hours


@pytest.mark.parametrize(
    ("recipe", "overrides", "said"),
    [
        ("nano", (), "rollout.engine"),
        ("qwen3_32b", ("rollout.sglang.tp=1", "rollout.sglang.replicas=8"), "rollout.sglang.tp: a server over 1 H100"),
        ("qwen3_8b", ("rollout.sglang.replicas=9",), "rollout.sglang.replicas"),
        ("qwen3_8b", ("learner.layout.tp=3", "learner.processes=3", "rollout.sglang.replicas=3"), "learner.layout.tp"),
        ("qwen3_8b", ("model.path=somewhere/unknown",), "--model somewhere/unknown"),
    ],
)
def test_what_cannot_be_simulated_is_a_line_that_names_the_key(
    recipe: str, overrides: tuple[str, ...], said: str
) -> None:
    with pytest.raises(UserError) as error:
        iteration_time(Site(load_recipe(recipe, overrides), GPUS["H100"], shipped()))
    assert str(error.value).startswith(said) and "\n" not in str(error.value)


@pytest.mark.parametrize("nodes", [0, 3])
def test_a_recipe_that_cannot_be_spread_over_nodes_says_so(nodes: int) -> None:
    with pytest.raises(UserError, match=f"^--nodes {nodes}: "):
        on_nodes(small("learner.processes=4", "placement.nodes=2", "rollout.sglang.replicas=3").config, nodes)
