"""The commands `run` and `phase`, and the plan that `--dry-run` prints."""

from __future__ import annotations

from rzero_mega.coevolution.plan import PhasePlan, has_gauges, iteration_plan
from rzero_mega.coevolution.stretch import Stretch
from rzero_mega.commands.checks import check_start, check_stretch
from rzero_mega.commands.start import start
from rzero_mega.config import Config, to_yaml
from rzero_mega.run import RunDirectory, run_path
from rzero_mega.run.stop import StopRequest
from rzero_mega.tracking.gauges import decisions
from rzero_mega.tracking.values import key_histories

_GUARDED = {
    "widen": "after an iteration that is not sound labels.guard.panel votes, and its models are inputs of labels",
    "stop": "after an iteration that is not sound the run ends",
    "roll_back": "after an iteration that is not sound the next starts from the Solver of the last sound one",
}
"""What the guard may change about the plan, by its action."""

# The phases are imported in the processes that run them: a launcher needs neither torch nor Megatron-core.


def run_phases(config: Config, iteration: int | None = None, phase: str | None = None) -> None:
    """What is not finished of the plan, of one of its iterations, or of one phase in it."""
    if iteration is not None:
        check_stretch(config, iteration, phase)
    stretch = None if iteration is None else Stretch.named(iteration, phase)

    def work(stop: StopRequest) -> None:
        from rzero_mega.phases import runner

        runner.run_phases(config, stop, stretch)

    start(config, work)


def dry_run(config: Config, iteration: int | None = None) -> str:
    """What is wrong is a UserError, as it would be for `run_phases`; else the plan."""
    if iteration is not None:
        check_stretch(config, iteration, None)
    check_start(config)
    return plan_text(config)


def plan_text(config: Config) -> str:
    """The configuration, and as comments where the run would lie and what its phases would start from and leave.

    Of a run that is there also which phases are finished, and which values those had that have begun.
    """
    path = run_path(config)
    run = RunDirectory.open_existing(path) if (path / "run.json").is_file() else None
    decided = decisions(run) if run is not None else {}
    lines = [f"# {_line(plan, run)}" for plan in iteration_plan(config, decided)]
    if has_gauges(config) and (what := _GUARDED.get(config.labels.guard.action)) is not None:
        lines.append(f"# labels.guard: {what}")
    histories = key_histories(run, config) if run is not None else []
    return "\n".join([to_yaml(config), f"# run directory: {path}", *lines, *(f"# {history}" for history in histories)])


def _line(plan: PhasePlan, run: RunDirectory | None) -> str:
    done = run is not None and run.phase(plan.iteration, plan.name).manifest_path.is_file()
    return f"{plan} (finished)" if done else str(plan)
