"""Which models stay on disk: those of the newest iterations, and whatever a phase that is left starts from."""

from __future__ import annotations

from collections.abc import Sequence

from rzero_mega.coevolution.label_guard import Decision, last_sound
from rzero_mega.coevolution.plan import PhasePlan, Source, iteration_plan, still_needed
from rzero_mega.phase_name import PhaseName
from rzero_mega.run import PhaseDirectory, RunDirectory
from rzero_mega.tracking.gauges import decisions, gauge_history

MODEL = "model"


def finished_phases(run: RunDirectory, plan: Sequence[PhasePlan]) -> set[tuple[int, PhaseName]]:
    """(iteration, phase) of those of the plan that are finished."""
    phases = [(phase.iteration, phase.name) for phase in plan]
    return {key for key in phases if run.phase(*key).manifest_path.is_file()}


def unneeded_outputs(run: RunDirectory, plan: Sequence[PhasePlan], phase: PhasePlan) -> tuple[str, ...]:
    """Outputs of the phase that may be gone: a model that no phase which is left starts from."""
    needed = _needed(run, plan)
    return (MODEL,) if Source(phase.iteration, phase.name, MODEL) not in needed else ()


def remove_old_models(run: RunDirectory, plan: Sequence[PhasePlan], keep: int | None) -> None:
    """Remove the models that are older than the newest `keep` iterations and not needed; None keeps all."""
    if keep is None:
        return
    trained = sorted(key for key in finished_phases(run, plan) if key[1].trains)
    needed = _needed(run, plan)
    for iteration, name in trained:
        if iteration <= trained[-1][0] - keep and Source(iteration, name, MODEL) not in needed:
            _remove(run, run.phase(iteration, name))


def _needed(run: RunDirectory, plan: Sequence[PhasePlan]) -> set[Source]:
    """What phases that are left start from, or may do so once the guard has rolled back."""
    finished, guard = finished_phases(run, plan), run.config.labels.guard
    needed = still_needed(plan, finished)
    if guard.action == "roll_back":
        gauges = gauge_history(run)
        last = max(gauges, default=0)
        # The next evaluation may send the run back: to that Solver, and to whoever votes beside it.
        back = Decision(guard.action, (), start=last_sound(last, gauges, guard), widened=False)
        needed |= still_needed(iteration_plan(run.config, {**decisions(run), last + 1: back}), finished)
    return needed


def _remove(run: RunDirectory, phase: PhaseDirectory) -> None:
    if phase.output(MODEL).exists():
        phase.remove_output(MODEL)
        run.event("model_removed", iteration=phase.iteration, phase=phase.phase.value)
