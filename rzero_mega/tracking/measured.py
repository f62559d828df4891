"""What a third role of a run was measured to do, as its phase left it."""

from __future__ import annotations

from rzero_mega.errors import UserError
from rzero_mega.phase_name import PhaseName
from rzero_mega.records import R, record_if_sound
from rzero_mega.run import Manifest, RunDirectory

MEASURED = "measured"
"""In the summary of the role's phase."""


def measured_if_sound(manifest: Manifest | None, kind: type[R]) -> R | None:
    """Out of the manifest of the role's phase, to be shown; None where it has nothing that can be read."""
    return None if manifest is None else record_if_sound(manifest.summary.get(MEASURED), kind)


def measured_by(run: RunDirectory, iteration: int, name: PhaseName, kind: type[R]) -> R:
    """That of an iteration's phase, to go by; UserError names a manifest that lacks it or has it malformed."""
    phase = run.phase(iteration, name)
    manifest = phase.manifest()
    try:
        return kind.from_json(manifest.summary[MEASURED] if manifest is not None else {})
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        what = f"{MEASURED} is missing or malformed ({error!r})"
        raise UserError(f"{phase.manifest_path}: {what}; remove {phase.path} to redo the phase") from None
