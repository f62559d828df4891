"""Every recipe builds, can be overridden, and fits the GPUs it is written for by the planner's estimate."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from rzero_mega.recipes import load_recipe, recipe_names

from rzero_mega.commands.checks import check_inference
from rzero_mega.config import Config, config_from_yaml, load_config, to_yaml
from rzero_mega.config.layout import ParallelLayout
from rzero_mega.config.placement import placement_of
from rzero_mega.domains.domain import CheckableAnswers
from rzero_mega.domains.mathematics.checks import CHECKS
from rzero_mega.domains.prompts import PLACEHOLDERS, has_prompt, prompt_of
from rzero_mega.domains.registry import built_in_benchmark, domain_of
from rzero_mega.errors import UserError
from rzero_mega.evaluation.benchmarks import load_benchmark
from rzero_mega.evaluation.definition import defined_benchmark
from rzero_mega.evaluation.texts import ROLES
from rzero_mega.learner.megatron.fp8 import check_recipe
from rzero_mega.planning.candidate import Candidate
from rzero_mega.planning.hardware import GPUS, MEMORY_MARGIN
from rzero_mega.planning.layout_rules import check_layout
from rzero_mega.planning.memory import LearnerMemory, learner_memory
from rzero_mega.planning.models import model_named
from rzero_mega.planning.parameters import rank_parameters, total_parameters
from rzero_mega.planning.request import PlanRequest
from rzero_mega.planning.search import estimates, recommended
from rzero_mega.planning.servers import kv_bytes
from rzero_mega.planning.step_time import step_time
from rzero_mega.planning.workload import Workload
from rzero_mega.rollout.sglang.server.command import ServerSpec, server_arguments
from rzero_mega.weights.shape import ModelShape
from tests import ROOT
from tests.test_structure import IMPORT_WITHOUT

README = ROOT / "README.md"
TABLE_START, TABLE_END = "<!-- recipes -->\n", "<!-- /recipes -->"
H100 = GPUS["H100"]
HOPPER = (9, 0)
ROOM = H100.memory * (1 - MEMORY_MARGIN)
ON_CPUS = ("nano", "nano_labelled", "folklore", "rewriting", "smollm2", "smollm2_summaries", "smollm2_words")
# Prompt and response in the official code, tokens.
LENGTH = 2048 + 4096
# What the templates of the prompts may take besides the request.
TEMPLATE = 512
GB = 1e9


@cache
def recipe(name: str) -> Config:
    """A recipe as it is; tests only read it."""
    return load_recipe(name)


CLUSTER = tuple(name for name in recipe_names() if name not in ON_CPUS)
R_ZERO = tuple(name for name in CLUSTER if recipe(name).labelled.method == "votes")
FP8 = tuple(name for name in CLUSTER if recipe(name).learner.fp8.format != "none")


def layout_of(config: Config) -> ParallelLayout:
    return ParallelLayout.from_config(config.learner.layout, config.learner.processes)


def candidate_of(config: Config) -> Candidate:
    return Candidate(layout_of(config), config.learner.recompute)  # type: ignore[arg-type]


def workload_of(config: Config) -> Workload:
    training = config.solver.training
    return Workload(
        sequences=training.prompts_per_step * training.rollouts_per_prompt,
        length=LENGTH,
        tokens_per_micro_batch=config.learner.tokens_per_micro_batch,
        sequences_per_update=training.grpo.sequences_per_update,
        fp8=config.learner.fp8.format != "none",
    )


def shape_of(config: Config) -> ModelShape:
    return model_named(config.model.path)


def memory_of(config: Config) -> LearnerMemory:
    return learner_memory(shape_of(config), candidate_of(config), workload_of(config))


def fp8_copies(config: Config) -> float:
    """Bytes of the FP8 copies, as they are and transposed, that Transformer Engine keeps of a rank's weights."""
    stages = {0, config.learner.layout.pp - 1}
    held = [rank_parameters(shape_of(config), layout_of(config), stage) for stage in stages]
    return max(2.0 * (rank.dense + rank.experts) for rank in held)


def server_memory(config: Config) -> tuple[float, float]:
    """Bytes on one GPU: the weights of a server, and the KV cache of a sequence of LENGTH."""
    shape, tp = shape_of(config), config.rollout.sglang.tp
    return 2.0 * total_parameters(shape, tp), LENGTH * kv_bytes(shape, tp, 2)


def memory_fraction(config: Config) -> float:
    (argument,) = config.rollout.sglang.extra_arguments
    return float(argument.removeprefix("--mem-fraction-static="))


def test_the_recipes_of_the_specification_are_shipped() -> None:
    assert recipe_names() == [
        "folklore",
        "nano",
        "nano_labelled",
        "octothinker_3b",
        "octothinker_8b",
        "qwen3_14b",
        "qwen3_30b_a3b",
        "qwen3_32b",
        "qwen3_4b",
        "qwen3_4b_labelled",
        "qwen3_8b",
        "rewriting",
        "smollm2",
        "smollm2_summaries",
        "smollm2_words",
    ]


def test_what_recipes_share_is_no_recipe() -> None:
    assert (ROOT / "recipes" / "_paper.py").is_file()
    with pytest.raises(UserError, match="_paper"):
        load_recipe("_paper")


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_builds_under_its_own_name_and_survives_a_round_trip_through_yaml(name: str, tmp_path: Path) -> None:
    config = recipe(name)
    assert config.recipe == name
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(config), encoding="utf-8")
    assert config_from_yaml(path) == config


@pytest.mark.parametrize("name", recipe_names())
def test_overrides_win_over_a_recipe(name: str) -> None:
    settings = ["model.path=/some/folder", "rollout.sglang.replicas=3", "rollout.engine=embedded", "seed=5"]
    config = load_recipe(name, settings)
    assert (config.model.path, config.seed) == ("/some/folder", 5)
    assert (config.rollout.engine, config.rollout.sglang.replicas) == ("embedded", 3)
    assert recipe(name).seed == 0


def test_presets_after_a_plus_go_over_the_recipe_in_order_and_under_the_overrides(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("iterations: 7\nlabels: {curation: {low: 0.3, high: 0.9}}\n", encoding="utf-8")
    plain, more = recipe("nano"), load_recipe(f"nano+hardened+{own}", ["labels.curation.low=0.35"])
    assert (more.recipe, more.model, more.solver) == (plain.recipe, plain.model, plain.solver)
    assert more.checks == load_config(["hardened"]).checks != plain.checks
    assert (more.iterations, more.labels.curation.low, more.labels.curation.high) == (7, 0.35, 0.9)
    assert load_recipe("hardened+nano") == load_config(["paper", "hardened", "nano"])


@pytest.mark.parametrize("name", recipe_names())
def test_rzero_plus_goes_over_every_recipe_whose_answers_are_right_or_wrong(name: str) -> None:
    config = load_recipe(f"{name}+rzero_plus", ["evaluation.benchmarks=[]"])
    if isinstance(domain_of(config).answers, CheckableAnswers):
        check_inference(config)
        assert config.labels.panel == load_config(["rzero_plus"]).labels.panel
    else:
        with pytest.raises(UserError, match=r"^labels\.panel: is for answers that are right or wrong"):
            check_inference(config)


def test_what_is_no_recipe_or_preset_in_a_sum_is_refused_by_its_own_name() -> None:
    with pytest.raises(UserError, match=r"^hardend: .*did you mean hardened"):
        load_recipe("nano+hardend")
    with pytest.raises(UserError, match=r"^nan: .*did you mean nano"):
        load_recipe("nan+hardened")
    for name in ("nano+", "+nano", "nano++hardened"):
        with pytest.raises(UserError, match=r"a name is missing beside a \+"):
            load_recipe(name)


def test_a_file_may_have_a_plus_in_its_name(tmp_path: Path) -> None:
    path = tmp_path / "a+b.yaml"
    path.write_text("seed: 3\n", encoding="utf-8")
    assert load_recipe(str(path)).seed == 3


@pytest.mark.parametrize("name", recipe_names())
def test_a_wrong_override_of_a_recipe_is_refused_by_its_key(name: str) -> None:
    with pytest.raises(
        UserError, match=r"^rollout\.sglang\.replica: no such key .*did you mean rollout.sglang.replicas"
    ):
        load_recipe(name, ["rollout.sglang.replica=3"])
    with pytest.raises(UserError, match=r"^placement\.servers"):
        load_recipe(name, ["placement.servers=elsewhere"])


def test_recipes_build_without_torch_the_engines_and_nemo_run() -> None:
    build = (
        "\nfrom rzero_mega.recipes import load_recipe, recipe_names"
        "\nfor name in recipe_names(): print(load_recipe(name).recipe)"
    )
    blocked = "torch,transformers,megatron,sglang,nemo_run,wandb"
    done = subprocess.run([sys.executable, "-c", IMPORT_WITHOUT + build, blocked], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == recipe_names()


@pytest.mark.parametrize("name", recipe_names())
def test_prompts_and_benchmarks_of_a_recipe_exist(name: str) -> None:
    config = recipe(name)
    for role in ROLES:
        if role in ("challenger", "solver") or has_prompt(config, role):
            prompt_of(config, role).check_role(PLACEHOLDERS.get(role, ("question",)))
    for benchmark in config.evaluation.benchmarks:
        kind = benchmark.partition(":")[0]
        if built_in_benchmark(kind) is not None:
            load_benchmark(benchmark)
        else:
            defined_benchmark(kind)


def test_labelled_fine_tuning_is_the_solver_s_phase_of_the_recipe_that_it_is_named_after() -> None:
    labelled, config = recipe("qwen3_4b_labelled"), recipe("qwen3_4b")
    for part in ("solver", "model", "learner", "rollout", "placement", "prompts"):
        assert getattr(labelled, part) == getattr(config, part)
    assert (labelled.labelled.method, labelled.labelled.data, labelled.iterations) == ("grpo", "math_train.jsonl", 1)


@pytest.mark.parametrize("name", R_ZERO)
def test_the_algorithm_of_a_cluster_s_recipe_is_the_paper_s_hardened(name: str) -> None:
    config, hardened = recipe(name), load_config(["paper", "hardened"])
    for part in ("iterations", "challenger", "questions", "labels", "checks", "solver", "prompts", "ablation"):
        assert getattr(config, part) == getattr(hardened, part)


@pytest.mark.parametrize("name", R_ZERO)
def test_without_checks_a_cluster_s_recipe_is_the_paper(name: str) -> None:
    config, paper = load_recipe(name, ["ablation=no_checks"]), load_config(["paper"])
    for part in ("iterations", "challenger", "questions", "solver", "prompts"):
        assert getattr(config, part) == getattr(paper, part)
    ours, theirs = config.labels.curation, paper.labels.curation
    assert not (ours.near_duplicates.drop or ours.near_duplicates.drop_seen)
    assert replace(ours, near_duplicates=theirs.near_duplicates) == theirs
    assert not any(getattr(config.checks, check) for check in CHECKS)


@pytest.mark.parametrize("name", recipe_names())
def test_learner_and_servers_have_a_place_on_the_nodes(name: str) -> None:
    config = recipe(name)
    placement = placement_of(config)
    assert sum(map(len, placement.ranks)) == config.learner.processes
    if name in CLUSTER:
        assert len(placement.servers) == config.rollout.sglang.replicas


@pytest.mark.parametrize("name", CLUSTER)
def test_no_gpu_is_left_idle(name: str) -> None:
    config = recipe(name)
    learner, servers = config.learner.processes, config.rollout.sglang.replicas * config.rollout.sglang.tp
    gpus = config.placement.nodes * config.placement.gpus_per_node
    if config.placement.servers == "colocated":
        assert learner == servers == gpus
    else:
        assert learner + servers == gpus


@pytest.mark.parametrize("name", CLUSTER)
def test_servers_listen_beyond_their_machine_only_where_some_run_on_other_nodes(name: str) -> None:
    config = recipe(name)
    elsewhere = any(place.node > 0 for place in placement_of(config).servers)
    assert config.rollout.sglang.host == ("0.0.0.0" if elsewhere else "127.0.0.1")


@pytest.mark.parametrize("name", ["qwen3_4b", "qwen3_8b", "octothinker_3b", "octothinker_8b"])
def test_the_paper_s_models_train_on_all_gpus_of_a_node_and_are_served_on_the_same(name: str) -> None:
    placement = placement_of(recipe(name))
    assert placement.ranks == (range(8),)
    assert [(place.node, place.first_gpu) for place in placement.servers] == [(0, gpu) for gpu in range(8)]


@pytest.mark.parametrize("name", CLUSTER)
def test_the_layout_divides_the_model(name: str) -> None:
    config = recipe(name)
    check_layout(shape_of(config), layout_of(config))


@pytest.mark.parametrize("name", CLUSTER)
def test_tensor_parallel_ranks_and_the_experts_exchange_stay_inside_a_node(name: str) -> None:
    layout, gpus = layout_of(recipe(name)), recipe(name).placement.gpus_per_node
    assert gpus % (layout.tp * layout.cp) == 0 and gpus % (layout.ep * layout.etp) == 0


@pytest.mark.parametrize("name", CLUSTER)
def test_the_longest_question_and_the_longest_answer_fit_into_a_micro_batch(name: str) -> None:
    config = recipe(name)
    request = config.questions.sampling.max_new_tokens
    answer = config.solver.training.sampling.max_new_tokens
    assert request + answer + TEMPLATE <= config.learner.tokens_per_micro_batch


@pytest.mark.parametrize("name", CLUSTER)
def test_the_learner_fits_an_h100_with_the_planner_s_margin(name: str) -> None:
    config = recipe(name)
    assert config.learner.offload == ("all" if config.placement.servers == "colocated" else "none")
    assert memory_of(config).peak <= ROOM


@pytest.mark.parametrize("overrides", [["learner.tokens_per_micro_batch=65536"], ["learner.layout.tp=2"]])
def test_the_check_of_memory_notices_what_is_too_much(overrides: list[str]) -> None:
    assert memory_of(load_recipe("qwen3_14b", overrides)).peak > ROOM


@pytest.mark.parametrize("name", FP8)
def test_the_learner_has_room_for_the_fp8_copies_of_its_weights_too(name: str) -> None:
    config = recipe(name)
    assert memory_of(config).peak + fp8_copies(config) <= ROOM


@pytest.mark.parametrize("name", CLUSTER)
def test_a_server_holds_its_weights_and_the_cache_of_many_long_sequences(name: str) -> None:
    config = recipe(name)
    weights, sequence = server_memory(config)
    assert weights + 48 * sequence <= memory_fraction(config) * H100.memory


@pytest.mark.parametrize("name", CLUSTER)
def test_no_layout_of_the_same_gpus_is_much_faster_by_the_planner_s_estimate(name: str) -> None:
    config = recipe(name)
    shape, work = shape_of(config), workload_of(config)
    request = PlanRequest(shape, config.learner.processes, H100, work, server_placement="elsewhere")
    fastest = recommended(request, estimates(request))
    assert fastest is not None
    ours = step_time(shape, candidate_of(config), work, H100, request.gpus_per_node)
    assert ours.seconds <= 1.25 * fastest.time.seconds


@pytest.mark.parametrize("name", FP8)
def test_an_fp8_recipe_suits_hopper_and_the_sizes_of_the_model(name: str) -> None:
    config = recipe(name)
    check_recipe(config.learner.fp8, shape_of(config), layout_of(config), config.learner.dtype, HOPPER)


def test_the_paper_s_models_train_in_bf16_and_large_dense_ones_in_fp8() -> None:
    assert FP8 == ("qwen3_14b", "qwen3_32b")


@pytest.mark.parametrize("name", CLUSTER)
def test_sglang_s_extra_arguments_are_ones_that_a_recipe_may_give(name: str) -> None:
    extra = recipe(name).rollout.sglang.extra_arguments
    arguments = server_arguments(ServerSpec(Path("model"), port=1, extra_arguments=tuple(extra)))
    assert extra and arguments[-len(extra) :] == extra


@pytest.mark.parametrize("name", [n for n in CLUSTER if recipe(n).placement.nodes == 1])
def test_a_recipe_of_one_node_gives_all_its_gpus_to_learner_and_servers_in_turns(name: str) -> None:
    config = recipe(name)
    placement = placement_of(config)
    assert config.learner.offload == "all" and config.learner.processes == 8
    assert placement.shared_gpus and len(placement.servers) == 8
    check_layout(shape_of(config), layout_of(config))
    weights, sequence = server_memory(config)
    assert memory_of(config).peak <= ROOM and weights + 48 * sequence <= ROOM


@pytest.mark.parametrize("name", [n for n in CLUSTER if recipe(n).placement.nodes == 1])
def test_a_recipe_of_one_node_can_train_on_half_of_them_and_serve_on_the_others(name: str) -> None:
    half = ["placement.servers=split", "rollout.sglang.replicas=4", "learner.processes=4", "learner.offload=none"]
    config = load_recipe(name, half)
    placement = placement_of(config)
    assert not placement.shared_gpus and len(placement.servers) == 4
    check_layout(shape_of(config), layout_of(config))
    assert memory_of(config).peak <= ROOM


def sizes(config: Config) -> str:
    """The layout's sizes above one, `tp4 pp2`."""
    c = layout_of(config)
    found = {"tp": c.tp, "pp": c.pp, "vpp": c.vpp, "cp": c.cp, "dp": c.dp, "ep": c.ep}
    return " ".join(f"{name}{size}" for name, size in found.items() if size > 1)


def row(name: str) -> str:
    config = recipe(name)
    learner, sglang, placement = config.learner, config.rollout.sglang, config.placement
    recomputed = "" if learner.recompute == "none" else f", {learner.recompute} recompute"
    fp8 = "–" if learner.fp8.format == "none" else learner.fp8.recipe
    if name in ON_CPUS:
        nodes, servers, peak = "CPUs", "–", "–"
    else:
        nodes = f"{placement.nodes} × {placement.gpus_per_node}"
        servers = f"{sglang.replicas} × tp{sglang.tp}, {placement.servers}"
        peak = f"{memory_of(config).peak / GB:.1f}"
    ranks = "1 rank" if learner.processes == 1 else f"{learner.processes} ranks: {sizes(config)}"
    layout = f"{ranks}{recomputed}"
    cells = (name, config.model.path, nodes, layout, servers, fp8, peak)
    return f"| {' | '.join(cells)} |\n"


def table() -> str:
    columns = ("recipe", "model", "nodes × GPUs", "learner", "servers per role", "FP8", "learner, GB per GPU")
    by_size = sorted(CLUSTER, key=lambda name: total_parameters(shape_of(recipe(name))))
    # Labelled fine-tuning has model and layout of the recipe that it is named after.
    rows = [row(name) for name in (*ON_CPUS, *by_size) if not name.endswith("_labelled")]
    return f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|\n{''.join(rows)}"


def test_the_readme_s_table_says_what_the_recipes_say() -> None:
    """`RECIPES_TABLE=1` writes it instead."""
    before, _, rest = README.read_text(encoding="utf-8").partition(TABLE_START)
    found, end, after = rest.partition(TABLE_END)
    assert end, "no table in the README"
    if os.environ.get("RECIPES_TABLE"):
        README.write_text(f"{before}{TABLE_START}{table()}{TABLE_END}{after}", encoding="utf-8")
    else:
        assert found == table(), "make recipes-table writes it anew"
