"""The run directory: manifests, atomic artefacts, resume and events. Nothing here imports torch."""

from rzero_mega.run.directory import RunDirectory, RunInfo, run_path
from rzero_mega.run.events import Event, read_events
from rzero_mega.run.manifest import Artefact, Manifest
from rzero_mega.run.phase import PhaseDirectory

__all__ = [
    "Artefact",
    "Event",
    "Manifest",
    "PhaseDirectory",
    "RunDirectory",
    "RunInfo",
    "read_events",
    "run_path",
]
