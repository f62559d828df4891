"""How long the learner's part of a training step takes: an estimate, by a roofline of every part.

Arithmetic goes at a share of the data sheet's peak, what lies between matrix products at a share of the memory's
bandwidth, communication at a share of the links' (`assumptions.yaml`). Nothing is overlapped but the reduction of
gradients with the last backward pass, and every sequence has its full length. It is for ranking layouts, not for
promising tokens per second.
"""

from __future__ import annotations

from dataclasses import dataclass

from rzero_mega.config.layout import ParallelLayout
from rzero_mega.planning.activations import FP32
from rzero_mega.planning.assumptions import TrainingShares, shipped
from rzero_mega.planning.candidate import Candidate
from rzero_mega.planning.hardware import Gpu
from rzero_mega.planning.kernels import LEARNER, Kernels
from rzero_mega.planning.layer_time import Passes, accumulation_time, layer_time, output_time
from rzero_mega.planning.parameters import trained_parameters
from rzero_mega.planning.workload import Workload
from rzero_mega.weights.shape import ModelShape


@dataclass(frozen=True)
class StepTime:
    """Seconds of a step by what they are spent on.

    `compute` is arithmetic, `memory` what lies between matrix products and the sum of gradients. `imbalance` is what
    the last stage of a pipeline takes longer than the mean: the output layer; `bubble` is the pipeline's waiting.
    """

    compute: float
    memory: float
    tensor: float
    context: float
    experts: float
    pipeline: float
    imbalance: float
    bubble: float
    data: float
    optimizer: float

    @property
    def seconds(self) -> float:
        """All of it."""
        on_ranks = self.compute + self.memory + self.tensor + self.context + self.experts
        return on_ranks + self.pipeline + self.imbalance + self.bubble + self.data + self.optimizer


@dataclass(frozen=True)
class Links:
    """Bytes per second between the ranks of each kind of group, and what an exchange between experts' ranks takes.

    Megatron numbers ranks with tp fastest, then cp, dp, pp (experts: etp, ep, dp, pp): a group is inside a node if
    everything up to it is. What experts exchange goes directly from rank to rank: `ep_outside` of it leaves the node.
    """

    tp: float
    cp: float
    ep: float
    dp: float
    pp: float
    ep_outside: float
    network: float


def links(layout: ParallelLayout, gpu: Gpu, gpus_per_node: int, share: float | None = None) -> Links:
    """What the groups of this layout communicate over, at a share of the data sheet."""
    share = shipped().training.link_share if share is None else share
    tp = layout.tp
    cp = tp * layout.cp
    dp = cp * layout.dp
    nvlink, network = share * gpu.nvlink, share * gpu.network
    spans = (tp, cp, dp, dp * layout.pp)
    tp_link, cp_link, dp_link, pp_link = (nvlink if span <= gpus_per_node else network for span in spans)
    span = layout.etp * layout.ep
    outside = max(0, span - gpus_per_node) / span
    return Links(tp_link, cp_link, nvlink, dp_link, pp_link, outside, network)


def step_time(
    shape: ModelShape,
    candidate: Candidate,
    workload: Workload,
    gpu: Gpu,
    gpus_per_node: int,
    shares: TrainingShares | None = None,
    kernels: Kernels = LEARNER,
) -> StepTime:
    """Seconds of one step's scoring passes and optimizer updates; `shares` None are the shipped ones."""
    shares = shares or shipped().training
    layout, between = candidate.layout, links(candidate.layout, gpu, gpus_per_node, shares.link_share)
    micro_batches = workload.updates * workload.micro_batches(layout.dp)
    budget, length = workload.tokens_per_micro_batch, workload.length
    tokens = min(budget, max(1, budget // length) * length)
    layer = layer_time(shape, layout, workload, gpu, shares, tokens)
    output = Passes(0.0, 0.0)
    if not shape.scores:  # a Critic's head is next to nothing
        output = output_time(shape, layout, workload, gpu, shares, tokens, kernels)
    full, selective = candidate.recompute == "full", candidate.recompute == "selective"
    forwards = 1 + full + workload.scoring_passes
    stage = shape.layers / layout.pp
    arithmetic = Passes(layer.products.forward + layer.core.forward, layer.products.backward + layer.core.backward)
    layers = stage * (arithmetic.total(forwards, 1) + selective * layer.core.forward)
    last = output.total(1 + workload.scoring_passes, 1)
    compute = micro_batches * (layers + last / layout.pp)
    accumulated = accumulation_time(shape, layout, workload, gpu, shares, kernels)
    memory = micro_batches * (stage * layer.memory.total(forwards, 1) + accumulated)
    imbalance = micro_batches * last * (1 - 1 / layout.pp)
    exchange = _Exchange(shape, layout, workload, tokens, between, shares.collective_s)
    per_layer = micro_batches * stage
    tensor = per_layer * exchange.tensor.total(forwards, 1)
    context = per_layer * exchange.context.total(forwards, 1)
    experts = per_layer * exchange.experts.total(forwards, 1)
    sent = micro_batches * (1 + workload.scoring_passes + 1) * (layout.vpp if layout.pp > 1 else 0)
    pipeline = sent * exchange.boundary
    # (p - 1) / (m v) of a stage's work: Narayanan et al., arXiv 2104.04473, section 2.2.
    idle = (layout.pp - 1) / (workload.micro_batches(layout.dp) * layout.vpp)
    bubble = idle * (compute + memory + tensor + context + experts)
    reduced, gathered, optimizer = _update_seconds(shape, layout, workload, gpu, between.dp, shares)
    # Each gradient is on its way as soon as the last micro-batch has it.
    hidden = stage * layer.whole.backward
    return StepTime(
        compute=compute,
        memory=memory,
        tensor=tensor,
        context=context,
        experts=experts,
        pipeline=pipeline,
        imbalance=imbalance,
        bubble=bubble,
        data=workload.updates * (max(0.0, reduced - hidden) + gathered),
        optimizer=workload.updates * optimizer,
    )


@dataclass(frozen=True)
class _Exchange:
    """What a layer's passes over a micro-batch send; seconds."""

    shape: ModelShape
    layout: ParallelLayout
    workload: Workload
    tokens: int
    links: Links
    collective_s: float

    @property
    def tensor(self) -> Passes:
        """Two all-reduces, or as much in all-gathers and reduce-scatters; experts exchange tokens instead of one.

        With sequence parallelism inputs are gathered once more going back, for the gradients of weights (Korthikanti et
        al., arXiv 2205.05198, section 4.2.2).
        """
        layout = self.layout
        reductions = 1 if self.shape.experts else 2
        once = self.tokens / layout.cp * self.shape.hidden * self.workload.element_bytes * (layout.tp - 1) / layout.tp
        forward = self._seconds(reductions * 2 * once, self.links.tp, 2 * reductions)
        again = reductions if layout.sequence_parallel else 0
        return Passes(forward, forward + self._seconds(again * once, self.links.tp, again))

    @property
    def context(self) -> Passes:
        """Keys and values of the other ranks' tokens; going back their gradients as well."""
        layout = self.layout
        others = self.tokens * (layout.cp - 1) / layout.cp
        nbytes = others * 2 * self.shape.size("keys") / layout.tp * self.workload.element_bytes
        rounds = layout.cp - 1
        return Passes(
            self._seconds(nbytes, self.links.cp, rounds), self._seconds(2 * nbytes, self.links.cp, 2 * rounds)
        )

    @property
    def experts(self) -> Passes:
        """To the experts and back (all-to-all over ep, all-gather and reduce-scatter over etp).

        What stays in the node and what leaves it go at the same time.
        """
        shape, layout = self.shape, self.layout
        if not shape.experts or layout.ep * layout.etp == 1:
            return Passes(0.0, 0.0)
        chosen = self.tokens / layout.token_ranks * shape.experts_per_token * shape.hidden
        nbytes = 2 * chosen * self.workload.element_bytes * ((layout.ep - 1) / layout.ep + layout.etp - 1)
        outside = self.links.ep_outside
        slower = max((1 - outside) / self.links.ep, outside / self.links.network)
        seconds = nbytes * slower + 2 * self.collective_s
        return Passes(seconds, seconds)

    @property
    def boundary(self) -> float:
        """From one stage to the next."""
        nbytes = self.tokens * self.shape.hidden * self.workload.element_bytes / self.layout.token_ranks
        return self._seconds(nbytes, self.links.pp, 1)

    def _seconds(self, nbytes: float, bandwidth: float, collectives: int) -> float:
        return nbytes / bandwidth + collectives * self.collective_s if nbytes else 0.0


def _update_seconds(
    shape: ModelShape, layout: ParallelLayout, workload: Workload, gpu: Gpu, link: float, shares: TrainingShares
) -> tuple[float, float, float]:
    """Of an optimizer update: gradients reduced in fp32, weights gathered, and AdamW's arithmetic."""
    held = trained_parameters(shape, layout, 0, workload)
    ranks = layout.dp * layout.cp
    dense = held.dense * (ranks - 1) / ranks
    experts = held.experts * (layout.expert_dp - 1) / layout.expert_dp
    # Three states are read and written, a gradient read, a weight written.
    updated = held.dense / ranks + held.experts / layout.expert_dp
    # All gradients are zeroed, and gone over for their norm and the guard.
    nbytes = updated * (7 * FP32 + workload.element_bytes) + (held.dense + held.experts) * 4 * FP32
    arithmetic = nbytes / (shares.memory_share * gpu.memory_bandwidth)
    return (dense + experts) * FP32 / link, (dense + experts) * workload.element_bytes / link, arithmetic
