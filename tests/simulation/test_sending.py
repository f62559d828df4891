"""What an update and a model's folder cost: by the transport that the configuration means, over each link."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rzero_mega.recipes import load_recipe

from rzero_mega.planning.assumptions import shipped
from rzero_mega.planning.hardware import GPUS
from rzero_mega.simulation.costs import model_folder
from rzero_mega.simulation.iteration import iteration_time
from rzero_mega.simulation.sending import Sending, next_model, sending
from rzero_mega.simulation.site import Site

SEVERAL_NODES = ["qwen3_14b", "qwen3_30b_a3b", "qwen3_32b"]


def site(recipe: str, *overrides: str) -> Site:
    return Site(load_recipe(recipe, overrides), GPUS["H100"], shipped())


def nbytes(found: Sending) -> dict[str, float]:
    return {link.rate: link.nbytes for link in found.links if link.name != "to the first rank"}


@pytest.mark.parametrize("recipe", SEVERAL_NODES)
def test_recipes_over_several_nodes_send_through_a_folder_and_never_inside_requests(recipe: str) -> None:
    here = site(recipe)
    found = sending(here)
    assert found.transport == "disk"
    assert nbytes(found) == dict.fromkeys(("update_write_bytes_s", "update_read_bytes_s"), here.weight_bytes)
    inside = site(recipe, "weights.sync=tensor")
    assert nbytes(sending(inside)) == {"request_bytes_s": pytest.approx(4 / 3 * here.weight_bytes * here.gpus)}
    assert sending(inside).seconds(inside) > 50 * found.seconds(here)
    assert iteration_time(inside).by_activity["sending weights"] > 10 * iteration_time(here).seconds / 60


@pytest.mark.parametrize(
    ("overrides", "transport"),
    [((), "tensor"), (("placement.servers=split", "learner.processes=4", "rollout.sglang.replicas=4"), "collective")],
)
def test_on_one_node_no_file_is_written_for_an_update(overrides: tuple[str, ...], transport: str) -> None:
    here = site("qwen3_8b", *overrides, "learner.offload=none")
    assert sending(here).transport == transport
    assert set(nbytes(sending(here))) == {"send_bytes_s"}


@pytest.mark.parametrize("recipe", ["qwen3_8b", *SEVERAL_NODES])
@pytest.mark.parametrize("sync", ["auto", "tensor", "disk"])
def test_a_link_that_is_faster_never_makes_an_update_slower(recipe: str, sync: str) -> None:
    here = site(recipe, f"weights.sync={sync}")
    before, rates = sending(here).seconds(here), {link.rate for link in sending(here).links}
    for rate in rates:
        value = 2 * getattr(here.assumptions.costs, rate)
        faster = replace(here, assumptions=here.assumptions.with_values({f"costs.{rate}": value}, "faster"))
        assert sending(faster).seconds(faster) <= before
    every = {f"costs.{rate}": 2 * getattr(here.assumptions.costs, rate) for rate in rates}
    all_faster = replace(here, assumptions=here.assumptions.with_values(every, "faster"))
    fixed = here.assumptions.costs.send_fixed_s
    assert sending(all_faster).seconds(all_faster) == pytest.approx(fixed + (before - fixed) / 2)


def test_the_next_model_is_read_by_each_node_where_no_broadcast_reaches_servers() -> None:
    here = site("qwen3_32b")
    costs = here.assumptions.costs
    assert next_model(here) == costs.send_fixed_s + here.weight_bytes / costs.model_read_bytes_s


@pytest.mark.parametrize("recipe", ["qwen3_8b", *SEVERAL_NODES])
def test_a_model_s_folder_takes_all_ranks_less_than_one_and_as_much_as_the_file_system(recipe: str) -> None:
    here = site(recipe)
    costs = here.assumptions.costs
    alone = here.weight_bytes * (1 / costs.model_write_bytes_s + 1 / costs.hash_bytes_s)
    assert here.weight_bytes / costs.checkpoint_write_bytes_s < model_folder(here) < alone / 2
