"""What an update and a model's folder cost: by the transport that the configuration means, over each link."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from rzero_mega.recipes import load_recipe

from rzero_mega.planning.assumptions import shipped
from rzero_mega.planning.hardware import GPUS
from rzero_mega.simulation.costs import checkpoints, hashing, model_folder, parking
from rzero_mega.simulation.iteration import iteration_time
from rzero_mega.simulation.sending import Sending, next_model, sending
from rzero_mega.simulation.site import Site
from rzero_mega.weights.mapping import entries
from rzero_mega.weights.reshard.plan import Destination, plan_reshard
from tests.weights.test_reshard_plan import Layout

SEVERAL_NODES = ["qwen3_14b", "qwen3_30b_a3b", "qwen3_32b"]


def site(recipe: str, *overrides: str) -> Site:
    return Site(load_recipe(recipe, overrides), GPUS["H100"], shipped())


def nbytes(found: Sending) -> dict[str, float]:
    return {link.rate: link.nbytes for link in found.links if link.name != "to each sender"}


@pytest.mark.parametrize("recipe", SEVERAL_NODES)
def test_recipes_over_several_nodes_send_by_a_rank_of_each_and_write_no_file(recipe: str) -> None:
    here = site(recipe)
    found = sending(here)
    assert found.transport == "tensor" and len(found.senders) == here.config.placement.nodes > 1
    assert nbytes(found) == {"send_bytes_s": here.weight_bytes}
    folder = site(recipe, "weights.sync=disk")
    assert sending(folder).senders == (0,)
    assert nbytes(sending(folder)) == dict.fromkeys(("update_write_bytes_s", "update_read_bytes_s"), here.weight_bytes)
    assert sending(folder).seconds(folder) > 5 * found.seconds(here)


def test_bytes_inside_requests_to_other_nodes_would_be_most_of_an_iteration() -> None:
    apart = ("placement.servers=split", "learner.processes=8", "rollout.sglang.replicas=4", "learner.offload=none")
    inside, broadcast = site("qwen3_14b", *apart, "weights.sync=tensor"), site("qwen3_14b", *apart)
    tp = inside.config.rollout.sglang.tp
    assert nbytes(sending(inside)) == {"request_bytes_s": pytest.approx(4 / 3 * inside.weight_bytes * 4 * tp)}
    assert sending(inside).seconds(inside) > 50 * sending(broadcast).seconds(broadcast)
    assert iteration_time(inside).by_activity["sending weights"] > 5 * iteration_time(broadcast).seconds / 60


@pytest.mark.parametrize("sync", ["auto", "disk"])
@pytest.mark.parametrize("recipe", SEVERAL_NODES)
def test_a_sender_gets_what_the_plan_of_an_update_brings_it_and_no_rank_gives_more(recipe: str, sync: str) -> None:
    here = site(recipe, f"weights.sync={sync}")
    # Every layer moves the same: of 12,000 experts a plan takes seconds.
    layout = here.candidate.layout
    vars(here)["shape"] = shape = replace(here.shape, layers=2 * layout.pp * layout.vpp)
    found = sending(here)
    ranks = Layout(layout.tp, layout.pp, layout.cp * layout.dp, layout.ep, layout.etp)
    plan = plan_reshard(entries(shape), shape, ranks.placement(shape), [Destination(s) for s in found.senders], 1 << 30)
    received, sent = Counter[int](), Counter[int]()
    for transfer in (transfer for bucket in plan.buckets for transfer in bucket.transfers):
        receiver = plan.destinations[transfer.destination].rank
        if transfer.source != receiver:
            received[receiver] += transfer.nbytes
            sent[transfer.source] += transfer.nbytes
    (gathered,) = (link for link in found.links if link.name == "to each sender")
    assert gathered.nbytes == max(received.values()) > max(sent.values())


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


def test_updates_and_checkpoints_are_those_of_adapters_where_these_train_and_models_stay_whole() -> None:
    rank = "learner.lora.rank=32"
    whole, added, alone = site("qwen3_8b"), site("qwen3_8b", rank, "weights.adapters=added"), site("qwen3_8b", rank)
    shape, server, costs = whole.shape, whole.config.rollout.sglang, whole.assumptions.costs
    rows = {"queries, keys, values": 4096 + 2 * 1024, "output": 4096, "gate, up": 2 * 12288, "down": 4096}
    columns = {"queries, keys, values": 4096, "output": 4096, "gate, up": 4096, "down": 12288}
    adapters = shape.layers * 32 * (sum(rows.values()) + sum(columns.values()))
    assert alone.trained == added.trained == adapters < whole.trained / 90
    assert sending(added) == sending(whole) and sending(whole).transport == "tensor"
    found = sending(alone)
    payloads = 4 / 3 * 2 * adapters * server.tp * server.replicas
    assert (found.transport, nbytes(found)) == ("adapters", {"request_bytes_s": pytest.approx(payloads)})
    assert hashing(alone, 1) == pytest.approx(2 * adapters / costs.hash_bytes_s)
    for here in (alone, added):
        share = adapters / whole.trained
        assert checkpoints(here, 1, 60.0) == pytest.approx(share * checkpoints(whole, 1, 60.0))
        set_aside, all_of_it = (parking(one) - 2 * costs.turn_fixed_s for one in (here, whole))
        assert set_aside == pytest.approx((12 * share + 2) / 14 * all_of_it)
        assert (next_model(here), model_folder(here)) == (next_model(whole), model_folder(whole))
