"""The command `plan --iteration`: how long an iteration takes, what its GPUs do, and what each change is worth."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from rzero_mega.coevolution.stretch import checked_per
from rzero_mega.config.schema import Config
from rzero_mega.phase_name import PhaseName
from rzero_mega.planning.assumptions import Assumptions, read_assumptions, shipped
from rzero_mega.planning.hardware import gpu_named
from rzero_mega.run import RunDirectory
from rzero_mega.simulation.fit import Fit, fit, seconds_taken
from rzero_mega.simulation.iteration import IterationTime, iteration_time
from rzero_mega.simulation.sending import sending
from rzero_mega.simulation.site import Site
from rzero_mega.simulation.switches import Effect, effects, on_nodes
from rzero_mega.terminal import new_console, say

NOTE = (
    "Modelled, not measured: the run's own scheduling on a virtual clock, at speeds of planning/assumptions.yaml. Busy "
    "is a GPU whose server has work, or whose learner trains."
)


def simulate(
    config: Config | None,
    gpu: str,
    nodes: int | None,
    assumptions: Path | None,
    run: Path | None,
    job_per: str | None,
    switches: bool,
    as_json: bool,
) -> None:
    """Print the iteration of a configuration, or of the `run`'s own, beside what that took.

    UserError for one that can't be simulated, before anything is printed.
    """
    assumed = shipped() if assumptions is None else read_assumptions(assumptions)
    kind, per = gpu_named(gpu), checked_per(job_per)
    fitted = None if run is None else fit(run, kind, assumed)
    took: Mapping[PhaseName, float] = {}
    if config is None:
        assert run is not None
        directory = RunDirectory.open_existing(run)
        config, took = directory.config, seconds_taken(directory) if nodes is None else {}
    config = config if nodes is None else on_nodes(config, nodes)
    assumed = assumed if fitted is None else fitted.assumptions
    if took:
        # A phase's time begins in its job.
        assumed = assumed.with_values({"costs.job_start_s": 0.0}, "left out beside what phases took")
    site = Site(config, kind, assumed, per)
    found = iteration_time(site)
    tried = list(effects(site)) if switches else []
    if as_json:
        say(json_text(site, found, tried, fitted, took))
    else:
        _show(site, found, tried, fitted, took)


def json_text(
    site: Site,
    found: IterationTime,
    tried: Sequence[Effect],
    fitted: Fit | None,
    took: Mapping[PhaseName, float],
) -> str:
    """Everything in seconds, GPU-hours and shares."""
    return json.dumps(
        {
            "gpu": site.gpu.name,
            "job_per": site.job_per,
            **_summary(found),
            "update": _update(site),
            "phases": [
                {
                    "phase": str(phase.phase),
                    "seconds": phase.seconds,
                    "took": took.get(phase.phase),
                    "idle": phase.idle,
                    "draws": phase.draws,
                    "activities": [asdict(activity) for activity in phase.activities],
                }
                for phase in found.phases
            ],
            "switches": [
                {"name": effect.switch.name, "settings": effect.switch.settings, "refused": effect.refused}
                if effect.time is None
                else {"name": effect.switch.name, "settings": effect.switch.settings, **_summary(effect.time)}
                for effect in tried
            ],
            "fitted": [] if fitted is None else [asdict(item) for item in fitted.fitted],
            "kept": [] if fitted is None else list(fitted.kept),
            "assumptions": _values(site.assumptions),
        },
        indent=2,
    )


def _summary(found: IterationTime) -> dict[str, Any]:
    return {
        "gpus": found.gpus,
        "seconds": found.seconds,
        "gpu_hours": found.gpu_hours,
        "idle": found.idle,
        "by_activity": found.by_activity,
    }


def _update(site: Site) -> dict[str, Any]:
    update = sending(site)
    links = {link.name: link.nbytes for link in update.links}
    ranks = list(update.senders)
    return {"transport": update.transport, "senders": ranks, "seconds": update.seconds(site), "bytes": links}


def _values(assumptions: Assumptions) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for key, source in assumptions.sources.items():
        section, _, name = key.partition(".")
        value = getattr(getattr(assumptions, section), name)
        found.setdefault(section, {})[name] = {"value": value, "source": source}
    return found


def _show(
    site: Site,
    found: IterationTime,
    tried: Sequence[Effect],
    fitted: Fit | None,
    took: Mapping[PhaseName, float],
) -> None:
    console = new_console()
    if fitted is not None:
        for item in fitted.fitted:
            console.print(f"fitted: {item}", soft_wrap=True, markup=False, highlight=False)
        kept = ", ".join(fitted.kept)
        console.print(f"kept from the file: {kept}", soft_wrap=True, markup=False, highlight=False)
    console.print(_phases(site, found, took))
    _dominates(console, found)
    update = _update(site)
    links = ", ".join(f"{_gb(nbytes)} GB {name}" for name, nbytes in update["bytes"].items())
    by = f"{update['transport']} from rank {', '.join(map(str, update['senders']))}"
    said = f"an update of servers, by {by}: {update['seconds']:,.0f} s; {links}"
    console.print(said, soft_wrap=True, markup=False, highlight=False)
    if tried:
        console.print(_switches(found, tried))


def _gb(nbytes: float) -> str:
    return f"{nbytes / 1e9:,.0f}" if nbytes >= 1e9 else f"{nbytes / 1e9:.2g}"


def _table(title: str, columns: Sequence[str], caption: str | None = None) -> Table:
    table = Table(title=title, caption=caption, box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for number, name in enumerate(columns):
        table.add_column(name, justify="right" if number else "left")
    return table


def _phases(site: Site, found: IterationTime, took: Mapping[PhaseName, float]) -> Table:
    config = site.config
    title = (
        f"{config.recipe}: one iteration on {found.gpus} x {site.gpu.name}, as the code is, a job per {site.job_per}"
    )
    measured = ("took",) if took else ()
    table = _table(title, ("phase", "minutes", *measured, "GPU-hours", "idle", "draws", "most of it"), NOTE)
    for phase in found.phases:
        most = list(phase.by_activity.items())[:3]
        said = ", ".join(f"{name} {seconds / max(phase.seconds, 1e-9):.0%}" for name, seconds in most if seconds > 0)
        minutes = (f"{phase.seconds / 60:.1f}", *_minutes(took, (phase.phase,)))
        cells = (f"{phase.gpu_hours:.1f}", f"{phase.idle:.0%}", str(phase.draws), said)
        table.add_row(str(phase.phase), *minutes, *cells)
    minutes = (f"{found.seconds / 60:.1f}", *_minutes(took, [phase.phase for phase in found.phases]))
    whole = (*minutes, f"{found.gpu_hours:.1f}", f"{found.idle:.0%}")
    table.add_row("all", *whole, str(sum(phase.draws for phase in found.phases)), "", style="bold")
    return table


def _minutes(took: Mapping[PhaseName, float], phases: Sequence[PhaseName]) -> tuple[str, ...]:
    """What the phases took together, for a table that has a column of it."""
    if not took:
        return ()
    known = all(phase in took for phase in phases)
    return (f"{sum(took[phase] for phase in phases) / 60:.1f}" if known else "–",)


def _dominates(console: Console, found: IterationTime) -> None:
    parts = [f"{name} {seconds / found.seconds:.0%}" for name, seconds in found.by_activity.items() if seconds > 0]
    console.print(f"of the time: {', '.join(parts)}", soft_wrap=True, markup=False, highlight=False)


def _switches(found: IterationTime, tried: Sequence[Effect]) -> Table:
    table = _table("each of these alone", ("change", "minutes", "GPU-hours", "idle", "saves"))
    for effect in tried:
        if effect.time is None:
            table.add_row(effect.switch.name, "-", "-", "-", effect.refused.partition(":")[0])
            continue
        time = effect.time
        saved = found.gpu_hours - time.gpu_hours
        cells = (f"{time.seconds / 60:.1f}", f"{time.gpu_hours:.1f}", f"{time.idle:.0%}", f"{saved:+.1f} GPU-h")
        table.add_row(effect.switch.name, *cells)
    return table
