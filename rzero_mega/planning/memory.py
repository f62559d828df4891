"""Bytes on one GPU, by kind, for a model under a layout."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rzero_mega.config.layout import ParallelLayout
from rzero_mega.planning.activations import FP32, layer_bytes, norm_bytes
from rzero_mega.planning.candidate import Candidate
from rzero_mega.planning.parameters import Parameters, rank_parameters, stage_layers, trained_parameters
from rzero_mega.planning.workload import TransformerImpl, Workload
from rzero_mega.weights.shape import ModelShape

# As learner/output_layer.py has them; a test compares them. Pieces are those of GPUs and of CPUs.
CHUNK_BYTES = 1 << 29
PIECES: dict[TransformerImpl, int] = {"transformer_engine": 1 << 25, "local": 1 << 18}


@dataclass(frozen=True)
class LearnerMemory:
    """Bytes of one rank.

    `logits` is the most that log-probabilities need at once, `workspace` the most that a layer's backward pass does;
    the two never meet. `reference` is the copy of the weights that is put aside while a reference model is scored which
    isn't the policy without its adapters, or the weights of a Critic that scores between steps; `scored_logits` what
    scoring needs of logits.
    """

    weights: float
    gradients: float
    optimizer: float
    activations: float
    workspace: float
    logits: float
    reference: float
    scored_logits: float

    @property
    def resident(self) -> float:
        """What stays between steps."""
        return self.weights + self.gradients + self.optimizer

    @property
    def training(self) -> float:
        """The most during forward and backward passes."""
        return self.resident + self.activations + max(self.logits, self.workspace)

    @property
    def scoring(self) -> float:
        """The most during the reference model's forward pass."""
        return self.resident + self.reference + max(self.scored_logits, self.workspace)

    @property
    def peak(self) -> float:
        """The most during a step."""
        return max(self.training, self.scoring)


def learner_memory(shape: ModelShape, candidate: Candidate, workload: Workload) -> LearnerMemory:
    """Of the rank that needs most: one of the first pipeline stage or of the last, of a policy or of a Critic."""
    stages, shapes = {0, candidate.layout.pp - 1}, [shape, *([replace(shape, scores=1)] if workload.critic else [])]
    found = (stage_memory(trained, candidate, workload, stage) for trained in shapes for stage in stages)
    return max(found, key=lambda memory: memory.peak)


def stage_memory(shape: ModelShape, candidate: Candidate, workload: Workload, stage: int) -> LearnerMemory:
    """Of a rank of the given pipeline stage.

    Gradients are accumulated in fp32. The optimizer's states (two moments, and in bf16 a master copy, all fp32) are cut
    over the data-parallel ranks: Rajbhandari et al., "ZeRO" (arXiv 1910.02054), stage 1.
    """
    layout, width = candidate.layout, workload.element_bytes
    parameters = rank_parameters(shape, layout, stage)
    trained = trained_parameters(shape, layout, stage, workload)
    held, gradients = parameters.dense + parameters.experts, trained.dense + trained.experts
    adapters = gradients if workload.adapter_rank else 0
    # The model at the start of the phase is the policy's with its adapters off.
    aside = workload.scoring_passes > (Workload.scoring_passes if adapters else 0)
    tokens, last = workload.tokens_per_micro_batch, stage == layout.pp - 1
    layer = layer_bytes(shape, candidate, workload)
    activations, workspace = layer.saved, layer.workspace
    if candidate.recompute == "full":
        activations, workspace = layer.input, layer.workspace + layer.saved
    saved = tokens * activations * _layers_in_flight(shape, layout, workload, stage)
    if last:
        saved += tokens * norm_bytes(shape, workload.transformer_impl, width) / layout.token_ranks
    logits = _logits(shape, layout, workload) if last else (0.0, 0.0)
    return LearnerMemory(
        weights=(held + adapters) * width,
        gradients=gradients * FP32,
        optimizer=_optimizer(trained, layout, width),
        activations=saved,
        workspace=tokens * workspace,
        logits=logits[0],
        reference=held * width if aside else 0.0,
        scored_logits=logits[1],
    )


def _optimizer(parameters: Parameters, layout: ParallelLayout, width: int) -> float:
    states = 2 if width == FP32 else 3  # fp32 weights are their own master copy
    sharded = parameters.dense / (layout.dp * layout.cp) + parameters.experts / layout.expert_dp
    return states * FP32 * sharded


def _layers_in_flight(shape: ModelShape, layout: ParallelLayout, workload: Workload, stage: int) -> float:
    """Layers whose activations a stage holds at most, over all micro-batches under way.

    1F1B holds pp - stage micro-batches; interleaved, 2(pp - stage - 1) + (vpp - 1) pp + 1 chunks of a stage's vpp
    (Narayanan et al., arXiv 2104.04473, section 2.2).
    """
    after = layout.pp - stage - 1
    chunks = after + 1 if layout.vpp == 1 else 2 * after + (layout.vpp - 1) * layout.pp + 1
    chunks = min(chunks, workload.micro_batches(layout.dp) * layout.vpp)
    return chunks * stage_layers(shape, layout) / layout.vpp


def chunk_bytes(shape: ModelShape, layout: ParallelLayout) -> int:
    """What logits and hidden states of a chunk may take: at least as much as the output layer's rows here in fp32."""
    return max(CHUNK_BYTES, FP32 * -(-shape.vocab // layout.tp) * shape.hidden)


def _logits(shape: ModelShape, layout: ParallelLayout, workload: Workload) -> tuple[float, float]:
    """(training, scoring): the most that the output layer takes at once; logits exist for a chunk of tokens.

    A chunk is logits and hidden states in the weights' type, a piece of either in fp32. In training a hidden state has
    its gradient in the chunk, and there are besides the gradients of all hidden states, and of the weight if it trains.
    A Critic has these gradients alone, and that of the weight, which is zero, where the weight isn't the embedding.
    """
    row, width = -(-shape.vocab // layout.tp), workload.element_bytes
    tokens = workload.tokens_per_micro_batch / layout.cp
    of_weight = 0 if workload.adapter_rank or (shape.scores and shape.tied) else row
    gradients = width * (tokens + of_weight) * shape.hidden
    if shape.scores:
        return gradients, 0.0
    most, piece = chunk_bytes(shape, layout), PIECES[workload.transformer_impl]
    # In bf16 what is computed from is copied first; on CPUs the second factor of entropies as well.
    copies = 1 if width == FP32 else 2
    factors = copies + 1 if copies == 2 and workload.transformer_impl == "local" else copies
    normalized = FP32 * copies * min(tokens * row, piece)
    entropies = FP32 * factors * min(tokens * shape.hidden, piece)
    scoring = min(tokens * width * (row + shape.hidden), most) + normalized
    training = min(tokens * width * (row + 2 * shape.hidden), most) + max(normalized, entropies)
    return training + gradients, scoring
