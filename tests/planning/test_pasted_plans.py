"""What `rzero-mega plan` prints runs: pasted after a recipe it is a configuration with room for model and servers."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from rzero_mega.recipes import load_recipe, recipe_names

from rzero_mega.config import Config
from rzero_mega.config.layout import ParallelLayout
from rzero_mega.config.placement import placement_of
from rzero_mega.errors import UserError
from rzero_mega.planning.layout_rules import check_layout
from rzero_mega.planning.models import MODELS, known_model
from rzero_mega.planning.overrides import overrides
from rzero_mega.planning.parameters import total_parameters
from rzero_mega.planning.request import LONGEST, PlanRequest
from rzero_mega.planning.search import recommendation

RECIPES = [name for name in recipe_names() if load_recipe(name).rollout.engine == "sglang"]


@cache
def recipe_of(model: str) -> str:
    """The recipe of a model, or else one of another model that has to be told so."""
    return next((name for name in RECIPES if known_model(load_recipe(name).model.path) == MODELS[model]), "qwen3_8b")


def asked(**options: Any) -> PlanRequest:
    names = ("model", "gpus_per_node", "tokens_per_micro_batch", "sequences", "length", "longest", "concurrent")
    given: dict[str, Any] = dict.fromkeys(names) | {"gpu": "H100", "rollout": "turns", "fp8": False} | options
    return PlanRequest.from_options(**given)


def settings_of(request: PlanRequest) -> list[str]:
    return overrides(recommendation(request, 1)[0], request)


def pasted(recipe: str, request: PlanRequest, *more: str) -> Config:
    """The recipe's configuration under the plan's settings, with all that is checked at its start."""
    config: Config = load_recipe(recipe, [*settings_of(request), *more])
    placement = placement_of(config)
    check_layout(request.shape, ParallelLayout.from_config(config.learner.layout, config.learner.processes))
    sglang = config.rollout.sglang
    assert len(placement.servers) == sglang.replicas and placement.nodes == config.placement.nodes
    # All GPUs that are there for servers have one, and both roles share it in turns.
    assert sglang.replicas * sglang.tp == request.gpus and sglang.tp <= config.placement.gpus_per_node
    assert config.learner.processes == request.gpus
    several = any(place.node for place in placement.servers)
    assert sglang.host == ("0.0.0.0" if several else "127.0.0.1")
    assert sglang.context_length is not None and sglang.context_length <= request.shape.max_positions
    return config


@pytest.mark.parametrize("gpus", [8, 16, 32, 64])
@pytest.mark.parametrize("model", MODELS)
def test_every_plan_runs_pasted_after_a_recipe(model: str, gpus: int) -> None:
    request = asked(model=model, gpus=gpus)
    try:
        config = pasted(recipe_of(model), request, f"model.path={model}")
    except UserError as error:
        # Not a plan that does not run, but none at all: a tenth stays free, and 18 bytes per parameter are not all.
        usable = 0.9 * gpus * 80e9
        assert str(error).startswith("nothing fits on ") and usable < 20 * total_parameters(MODELS[model]), error
        return
    assert config.learner.tokens_per_micro_batch >= LONGEST > config.solver.training.sampling.max_new_tokens


@pytest.mark.parametrize("rollout", ["turns", "resident", "elsewhere"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_s_own_plan_runs_pasted_after_it(recipe: str, rollout: str) -> None:
    own = load_recipe(recipe)
    request = asked(gpus=16, recipe=own, rollout=rollout, gpu="H200")
    config = pasted(recipe, request)
    assert request.workload.fp8 == (own.learner.fp8.format != "none") == (config.learner.fp8.format != "none")
    assert placement_of(config).shared_gpus == (rollout != "elsewhere")
    assert config.learner.offload == ("all" if rollout == "turns" else "none")


def test_a_recipe_says_what_a_plan_has_to_hold() -> None:
    own = load_recipe("qwen3_8b", ["learner.tokens_per_micro_batch=20000", "solver.training.rollouts_per_prompt=8"])
    request = asked(gpus=8, recipe=own)
    assert request.shape == MODELS["Qwen3-8B"]
    assert (request.workload.longest, request.workload.sequences) == (20000, 4096)
    assert all(work.tokens_per_micro_batch >= 20000 for work in request.workloads)
    assert asked(gpus=8, recipe=own, model="Qwen3-4B", sequences=64).workload.sequences == 64
    assert asked(gpus=2, recipe=load_recipe("nano")).workload.element_bytes == 4
    with pytest.raises(UserError, match="--model: needed, or --recipe"):
        asked(gpus=8)


@pytest.mark.parametrize("recipe", RECIPES)
def test_micro_batches_are_planned_as_large_as_recipes_need_them(recipe: str) -> None:
    assert load_recipe(recipe).learner.tokens_per_micro_batch == LONGEST


@pytest.mark.parametrize("option", ["gpus", "gpus_per_node", "sequences", "length", "longest", "concurrent"])
def test_a_number_past_all_use_is_one_line(option: str) -> None:
    with pytest.raises(UserError, match=f"--{option.replace('_', '-')}: ") as caught:
        asked(**({"model": "Qwen3-8B", "gpus": 8} | {option: 10**400}))
    assert len(str(caught.value)) < 200


def test_a_model_past_all_use_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "Qwen3-8B", replace(MODELS["Qwen3-8B"], layers=10**400))
    with pytest.raises(UserError, match="--model: at most 10000 layers"):
        asked(model="Qwen3-8B", gpus=8)
