"""A role's servers that speak for one model after the other, several times over, in a phase."""

from __future__ import annotations

from pathlib import Path

from rzero_mega.phases.context import Role, RunContext
from rzero_mega.rollout.protocol import RolloutEngine


class Place:
    """Whoever speaks is asked for by its model's folder, each time before it does. Every rank makes the same calls.

    Servers are sent the model's weights where another one spoke before it, since a role has one engine at a time. In
    this process each model has an engine of its own, and stays.
    """

    def __init__(self, ctx: RunContext, role: Role) -> None:
        """Nobody speaks yet."""
        self._ctx, self._role = ctx, role
        self._engines: dict[Path, RolloutEngine] = {}

    def engine(self, model: Path, wait: bool = True) -> RolloutEngine:
        """The one on the model of the folder, to be used until another model is asked for; see `RunContext.engine`."""
        if model not in self._engines:
            if self._ctx.server_pool is not None:
                self._engines.clear()
            self._engines[model] = self._ctx.engine(self._role, model, wait)
        return self._engines[model]

    def close(self) -> None:
        """Close all engines."""
        for engine in self._engines.values():
            engine.close()
        self._engines.clear()
