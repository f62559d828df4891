"""A run, or a stretch of it: opens what the phases need, goes through the plan, skips what is finished."""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import assert_never

import torch

from rzero_mega import spmd
from rzero_mega.coevolution.plan import (
    ChallengerInputs,
    CriticInputs,
    EvaluateInputs,
    LabelledInputs,
    LabelsInputs,
    PhaseInputs,
    PhasePlan,
    QuestionsInputs,
    SolverInputs,
    VerifierInputs,
    iteration_plan,
)
from rzero_mega.coevolution.stretch import Stretch
from rzero_mega.config.kinds import values_of
from rzero_mega.config.layout import ParallelLayout
from rzero_mega.config.schema import Config
from rzero_mega.evaluation.texts import run_texts
from rzero_mega.learner.megatron.process_groups import start_process_groups, watched_ranks
from rzero_mega.phases import challenger, critic, evaluate, labelled, labels, questions, solver, verifier
from rzero_mega.phases.context import ActivePhase, RunContext, load_encoder, new_grader, open_server_pool
from rzero_mega.phases.guard import end_if_stopped
from rzero_mega.phases.retention import remove_old_models, unneeded_outputs
from rzero_mega.phases.servers_watched import ServersWatched, devices_of
from rzero_mega.phases.stopwatch import Stopwatch
from rzero_mega.rollout.sglang.nodes.job_files import job_node_from
from rzero_mega.rollout.sglang.pool.choices import placement_here
from rzero_mega.run import RunDirectory, run_path
from rzero_mega.run.run_log import run_log
from rzero_mega.run.stop import StopRequest
from rzero_mega.run.timeline import FILE as TIMELINE
from rzero_mega.run.timeline import Timeline
from rzero_mega.tracking.gauges import decisions
from rzero_mega.tracking.progress import Progress
from rzero_mega.tracking.prometheus import prometheus_endpoint
from rzero_mega.tracking.report import write_report
from rzero_mega.tracking.status import planned_steps, run_status
from rzero_mega.tracking.wandb_run import WandbRun
from rzero_mega.weights.base_model import resolve_base_model

_log = logging.getLogger(__name__)


def run_phases(config: Config, stop: StopRequest, stretch: Stretch | None = None) -> None:
    """The phases of the stretch, without one all of the plan, in order; then the report.

    The same call goes on with what was interrupted. UserError if an earlier phase that one needs is not finished.
    """
    plan = iteration_plan(config)
    chosen = plan if stretch is None else stretch.of(plan)
    with _open_context(config, stop) as ctx:
        for number in map(plan.index, chosen):
            # Anew each time: an evaluation may have decided what the phases after it start from.
            worked = _run_phase(ctx, _plan(ctx)[number])
            if worked and number != plan.index(chosen[-1]):
                ctx.stop_if_asked()  # beginning a phase may take longer than there is left
        _report(ctx)
        if len(chosen) > 1 and spmd.rank() == 0:
            ctx.progress.table(run_status(ctx.run))
            _log.info("report: %s", ctx.run.path / "report.html")


def _run_phase(ctx: RunContext, plan: PhasePlan) -> bool:
    """Whether there was anything to do."""
    directory, inputs = ctx.run.phase(plan.iteration, plan.name), ctx.hashes(plan.sources)
    if spmd.on_rank_0(_is_finished, ctx, plan, inputs):
        ctx.progress.skip(plan.iteration, plan.name)
        return False
    spmd.on_rank_0(end_if_stopped, ctx, plan)
    spmd.on_rank_0(directory.begin, inputs, values_of(ctx.config))
    if spmd.rank() == 0:
        ctx.run.event("phase_started", iteration=plan.iteration, phase=plan.name.value)
    planned = planned_steps(ctx.run, plan.iteration, plan.name)
    measured = ctx.stopwatch.timeline.phase(f"{plan.name} {plan.iteration}", devices_of(ctx.config))
    with ctx.progress.phase(plan.iteration, plan.name, planned) as bar, measured:
        _dispatch(ctx, ActivePhase(directory, bar, ctx.config.seed), plan.inputs)
    # The parts of a learner refer to each other; `ServerPool.make_room` hands on what torch then keeps.
    gc.collect()
    if spmd.rank() == 0:
        ctx.run.event("phase_finished", iteration=plan.iteration, phase=plan.name.value)
    spmd.on_rank_0(remove_old_models, ctx.run, _plan(ctx), ctx.config.run.keep_models)
    if ctx.wandb is not None:
        ctx.wandb.sync()
    ctx.stopwatch.take()
    return True


def _is_finished(ctx: RunContext, plan: PhasePlan, inputs: Mapping[str, str]) -> bool:
    directory = ctx.run.phase(plan.iteration, plan.name)
    return directory.is_finished(
        inputs, unneeded_outputs(ctx.run, iteration_plan(ctx.config, decisions(ctx.run)), plan)
    )


def _plan(ctx: RunContext) -> list[PhasePlan]:
    """The plan, as far as the guard has decided what it starts from; for all ranks."""
    return iteration_plan(ctx.config, spmd.on_rank_0(decisions, ctx.run))


def _dispatch(ctx: RunContext, phase: ActivePhase, inputs: PhaseInputs) -> None:
    match inputs:
        case ChallengerInputs():
            challenger.run(ctx, phase, inputs)
        case QuestionsInputs():
            questions.run(ctx, phase, inputs)
        case LabelsInputs():
            labels.run(ctx, phase, inputs)
        case VerifierInputs():
            verifier.run(ctx, phase, inputs)
        case CriticInputs():
            critic.run(ctx, phase, inputs)
        case SolverInputs():
            solver.run(ctx, phase, inputs)
        case LabelledInputs():
            labelled.run(ctx, phase, inputs)
        case EvaluateInputs():
            evaluate.run(ctx, phase, inputs)
        case _:
            assert_never(inputs)


@contextmanager
def _open_context(config: Config, stop: StopRequest) -> Iterator[RunContext]:
    torch.set_num_threads(1)
    layout = ParallelLayout.from_config(config.learner.layout, config.learner.processes)
    start_process_groups(
        layout, config.seed, config.learner.collective_timeout_s, deterministic=config.learner.deterministic
    )
    first = spmd.rank() == 0
    with ExitStack() as stack:
        run = stack.enter_context(open_run(run_path(config), config))
        in_job = job_node_from(os.environ) is not None
        if not in_job:  # a job's folder has what its ranks print
            stack.enter_context(run_log(run.path, spmd.rank()))
        base = spmd.on_rank_0(resolve_base_model, config.model, Path(config.run.root) / ".models")
        # From here on: a download is one call, which stands still as far as a thread can see.
        stack.enter_context(watched_ranks(config.learner.hang_timeout_s))
        title = f"{config.recipe} · seed {config.seed}"
        progress = stack.enter_context(Progress(title, len(iteration_plan(config)), writer=first, times=in_job))
        grader = stack.enter_context(new_grader(config))
        wandb = WandbRun(run) if first else None
        if wandb is not None:
            stack.callback(wandb.finish)
        if first:
            stack.enter_context(prometheus_endpoint(config.tracking.prometheus, run))
        stopwatch = Stopwatch(Timeline(run.path / TIMELINE if first else None))
        watched = _servers_watched(config, stopwatch)
        server_pool = stack.enter_context(open_server_pool(config, run.path / "servers", watched))
        yield RunContext(
            config,
            load_encoder(base),
            grader,
            server_pool,
            run,
            layout,
            base,
            progress,
            wandb,
            stop,
            stopwatch=stopwatch,
            servers_watched=watched,
        )


def _servers_watched(config: Config, stopwatch: Stopwatch) -> ServersWatched | None:
    if config.rollout.engine != "sglang":
        return None
    return ServersWatched(stopwatch, placement_here(config), config.rollout.sglang.tp)


def open_run(path: Path, config: Config) -> RunDirectory:
    """Rank 0 creates or opens the run and locks it; then the others open it for reading."""
    opened: list[RunDirectory] = []

    def open_to_write() -> None:
        opened.append(RunDirectory.create_or_open(path, config, writer=True, texts=run_texts(config)))

    spmd.on_rank_0(open_to_write)
    return opened[0] if opened else RunDirectory.create_or_open(path, config, writer=False)


def _report(ctx: RunContext) -> None:
    if spmd.rank() == 0:
        write_report(ctx.run, ctx.run.path / "report.html")
