"""The commands `run` and `phase`, and the plan that `--dry-run` prints."""

from __future__ import annotations

from rzero_mega.coevolution.plan import iteration_plan
from rzero_mega.commands.start import start
from rzero_mega.config import Config, to_yaml
from rzero_mega.run import run_path
from rzero_mega.run.stop import StopRequest

# The phases are imported in the processes that run them: a launcher needs neither torch nor Megatron-core.


def run_all(config: Config) -> None:
    """Every phase of the plan that is not finished."""

    def work(stop: StopRequest) -> None:
        from rzero_mega.phases import runner

        runner.run_all(config, stop)

    start(config, work)


def run_phase(config: Config, iteration: int, name: str) -> None:
    """One phase of the plan."""

    def work(stop: StopRequest) -> None:
        from rzero_mega.phases import runner

        runner.run_phase(config, iteration, name, stop)

    start(config, work)


def plan_text(config: Config) -> str:
    """The configuration, and as comments where the run would lie and what its phases would start from and leave."""
    lines = [
        f"# {p.iteration}/{p.name}: {', '.join(map(str, p.sources))} -> {p.output.name}" for p in iteration_plan(config)
    ]
    return "\n".join([to_yaml(config), f"# run directory: {run_path(config)}", *lines])
