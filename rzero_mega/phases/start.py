"""What a training phase begins with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rzero_mega.coevolution.plan import Source
from rzero_mega.phases.context import RunContext


@dataclass(frozen=True)
class StartFolders:
    """Where the models of a `Start` lie; without a `base` the policy is the base model, or nobody asks for it."""

    policy: Path
    base: Path | None


@dataclass(frozen=True)
class Start:
    """The model that a phase trains, and the base model where the phase needs that, too."""

    policy: Source
    base: Source | None = None

    def folders(self, ctx: RunContext) -> StartFolders:
        """Both, unchanged since they were made; UserError as `RunContext.model`. For all ranks."""
        base = self.base if self.base != self.policy else None
        return StartFolders(ctx.model(self.policy), None if base is None else ctx.model(base))
