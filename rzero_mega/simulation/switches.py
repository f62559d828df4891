"""What single changes of a configuration are worth: each alone, everything else as it is.

A change that the code learns to make is an entry of `switches`: settings of its own, or a field of `Site`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from rzero_mega.coevolution.stretch import JOB_PER
from rzero_mega.config import with_overrides
from rzero_mega.config.schema import Config
from rzero_mega.config.schema.labelled import SFT
from rzero_mega.errors import UserError
from rzero_mega.planning.overrides import overrides
from rzero_mega.planning.request import PlanRequest
from rzero_mega.planning.search import recommendation
from rzero_mega.planning.workload import Workload
from rzero_mega.simulation.iteration import IterationTime, iteration_time
from rzero_mega.simulation.site import Site

WHOLE_CALLS = 64
"""Draws of a call as they were before the queue."""


@dataclass(frozen=True)
class Switch:
    """A change: what it is called, settings over the configuration, and another way to run it."""

    name: str
    settings: tuple[str, ...] = ()
    run: Callable[[Site], Site] = lambda site: site

    def applied(self, site: Site) -> Site:
        """The site with it; UserError if the configuration does not allow it."""
        return self.run(replace(site, config=with_overrides(site.config, self.settings)))


@dataclass(frozen=True)
class Effect:
    """An iteration under a switch; `refused` says why there is none."""

    switch: Switch
    time: IterationTime | None
    refused: str = ""


def switches(site: Site) -> Iterator[Switch]:
    """Those that change anything here."""
    config = site.config
    yield Switch(
        f"calls of {WHOLE_CALLS} draws, as before the queue", run=lambda site: replace(site, calls_of=WHOLE_CALLS)
    )
    yield from _placement(config)
    for per in JOB_PER:
        if per != site.job_per:
            yield Switch(f"submit --job-per {per}", run=partial(replace, job_per=per))
    if not config.challenger.training.ahead and config.placement.servers == "split":
        yield Switch("ahead=1 in both trainings", ("challenger.training.ahead=1", "solver.training.ahead=1"))
    if not config.solver.over_provision and config.labelled.method != SFT:
        yield Switch("a quarter more questions than a Solver's step takes", ("solver.over_provision=0.25",))
    if config.learner.checkpoint.every is None:
        yield Switch("a checkpoint after each step", ("learner.checkpoint.every=1",))
    if config.weights.verify.checksums_every:
        yield Switch("no checksums", ("weights.verify.checksums_every=0",))
    if config.weights.verify.probe_every:
        yield Switch("no probes", ("weights.verify.probe_every=0",))
    slots = 2 * config.rollout.sglang.max_running_requests
    yield Switch(f"{slots} slots per server", (f"rollout.sglang.max_running_requests={slots}",))
    yield from _layout(site)


def effects(site: Site) -> Iterator[Effect]:
    """An iteration with each of them alone, one after the other."""
    for switch in switches(site):
        try:
            yield Effect(switch, iteration_time(switch.applied(site)))
        except UserError as error:
            yield Effect(switch, None, str(error))


def on_nodes(config: Config, nodes: int) -> Config:
    """The configuration on so many nodes: learner and servers grow alike. UserError unless they can."""
    before = config.placement.nodes
    parts = {
        "learner.processes": config.learner.processes,
        "rollout.sglang.replicas": config.rollout.sglang.replicas,
    }
    wrong = [key for key, value in parts.items() if value * nodes % before]
    if nodes < 1 or wrong:
        what = f"{wrong[0]} {parts[wrong[0]]} on {before} nodes" if wrong else "at least 1"
        raise UserError(f"--nodes {nodes}: the recipe can't be spread over as many ({what}); give its own keys instead")
    settings = [f"{key}={value * nodes // before}" for key, value in parts.items()]
    host = ["rollout.sglang.host=0.0.0.0"] if nodes > 1 else []
    return with_overrides(config, [f"placement.nodes={nodes}", *settings, *host])


def _placement(config: Config) -> Iterator[Switch]:
    """The other placement, on the same GPUs."""
    gpus, tp = config.placement.nodes * config.placement.gpus_per_node, config.rollout.sglang.tp
    if config.placement.servers == "split":
        everywhere = (
            "placement.servers=colocated",
            f"learner.processes={gpus}",
            f"rollout.sglang.replicas={gpus // tp}",
        )
        no_ahead = ("challenger.training.ahead=0", "solver.training.ahead=0")
        yield Switch("learner and servers on all GPUs in turns", (*everywhere, "learner.offload=all", *no_ahead))
    else:
        half = (
            "placement.servers=split",
            f"learner.processes={gpus // 2}",
            f"rollout.sglang.replicas={gpus // 2 // tp}",
        )
        yield Switch("learner and servers on half of the GPUs each", (*half, "learner.offload=none"))


def _layout(site: Site) -> Iterator[Switch]:
    """The planner's layout of the same GPUs, if it is another one."""
    settings = _planned(site)
    learner = [setting for setting in settings if setting.startswith("learner.") and "offload" not in setting]
    if learner and with_overrides(site.config, learner).learner != site.config.learner:
        yield Switch("the planner's layout of the learner", tuple(learner))


def _planned(site: Site) -> Sequence[str]:
    config, training = site.config, site.config.solver.training
    tokens = config.learner.tokens_per_micro_batch
    work = Workload(
        sequences=training.prompts_per_step * training.rollouts_per_prompt,
        length=min(1024, tokens),
        longest=tokens,
        tokens_per_micro_batch=tokens,
        sequences_per_update=training.grpo.sequences_per_update,
        element_bytes=4 if config.learner.dtype == "float32" else 2,
        fp8=config.learner.fp8.format != "none",
        adapter_rank=config.learner.lora.rank or 0,
        adapted=tuple(config.learner.lora.modules),
        critic=config.critic.scalar,
    )
    per_node = config.placement.gpus_per_node
    request = PlanRequest(site.shape, config.learner.processes, site.gpu, work, per_node, server_placement="elsewhere")
    try:
        return overrides(recommendation(request, 1)[0], request)
    except UserError:
        return ()
