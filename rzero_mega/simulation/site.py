"""A configuration on a cluster: how many GPUs, which servers of which speed, and what moving its weights costs."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cached_property

from rzero_mega.coevolution.stretch import JOB_PER
from rzero_mega.config.layout import ParallelLayout
from rzero_mega.config.placement import Placement, placement_of
from rzero_mega.config.schema import Config, SglangConfig
from rzero_mega.errors import UserError
from rzero_mega.planning.assumptions import Assumptions
from rzero_mega.planning.candidate import Candidate
from rzero_mega.planning.hardware import Gpu
from rzero_mega.planning.layout_rules import check_learner
from rzero_mega.planning.models import model_named
from rzero_mega.planning.parameters import total_parameters, trained_parameters
from rzero_mega.planning.servers import DecodeStep, kv_bytes
from rzero_mega.planning.workload import Workload
from rzero_mega.simulation.drawing import Fleet
from rzero_mega.simulation.servers import ServerSpeed
from rzero_mega.weights.shape import ModelShape

# Of a GPU's memory, for weights and KV cache, where a recipe doesn't say: what SGLang chooses by itself on 80 GB.
MEMORY_FRACTION = 0.85
_FRACTION = re.compile(r"--mem-fraction-static=([0-9.]+)")


@dataclass(frozen=True)
class Site:
    """A configuration, GPUs and assumptions; `job_per` is what a job is made for, one of JOB_PER.

    `calls_of` is as `drawing.draw` has it.
    """

    config: Config
    gpu: Gpu
    assumptions: Assumptions
    job_per: str = JOB_PER[0]
    calls_of: int | None = None

    def __post_init__(self) -> None:
        if self.config.rollout.engine != "sglang":
            raise UserError("rollout.engine: an iteration is simulated on SGLang's servers; set it to sglang")
        placement_of(self.config)
        check_learner(self.shape, self.candidate.layout, self.config.learner.lora)

    @classmethod
    def of_learner(cls, config: Config, gpu: Gpu, assumptions: Assumptions) -> Site:
        """Of a run whose engine is embedded: its learner is the same, its servers are a server that nobody asks."""
        servers = replace(config.rollout, engine="sglang", sglang=SglangConfig())
        placement = replace(config.placement, servers="colocated")
        return cls(replace(config, rollout=servers, placement=placement), gpu, assumptions)

    @cached_property
    def shape(self) -> ModelShape:
        """The model's sizes."""
        return model_named(self.config.model.path)

    @cached_property
    def candidate(self) -> Candidate:
        """The learner's layout."""
        learner = self.config.learner
        layout = ParallelLayout.from_config(learner.layout, learner.processes)
        return Candidate(layout, learner.recompute)  # type: ignore[arg-type]

    @property
    def gpus(self) -> int:
        """All of the job's nodes."""
        return self.config.placement.nodes * self.config.placement.gpus_per_node

    @property
    def colocated(self) -> bool:
        """Whether servers and learner share GPUs."""
        return self.placement.shared_gpus

    @property
    def element_bytes(self) -> int:
        """Of a weight on a server."""
        return 4 if self.config.rollout.dtype == "float32" else 2

    @cached_property
    def parameters(self) -> int:
        """Of the model."""
        return total_parameters(self.shape)

    @property
    def weight_bytes(self) -> float:
        """Of the whole model as servers have it."""
        return float(self.parameters * self.element_bytes)

    @cached_property
    def trained(self) -> int:
        """Parameters that train: the model's, or those of its adapters."""
        return self.trained_on(ParallelLayout(), 0)

    def trained_on(self, layout: ParallelLayout, stage: int) -> int:
        """Those of a rank of the layout's pipeline stage."""
        lora = self.config.learner.lora
        work = Workload(adapter_rank=lora.rank or 0, adapted=tuple(lora.modules))
        held = trained_parameters(self.shape, layout, stage, work)
        return held.dense + held.experts

    @property
    def sends_adapters(self) -> bool:
        """Whether updates are adapters alone, beside the weights that servers have."""
        return self.config.learner.lora.rank is not None and self.config.weights.adapters == "alone"

    @property
    def sent_bytes(self) -> float:
        """Of an update."""
        return float(self.trained * self.element_bytes) if self.sends_adapters else self.weight_bytes

    @cached_property
    def fleet(self) -> Fleet:
        """The servers of a role. UserError if their weights leave no room for a KV cache."""
        sglang = self.config.rollout.sglang
        step = DecodeStep(self.shape, self.gpu, sglang.tp, self.element_bytes, self.assumptions.decoding)
        room = _memory_fraction(sglang) * self.gpu.memory - self.weight_bytes / sglang.tp
        tokens = room / kv_bytes(self.shape, sglang.tp, self.element_bytes)
        if tokens < 1:
            raise UserError(
                f"rollout.sglang.tp: a server over {sglang.tp} {self.gpu.name} has no memory left beside "
                f"{self.weight_bytes / sglang.tp / 1e9:.0f} GB of weights on each; raise it"
            )
        speed = ServerSpeed(
            slots=sglang.max_running_requests,
            kv_tokens=min(tokens, sglang.max_total_tokens or tokens),
            decode=step,
            call_s=self.assumptions.costs.call_s,
        )
        return Fleet(len(self.placement.servers), speed)

    @cached_property
    def placement(self) -> Placement:
        """Who has which GPUs."""
        return placement_of(self.config)


def _memory_fraction(config: SglangConfig) -> float:
    found = [_FRACTION.fullmatch(argument) for argument in config.extra_arguments]
    return next((float(match[1]) for match in found if match), MEMORY_FRACTION)
