"""The reshard plan, replayed in one process over random layouts: every element arrives once, with the right value."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rzero_mega.errors import UserError
from rzero_mega.weights.bucket import divisible
from rzero_mega.weights.mapping import Entry, entries
from rzero_mega.weights.mapping.names import is_expert
from rzero_mega.weights.mapping.regions import shard_contents
from rzero_mega.weights.reshard.fast import Message, bucket_messages, of_rank
from rzero_mega.weights.reshard.placement import Shard
from rzero_mega.weights.reshard.plan import Destination, ReshardPlan, destination_region, plan_evenly, plan_reshard
from rzero_mega.weights.reshard.validation import placement_violations, validate
from rzero_mega.weights.shape import ModelShape
from tests.weights.plan_checks import plan_violations
from tests.weights.test_mapping import hf_sizes, layouts, model_shape, numbered, shards


@dataclass(frozen=True)
class Layout:
    """Megatron's placement of ranks: tp fastest, then dp, then pp; experts: etp, then ep, then their dp, then pp."""

    tp: int
    pp: int
    dp: int
    ep: int
    etp: int

    @property
    def ranks(self) -> int:
        return self.tp * self.pp * self.dp

    def shard(self, name: str, rank: int) -> tuple[int, int]:
        return (rank % self.etp, self.etp) if is_expert(name) else (rank % self.tp, self.tp)

    def holds(self, entry: Entry, rank: int, shape: ModelShape) -> bool:
        stage, name = rank // (self.tp * self.dp), entry.megatron
        if name.startswith("embedding"):
            return stage == 0 or (shape.tied and stage == self.pp - 1)
        if not name.startswith("decoder.layers."):
            return stage == self.pp - 1
        layer = int(name.split(".")[2])
        if stage != layer // (shape.layers // self.pp):
            return False
        if not is_expert(name):
            return True
        expert = int(name.split("local_experts.")[1].split(".")[0])
        return rank // self.etp % self.ep == expert // (shape.experts // self.ep)

    def placement(self, shape: ModelShape) -> list[Shard]:
        """What every rank holds, in bf16."""
        found = []
        for entry in entries(shape):
            for rank in (rank for rank in range(self.ranks) if self.holds(entry, rank, shape)):
                index, count = self.shard(entry.megatron, rank)
                contents = shard_contents(entry, shape, index, count)
                size = (contents.rows, contents.columns)[: len(entry.sizes[0])]
                found.append(Shard(rank, entry.megatron, index, count, size, torch.bfloat16))
        return found


@dataclass(frozen=True)
class Case:
    """A model, its layout, and who wants it."""

    shape: ModelShape
    layout: Layout
    destinations: tuple[Destination, ...]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    shape, tp = draw(layouts())
    pp = draw(st.sampled_from([1, 2, 3]))
    shape = replace(shape, layers=pp * draw(st.integers(1, 2)))
    shape = replace(shape, dense_layers=min(shape.dense_layers, shape.layers - 1))
    dp = draw(st.sampled_from([1, 2]))
    ep, etp = 1, tp
    if shape.experts:
        etp = draw(st.sampled_from([size for size in (1, 2, 4) if tp % size == 0]))
        ep = draw(st.sampled_from([size for size in (1, 2, 4) if tp * dp % (etp * size) == 0]))
        shape = replace(shape, experts=ep * draw(st.integers(1, 3)))
    layout = Layout(tp, pp, dp, ep, etp)
    receivers = draw(st.lists(st.integers(0, layout.ranks - 1), min_size=1, max_size=4, unique=True))
    tp_there = draw(st.sampled_from([1, len(receivers)]))
    if shape.kv_heads % tp_there and tp_there % shape.kv_heads:
        tp_there = 1
    names, some = list(hf_sizes(shape)), draw(st.booleans())
    destinations = tuple(
        Destination(rank, i % tp_there, tp_there, frozenset(names[i :: len(receivers)]) if some else None)
        for i, rank in enumerate(receivers)
    )
    return Case(shape, layout, destinations)


def placed(case: Case, tensors: dict[str, Tensor]) -> tuple[list[Shard], list[dict[str, Tensor]]]:
    """What every rank holds, as metadata and as tensors."""
    placement: list[Shard] = []
    weights: list[dict[str, Tensor]] = [{} for _ in range(case.layout.ranks)]
    for entry in entries(case.shape):
        for rank in range(case.layout.ranks):
            if case.layout.holds(entry, rank, case.shape):
                index, count = case.layout.shard(entry.megatron, rank)
                weights[rank][entry.megatron] = shards(entry, tensors, case.shape, count)[index]
    for rank, held in enumerate(weights):
        for name, tensor in held.items():
            placement.append(Shard(rank, name, *case.layout.shard(name, rank), tuple(tensor.shape), tensor.dtype))
    return placement, weights


def flat(tensor: Tensor) -> Tensor:
    """As rows and columns: what has one dimension has one column."""
    return tensor if tensor.dim() > 1 else tensor[:, None]


def replay(plan: ReshardPlan, weights: list[dict[str, Tensor]]) -> Iterator[tuple[int, str, Tensor, Tensor]]:
    """(destination, tensor name, values, how often each element was written), element by element."""
    for bucket in plan.buckets:
        filled = {
            (index, slot.name): (
                flat(torch.full(slot.shape, -1, dtype=slot.dtype)),
                flat(torch.zeros(slot.shape, dtype=torch.int64)),
            )
            for index, slots in enumerate(bucket.slots)
            for slot in slots
        }
        for t in bucket.transfers:
            values, counts = filled[t.destination, t.tensor]
            source = flat(weights[t.source][t.parameter])
            for i in range(t.rows):
                for j in range(t.columns):
                    values[t.to_row + i, t.to_column + j] = source[t.row + i, t.column + j]
                    counts[t.to_row + i, t.to_column + j] += 1
        for (index, name), (values, counts) in filled.items():
            yield index, name, values, counts


def plan_of(case: Case, placement: list[Shard], bucket_bytes: int = 200) -> ReshardPlan:
    return plan_reshard(entries(case.shape), case.shape, placement, case.destinations, bucket_bytes)


@given(cases())
def test_every_element_of_every_destination_is_written_once_with_its_value(case: Case) -> None:
    tensors = numbered(hf_sizes(case.shape))
    placement, weights = placed(case, tensors)
    assert placement_violations(entries(case.shape), case.shape, placement, case.destinations) == []
    plan = plan_of(case, placement)
    assert plan_violations(plan) == []
    where = {name: (entry, i) for entry in entries(case.shape) for i, name in enumerate(entry.hf)}
    arrived = set()
    for index, name, values, counts in replay(plan, weights):
        entry, tensor = where[name]
        region = destination_region(entry, tensor, case.shape, case.destinations[index])
        expected = flat(tensors[name])[
            region.row : region.row + region.rows, region.column : region.column + region.columns
        ]
        assert (counts == 1).all()
        assert torch.equal(values, expected)
        arrived.add((index, name))
    assert arrived == {(i, name) for i, there in enumerate(case.destinations) for name in tensors if there.takes(name)}


@given(cases())
def test_the_shards_of_all_ranks_hold_every_element(case: Case) -> None:
    tp = case.destinations[0].tp
    for entry in entries(case.shape):
        for tensor, size in enumerate(entry.sizes):
            seen = torch.zeros(size[0], size[1] if len(size) > 1 else 1)
            for rank in range(tp):
                region = destination_region(entry, tensor, case.shape, Destination(0, rank, tp))
                seen[region.row : region.row + region.rows, region.column : region.column + region.columns] += 1
            assert (seen >= 1).all()


@given(cases())
def test_the_same_arguments_give_the_same_plan(case: Case) -> None:
    placement, _ = placed(case, numbered(hf_sizes(case.shape)))
    assert plan_of(case, placement) == plan_of(case, placement)


@given(cases())
def test_a_rank_sends_nothing_to_itself_and_receivers_keep_what_they_hold(case: Case) -> None:
    placement, _ = placed(case, numbered(hf_sizes(case.shape)))
    held = {(shard.rank, shard.name, shard.index) for shard in placement}
    indices = {(shard.rank, shard.name): shard.index for shard in placement}
    for bucket in plan_of(case, placement).buckets:
        for t in bucket.transfers:
            receiver = case.destinations[t.destination].rank
            if t.source != receiver:
                assert (receiver, t.parameter, indices[t.source, t.parameter]) not in held


@given(cases())
def test_messages_carry_every_transfer_once_and_contiguous_ones_lie_where_they_say(case: Case) -> None:
    placement, _ = placed(case, numbered(hf_sizes(case.shape)))
    for bucket in plan_of(case, placement).buckets:
        messages = bucket_messages(bucket)
        carried = [t for message in messages for t in message.transfers]
        assert len(carried) == len(bucket.transfers) and set(carried) == set(bucket.transfers)
        for message in messages:
            assert message.nbytes == sum(t.nbytes for t in message.transfers)
            position = message.start
            if position is None:
                continue
            slots = {slot.name: slot for slot in bucket.slots[message.destination]}
            for t in message.transfers:
                slot = slots[t.tensor]
                width = slot.shape[1] if len(slot.shape) > 1 else 1
                assert t.columns == width or t.rows == 1
                assert slot.start + (t.to_row * width + t.to_column) * t.itemsize == position
                position += t.nbytes


@given(cases())
def test_sender_and_receiver_list_the_messages_between_them_alike(case: Case) -> None:
    placement, _ = placed(case, numbered(hf_sizes(case.shape)))
    plan, ranks = plan_of(case, placement), range(case.layout.ranks)
    for bucket in plan.buckets:
        own = [bucket_messages(of_rank(bucket, plan.destinations, rank)) for rank in ranks]
        between: list[dict[tuple[int, int], list[Message]]] = [defaultdict(list) for _ in ranks]
        for rank, messages in enumerate(own):
            for message in messages:
                pair = (message.source, plan.destinations[message.destination].rank)
                assert rank in pair
                between[rank][pair].append(message)
        whole = bucket_messages(bucket)
        for message in whole:
            sender, receiver = message.source, plan.destinations[message.destination].rank
            assert message in between[sender][sender, receiver]
            assert between[sender][sender, receiver] == between[receiver][sender, receiver]
        assert sum(len(messages) for found in between for messages in found.values()) == sum(
            1 + (message.source != plan.destinations[message.destination].rank) for message in whole
        )


def small_case() -> tuple[Case, list[Shard]]:
    shape = model_shape("qwen3", layers=2, vocab=12)
    case = Case(shape, Layout(2, 2, 1, 1, 2), (Destination(0),))
    return case, placed(case, numbered(hf_sizes(shape)))[0]


def test_a_placement_with_several_faults_is_refused_with_all_of_them_in_one_line() -> None:
    case, placement = small_case()
    lost = "decoder.layers.1.mlp.linear_fc2.weight"
    halved = "decoder.layers.0.self_attention.linear_qkv.weight"
    faulty = [shard for shard in placement if shard.name != lost]
    faulty = [shard for shard in faulty if not (shard.name == halved and shard.index == 1)]
    faulty.append(Shard(1, "unheard_of.weight", 0, 1, (3,), torch.int64))
    norm = "decoder.final_layernorm.weight"
    faulty = [replace(s, shape=(7,)) if s.name == norm and s.rank == 2 else s for s in faulty]
    with pytest.raises(UserError) as caught:
        validate(placement_violations(entries(case.shape), case.shape, faulty, (Destination(9), Destination(0, 2, 2))))
    message = str(caught.value)
    assert "\n" not in message
    for part in (f"no rank holds {lost}", f"no rank holds shard 1 of {halved}", "unheard_of.weight", "(7,), not (8,)"):
        assert part in message
    assert "rank 9 does not exist" in message and "shard 2 of 2" in message


def test_shards_of_different_dtypes_are_refused() -> None:
    case, placement = small_case()
    name = "embedding.word_embeddings.weight"
    faulty = [replace(s, dtype=torch.float16) if s.name == name and s.rank == 1 else s for s in placement]
    (violation,) = placement_violations(entries(case.shape), case.shape, faulty, case.destinations)
    assert name in violation and "torch.float16" in violation


@pytest.mark.parametrize("fault", ["lost", "twice", "elsewhere"])
def test_a_faulty_plan_is_seen(fault: str) -> None:
    case, placement = small_case()
    plan = plan_of(case, placement, bucket_bytes=1 << 20)
    (bucket,) = plan.buckets
    transfers = list(bucket.transfers)
    victim = transfers[3]
    if fault == "lost":
        transfers.remove(victim)
    elif fault == "twice":
        transfers.append(replace(victim, source=1 - victim.source))
    else:
        transfers[3] = replace(victim, tensor="unheard_of.weight")
    found = plan_violations(replace(plan, buckets=(replace(bucket, transfers=tuple(transfers)),)))
    assert any((victim.tensor if fault != "elsewhere" else "unheard_of.weight") in violation for violation in found)


@given(cases(), st.integers(40, 400))
def test_of_a_bucket_no_rank_sends_more_than_asked_for_but_what_cannot_be_divided(case: Case, limit: int) -> None:
    placement, _ = placed(case, numbered(hf_sizes(case.shape)))
    plan = plan_evenly(entries(case.shape), case.shape, placement, case.destinations, limit)
    assert plan_violations(plan) == []
    for bucket in plan.buckets:
        sent: dict[int, int] = {}
        for t in bucket.transfers:
            if t.source != case.destinations[t.destination].rank and divisible(bucket.slots[t.destination]):
                sent[t.source] = sent.get(t.source, 0) + t.nbytes
        assert max(sent.values(), default=0) <= limit


def test_replicas_share_the_sending() -> None:
    shape = model_shape("llama", layers=8)
    case = Case(shape, Layout(1, 2, 3, 1, 1), (Destination(0),))
    placement, _ = placed(case, numbered(hf_sizes(shape)))
    sent: dict[int, int] = {}
    for bucket in plan_of(case, placement).buckets:
        for t in bucket.transfers:
            if t.source != 0:
                sent[t.source] = sent.get(t.source, 0) + t.nbytes
    assert set(sent) == {3, 4, 5}  # the second stage's three replicas; the first stage's is the receiver itself
    assert max(sent.values()) < 1.2 * min(sent.values())
