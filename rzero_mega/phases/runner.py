"""A whole run, or one phase of it: opens what the phases need, goes through the plan, skips what is finished."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from rzero_mega import spmd
from rzero_mega.coevolution.plan import PhasePlan, iteration_plan
from rzero_mega.config.layout import ParallelLayout
from rzero_mega.config.schema import Config
from rzero_mega.errors import UserError
from rzero_mega.grading import GradingPool
from rzero_mega.learner.megatron.process_groups import start_process_groups
from rzero_mega.phase_name import PhaseName
from rzero_mega.phases import challenger, evaluate, labels, questions, solver
from rzero_mega.phases.context import RunContext, Workbench, load_encoder, steps_of
from rzero_mega.rollout.sglang.nodes.job_files import job_servers_from
from rzero_mega.rollout.sglang.pool.server_pool import ServerPool, placement_here
from rzero_mega.run import RunDirectory, run_path, run_status
from rzero_mega.run.stop import StopRequest
from rzero_mega.tracking.progress import PhaseProgress, Progress
from rzero_mega.tracking.report import write_report
from rzero_mega.tracking.wandb_run import WandbRun
from rzero_mega.weights.base_model import resolve_base_model

PHASES: dict[PhaseName, Callable[[RunContext, PhasePlan, PhaseProgress], None]] = {
    PhaseName.CHALLENGER: challenger.run,
    PhaseName.QUESTIONS: questions.run,
    PhaseName.LABELS: labels.run,
    PhaseName.SOLVER: solver.run,
    PhaseName.EVALUATE: evaluate.run,
}


def run_all(config: Config, stop: StopRequest) -> None:
    """Every phase of the plan in order, then the report. The same call goes on with a run that was interrupted."""
    with _context(config, stop) as ctx:
        for plan in iteration_plan(config):
            _run_phase(ctx, plan)
        _report(ctx)
        if spmd.rank() == 0:
            ctx.progress.table(run_status(ctx.run))
            ctx.progress.say(f"report: {ctx.run.path / 'report.html'}")


def run_phase(config: Config, iteration: int, name: str, stop: StopRequest) -> None:
    """One phase; UserError if an earlier one that it needs is not finished."""
    plans = [plan for plan in iteration_plan(config) if (plan.iteration, plan.name) == (iteration, name)]
    if not plans:
        raise UserError(f"phase {name} of iteration {iteration}: not in the plan of this configuration")
    with _context(config, stop) as ctx:
        _run_phase(ctx, plans[0])
        _report(ctx)


def _run_phase(ctx: RunContext, plan: PhasePlan) -> None:
    phase, inputs = ctx.phase(plan), ctx.inputs(plan)
    if spmd.on_rank_0(phase.is_finished, inputs):
        ctx.progress.skip(plan.iteration, plan.name)
        return
    spmd.on_rank_0(phase.begin, inputs)
    if spmd.rank() == 0:
        ctx.run.event("phase_started", iteration=plan.iteration, phase=plan.name.value)
    with ctx.progress.phase(plan.iteration, plan.name, steps_of(ctx.config, plan)) as bar:
        PHASES[plan.name](ctx, plan, bar)
    if spmd.rank() == 0:
        ctx.run.event("phase_finished", iteration=plan.iteration, phase=plan.name.value)
    if ctx.wandb is not None:
        ctx.wandb.sync()
    ctx.stopwatch.take()


@contextmanager
def _context(config: Config, stop: StopRequest) -> Iterator[RunContext]:
    torch.set_num_threads(1)
    layout = ParallelLayout.from_config(config.learner.layout, config.learner.processes)
    start_process_groups(layout, config.seed)
    writer = spmd.rank() == 0
    with ExitStack() as stack:
        run = stack.enter_context(_open_run(run_path(config), config))
        base = spmd.on_rank_0(resolve_base_model, config.model, Path(config.run.root) / ".models")
        title = f"{config.recipe} · seed {config.seed}"
        progress = stack.enter_context(Progress(title, len(iteration_plan(config)), writer=writer))
        limits, pool = config.grading, None
        if writer:
            pool = stack.enter_context(GradingPool(limits.workers or None, limits.time_limit_s, limits.memory_limit_mb))
        wandb = WandbRun(run) if writer else None
        if wandb is not None:
            stack.callback(wandb.finish)
        yield RunContext(
            config=config,
            run=run,
            layout=layout,
            base=base,
            encoder=load_encoder(base),
            progress=progress,
            wandb=wandb,
            stop=stop,
            pool=pool,
            server_pool=_server_pool(stack, config, run.path / "servers", progress),
        )


def _server_pool(stack: ExitStack, config: Config, logs: Path, progress: Progress) -> ServerPool | None:
    """The run's servers, ended with the stack; None for the embedded engine."""
    if config.rollout.engine != "sglang":
        return None
    job = job_servers_from(os.environ)
    server_pool = ServerPool(config.rollout, config.weights, placement_here(config), job, logs, progress.say)
    stack.callback(server_pool.close)
    return server_pool


def _open_run(path: Path, config: Config) -> RunDirectory:
    """Rank 0 creates or opens the run and locks it; then the others open it for reading."""
    opened: list[RunDirectory] = []

    def open_to_write() -> None:
        opened.append(RunDirectory.create_or_open(path, config, writer=True))

    spmd.on_rank_0(open_to_write)
    return opened[0] if opened else RunDirectory.create_or_open(path, config, writer=False)


def _report(ctx: RunContext) -> None:
    if spmd.rank() == 0:
        write_report(ctx.run, ctx.run.path / "report.html")


def evaluate_model(config: Config) -> dict[str, object]:
    """Scores of `model.path` on the configured benchmarks, without a run directory."""
    torch.set_num_threads(1)
    base = resolve_base_model(config.model, Path(config.run.root) / ".models")
    limits = config.grading
    with ExitStack() as stack:
        pool = stack.enter_context(GradingPool(limits.workers or None, limits.time_limit_s, limits.memory_limit_mb))
        logs = Path(stack.enter_context(TemporaryDirectory(prefix="rzero-mega-")))
        shown = stack.enter_context(Progress(f"eval {config.model.path}", 1))
        bench = Workbench(config, load_encoder(base), pool, server_pool=_server_pool(stack, config, logs, shown))
        with shown.phase(0, PhaseName.EVALUATE, len(config.evaluation.benchmarks)) as bar:
            return evaluate.summary(evaluate.score_model(bench, base, bar))
