"""Layouts are valid, memory and time move the right way, and the picked one is the fastest that leaves room."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rzero_mega.config.layout import ParallelLayout
from rzero_mega.config.load import load_config
from rzero_mega.errors import UserError
from rzero_mega.planning.candidate import Candidate, Recompute, candidates
from rzero_mega.planning.hardware import GPUS, MEMORY_MARGIN, gpu_named
from rzero_mega.planning.layout_rules import check_layout
from rzero_mega.planning.memory import LearnerMemory, learner_memory
from rzero_mega.planning.models import MODELS, model_named
from rzero_mega.planning.overrides import overrides
from rzero_mega.planning.parameters import active_parameters, rank_parameters, total_parameters
from rzero_mega.planning.request import PlanRequest, check_request
from rzero_mega.planning.search import best_of_each_split, estimates, nothing_fits, recommended
from rzero_mega.planning.servers import fastest_servers, kv_bytes, servers_estimates
from rzero_mega.planning.step_time import step_time
from rzero_mega.planning.workload import Workload

H100 = GPUS["H100"]
# As the model cards on the Hugging Face hub say, in billions.
PUBLISHED = {
    "Qwen3-0.6B": 0.596,
    "Qwen3-1.7B": 1.72,
    "Qwen3-4B": 4.02,
    "Qwen3-8B": 8.19,
    "Qwen3-14B": 14.8,
    "Qwen3-32B": 32.8,
    "Qwen3-30B-A3B": 30.5,
    "Qwen3-235B-A22B": 235.0,
    "GLM-4.5-Air": 106.0,
    "GLM-4.5": 355.0,
    "GLM-4.6": 355.0,
    "DeepSeek-V3": 671.0,
    "DeepSeek-R1": 671.0,
    "Qwen2.5-0.5B": 0.494,
    "Qwen2.5-1.5B": 1.54,
    "Qwen2.5-3B": 3.09,
    "Qwen2.5-7B": 7.62,
    "Qwen2.5-14B": 14.8,
    "Qwen2.5-32B": 32.8,
    "Qwen2.5-72B": 72.7,
    "Llama-3.2-1B": 1.24,
    "Llama-3.2-3B": 3.21,
    "Llama-3.1-8B": 8.03,
    "Llama-3.1-70B": 70.6,
    "OctoThinker-3B": 3.21,
    "OctoThinker-8B": 8.03,
}
some_model = st.sampled_from(sorted(MODELS))
power = st.sampled_from([1, 2, 4, 8])


def request(model: str = "Qwen3-8B", gpus: int = 8, **settings: Any) -> PlanRequest:
    return replace(PlanRequest(MODELS[model], gpus, H100, server_placement="elsewhere"), **settings)


def candidate(recompute: Recompute = "none", **sizes: Any) -> Candidate:
    return Candidate(ParallelLayout(**sizes), recompute)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_has_as_many_parameters_as_its_card_says(name: str) -> None:
    # GLM's cards count the layer that predicts further tokens, and not the vocabulary.
    share = 0.01 if name.startswith("GLM") else 0.005
    assert total_parameters(MODELS[name]) / 1e9 == pytest.approx(PUBLISHED[name], rel=share)


def test_a_token_meets_few_of_the_experts() -> None:
    assert active_parameters(MODELS["Qwen3-235B-A22B"]) / 1e9 == pytest.approx(22, rel=0.05)
    assert active_parameters(MODELS["Qwen3-30B-A3B"]) / 1e9 == pytest.approx(3.3, rel=0.1)
    assert active_parameters(MODELS["GLM-4.5-Air"]) / 1e9 == pytest.approx(12, rel=0.1)
    assert active_parameters(MODELS["GLM-4.5"]) / 1e9 == pytest.approx(32, rel=0.05)
    assert active_parameters(MODELS["DeepSeek-V3"]) / 1e9 == pytest.approx(37, rel=0.02)


def test_owner_suffix_and_case_of_a_name_do_not_matter() -> None:
    assert model_named("Qwen/Qwen3-8B-Base") == model_named("qwen3-8b") == MODELS["Qwen3-8B"]
    with pytest.raises(UserError, match="--model Qwen3-8B-FP9"):
        model_named("Qwen3-8B-FP9")
    with pytest.raises(UserError, match="H100"):
        gpu_named("H1000")


@given(some_model, st.sampled_from([1, 2, 4, 8, 16, 32, 64, 24]))
def test_every_layout_divides_the_model_and_takes_all_gpus(name: str, gpus: int) -> None:
    asked = request(name, gpus)
    for layout in (found.layout for found in candidates(asked)):
        check_layout(asked.shape, layout)
        assert layout.processes == gpus
        assert layout.tp * layout.cp <= asked.gpus_per_node
        assert layout.tp * layout.cp * layout.dp % (layout.ep * layout.etp) == 0
        assert asked.shape.layers % (layout.pp * layout.vpp) == 0


@given(some_model, power, power, st.sampled_from([1, 2, 4]), st.sampled_from(["none", "selective", "full"]))
def test_more_data_parallelism_never_needs_more_memory(name: str, dp: int, tp: int, cp: int, recompute: str) -> None:
    few, many = (
        candidate(recompute, tp=tp, cp=cp, dp=count, etp=tp, sequence_parallel=tp > 1)  # type: ignore[arg-type]
        for count in (dp, 2 * dp)
    )
    before, after = (learner_memory(MODELS[name], c, Workload()) for c in (few, many))
    assert after.peak <= before.peak
    assert after.optimizer == pytest.approx(before.optimizer / 2)


@given(some_model, power, power)
def test_more_tensor_parallelism_never_needs_more_of_any_kind(name: str, dp: int, tp: int) -> None:
    few, many = (
        learner_memory(MODELS[name], candidate(tp=n, dp=dp, etp=n, sequence_parallel=n > 1), Workload())
        for n in (tp, 2 * tp)
    )
    assert few.weights > many.weights and few.activations > many.activations
    # A chunk of logits is as large however many ranks there are, to within a row.
    assert many.logits < 1.01 * few.logits
    assert few.peak > many.peak


@given(some_model, power, power)
def test_recomputing_more_keeps_less_and_takes_longer(name: str, tp: int, dp: int) -> None:
    layouts = [
        candidate(recompute, tp=tp, dp=dp, etp=tp, sequence_parallel=tp > 1)
        for recompute in ("none", "selective", "full")
    ]
    kept = [learner_memory(MODELS[name], layout, Workload()).activations for layout in layouts]
    times = [step_time(MODELS[name], layout, Workload(), H100, 8).seconds for layout in layouts]
    assert kept == sorted(kept, reverse=True) and len(set(kept)) == 3
    assert times == sorted(times) and len(set(times)) == 3


@given(some_model, st.sampled_from([1024, 4096]), st.integers(1, 4))
def test_longer_micro_batches_need_more_memory(name: str, length: int, count: int) -> None:
    sizes = [
        learner_memory(MODELS[name], Candidate(), Workload(length=length, tokens_per_micro_batch=n * length))
        for n in (count, count + 1)
    ]
    assert sizes[0].activations < sizes[1].activations and sizes[0].logits < sizes[1].logits


@pytest.mark.parametrize("name", ["Qwen3-0.6B", "Qwen3-8B", "Qwen3-30B-A3B", "GLM-4.5-Air"])
def test_the_ranks_of_a_model_hold_its_parameters_and_little_twice(name: str) -> None:
    shape = MODELS[name]
    layout = ParallelLayout(tp=2, pp=2, dp=2, ep=2 if shape.experts else 1, etp=1 if shape.experts else 2)
    held = [rank_parameters(shape, layout, stage) for stage in range(layout.pp)]
    dense = 2 * sum(part.dense for part in held)
    experts = layout.ep * layout.etp * sum(part.experts for part in held)
    twice = shape.vocab * shape.hidden if shape.tied else 0
    assert dense + experts - twice == pytest.approx(total_parameters(shape), rel=0.01)


def test_the_first_stage_of_a_pipeline_holds_as_many_micro_batches_as_there_are_stages() -> None:
    work = Workload(length=4096, tokens_per_micro_batch=4096, sequences_per_update=64)
    shape = MODELS["Qwen3-8B"]
    one, four = (learner_memory(shape, candidate(pp=pp), work) for pp in (1, 4))
    assert four.activations == pytest.approx(one.activations, rel=0.02)
    few = replace(work, sequences_per_update=1)  # one micro-batch: none waits
    assert learner_memory(shape, candidate(pp=4), few).activations == pytest.approx(one.activations / 4, rel=0.1)


def test_interleaving_holds_more_and_waits_less() -> None:
    shape, work = MODELS["Qwen3-8B"], Workload()
    plain, interleaved = candidate(pp=4), candidate(pp=4, vpp=3)
    assert learner_memory(shape, interleaved, work).activations > learner_memory(shape, plain, work).activations
    bubbles = [step_time(shape, c, work, H100, 8).bubble for c in (plain, interleaved)]
    assert bubbles[1] < bubbles[0]


def test_a_group_that_leaves_the_node_communicates_slower() -> None:
    shape, tp8 = MODELS["Qwen3-8B"], candidate(tp=8, sequence_parallel=True, etp=8)
    inside, across = (step_time(shape, tp8, Workload(), H100, node).tensor for node in (8, 4))
    assert across > 4 * inside


def test_fp8_speeds_up_linear_layers_alone() -> None:
    shape = MODELS["Qwen3-8B"]
    plain, fp8 = (step_time(shape, Candidate(), Workload(fp8=on), H100, 8).compute for on in (False, True))
    assert plain / 2 < fp8 < 0.7 * plain


def test_adapters_take_gradients_and_states_of_their_own_and_no_copy_for_the_reference() -> None:
    shape, whole = MODELS["Qwen3-8B"], Workload()
    adapters = replace(whole, adapter_rank=32, adapted=("linear_qkv", "linear_proj", "linear_fc1", "linear_fc2"))
    before, after = (learner_memory(shape, Candidate(), work) for work in (whole, adapters))
    # Of h = 4096, queries 4096, keys 1024 and ffn 12288, times 36 layers and rank 32.
    numbers = 36 * 32 * ((4096 + 6144) + (4096 + 4096) + (4096 + 24576) + (12288 + 4096))
    assert (after.gradients, after.optimizer) == (4 * numbers, 12 * numbers)
    assert after.weights - before.weights == 2 * numbers
    assert (before.reference > 0, after.reference) == (True, 0.0)
    assert learner_memory(shape, Candidate(), replace(adapters, scoring_passes=3)).reference == before.reference
    assert (
        step_time(shape, Candidate(), adapters, H100, 8).seconds < step_time(shape, Candidate(), whole, H100, 8).seconds
    )


def test_a_critic_takes_no_more_than_a_policy_but_for_its_head() -> None:
    shape, work = MODELS["Qwen3-8B"], Workload()
    policy, both = (learner_memory(shape, candidate(dp=2), replace(work, critic=has)) for has in (False, True))
    critic = learner_memory(replace(shape, scores=1), candidate(dp=2), work)
    # A weight in bf16, a gradient, and half of a master copy and two moments.
    assert critic.resident - policy.resident == 4096 * (2 + 4 + 12 / 2)
    assert critic.training < policy.training and both.peak == max(policy.peak, critic.peak)
    assert critic.scored_logits == 0 < critic.logits < policy.logits


def test_with_a_critic_no_layout_has_context_parallelism_and_no_plan_is_in_fp8() -> None:
    asked, judged = request(), request(workload=Workload(critic=True))
    assert {found.layout.cp for found in candidates(judged)} == {1} < {found.layout.cp for found in candidates(asked)}
    with pytest.raises(UserError, match="--fp8: a recipe with a scalar Critic"):
        check_request(request(workload=Workload(critic=True, fp8=True)))


def test_an_8b_model_trains_on_a_node_and_not_on_one_gpu() -> None:
    alone = request(gpus=1, smaller_micro_batches=True)
    assert recommended(alone, estimates(alone)) is None
    node = request(gpus=8, smaller_micro_batches=True)
    assert recommended(node, estimates(node)) is not None


def test_the_largest_model_needs_more_than_two_nodes() -> None:
    two = request("Qwen3-235B-A22B", 16, smaller_micro_batches=True)
    assert estimates(two) == []
    many = replace(two, gpus=128)
    found = recommended(many, estimates(many))
    assert found is not None and found.candidate.layout.ep > 1


@pytest.mark.parametrize("rollout", ["turns", "resident", "elsewhere"])
@pytest.mark.parametrize(("name", "gpus"), [("Qwen3-8B", 16), ("Qwen3-30B-A3B", 16), ("Qwen3-0.6B", 1)])
def test_the_picked_plan_is_the_fastest_that_leaves_the_margin(name: str, gpus: int, rollout: str) -> None:
    asked = request(name, gpus, server_placement=rollout, smaller_micro_batches=True)
    found = estimates(asked)
    chosen = recommended(asked, found)
    assert chosen is not None
    room = H100.memory * (1 - MEMORY_MARGIN)
    assert all(plan.peak <= H100.memory for plan in found)
    assert chosen.peak <= room
    assert chosen.seconds == min(plan.seconds for plan in found if plan.peak <= room)
    assert chosen in best_of_each_split(found, chosen)


def test_residents_share_the_memory_and_turns_do_not() -> None:
    turns, resident = (request(gpus=16, server_placement=rollout) for rollout in ("turns", "resident"))
    one, other = estimates(turns)[0], estimates(resident)[0]
    assert one.servers is not None and other.servers is not None
    assert one.peak == max(one.memory.peak, one.servers.memory)
    assert other.peak == other.memory.peak + other.servers.memory


def test_the_cache_holds_every_concurrent_sequence_at_its_full_length() -> None:
    shape, work = MODELS["Qwen3-8B"], Workload(length=8192, tokens_per_micro_batch=8192)
    assert kv_bytes(shape, 1, 2) == 2 * 36 * 8 * 128 * 2
    assert kv_bytes(shape, 16, 2) == kv_bytes(shape, 8, 2)  # eight heads over sixteen GPUs: one on each
    found = servers_estimates(request(workload=work, concurrent=32))
    servers = fastest_servers(found, 72e9)
    assert servers is not None and servers.concurrent == 32
    assert servers.kv_cache % (32 * 8192 * kv_bytes(shape, servers.tp, 2)) == 0
    assert fastest_servers(found, 1e9) is None


def test_what_is_missing_is_said_with_what_would_help() -> None:
    asked = request("Qwen3-32B", 8)
    text = str(nothing_fits(asked))
    gpus = int(text.split("--gpus ")[1].split()[0])
    enough = replace(asked, gpus=gpus)
    assert "\n" not in text and " GB" in text
    assert recommended(enough, estimates(enough)) is not None


def test_a_smaller_micro_batch_is_proposed_where_it_is_enough() -> None:
    asked = request("Qwen3-0.6B", 1, workload=Workload(length=1024, tokens_per_micro_batch=1 << 20))
    assert recommended(asked, estimates(asked)) is None
    assert "--tokens-per-micro-batch 1024" in str(nothing_fits(asked))


@pytest.mark.parametrize(
    ("settings", "option"),
    [
        ({"gpus": 0}, "--gpus 0"),
        ({"gpus": 12}, "--gpus 12"),
        ({"gpus": 1 << 40}, "--gpus"),
        ({"gpus_per_node": 0}, "--gpus-per-node"),
        ({"concurrent": 0}, "--concurrent 0"),
        ({"workload": Workload(sequences=0)}, "--sequences"),
        ({"workload": Workload(length=-1)}, "--length"),
        ({"workload": Workload(length=20000)}, "--tokens-per-micro-batch"),
        ({"workload": Workload(fp8=True), "gpu": GPUS["A100-80GB"]}, "--fp8"),
    ],
)
def test_numbers_that_cannot_be_are_named_by_their_option(settings: dict[str, object], option: str) -> None:
    with pytest.raises(UserError, match=option):
        check_request(request(**settings))  # type: ignore[arg-type]


def test_memory_of_a_step_is_the_most_of_its_phases() -> None:
    memory = learner_memory(MODELS["Qwen3-8B"], candidate(dp=8), Workload())
    assert isinstance(memory, LearnerMemory)
    assert memory.resident == memory.weights + memory.gradients + memory.optimizer
    assert memory.peak == max(memory.training, memory.scoring) > memory.resident


@pytest.mark.parametrize(("name", "gpus"), [("Qwen3-8B", 16), ("Qwen3-30B-A3B", 16)])
def test_the_overrides_are_settings_of_a_run(name: str, gpus: int) -> None:
    asked = request(name, gpus, server_placement="turns", workload=Workload(fp8=True))
    chosen = recommended(asked, estimates(asked))
    assert chosen is not None
    config = load_config(overrides=overrides(chosen, asked))
    layout = asdict(chosen.candidate.layout)
    assert config.learner.processes == gpus
    assert config.learner.recompute == chosen.candidate.recompute
    assert config.learner.fp8.format == "hybrid"
    for key in ("tp", "pp", "cp", "sequence_parallel", *(("ep", "etp") if asked.shape.experts else ())):
        assert getattr(config.learner.layout, key) == layout[key]
    assert chosen.servers is not None
    assert config.rollout.sglang.tp == chosen.servers.tp


def planned(*overrides: str) -> Workload:
    """What is planned for a recipe."""
    options = dict.fromkeys(("model", "gpus_per_node", "tokens_per_micro_batch", "sequences", "length", "longest"))
    recipe = load_config(["paper"], ["model.path=Qwen/Qwen3-8B-Base", *overrides])
    return PlanRequest.from_options(
        **options, concurrent=None, gpus=8, gpu="H100", rollout="turns", fp8=False, recipe=recipe
    ).workload


@pytest.mark.parametrize(("role", "passes"), [("challenger", 3), ("solver", 3), (None, 2)])
def test_a_recipe_that_compares_with_the_base_has_a_scoring_pass_more(role: str | None, passes: int) -> None:
    overrides = [] if role is None else [f"{role}.training.grpo.kl_base_coefficient=0.1"]
    assert planned(*overrides).scoring_passes == passes


def test_a_recipe_with_a_critic_is_planned_with_it() -> None:
    assert planned("critic.train=true").critic and not planned().critic
