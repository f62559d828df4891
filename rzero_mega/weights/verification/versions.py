"""Weight versions: what a server says that it holds, and what a sample was made with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rzero_mega.errors import UserError
from rzero_mega.weights.transports.protocol import Server

UNFINISHED = "updating-"


def unfinished(version: str) -> str:
    """The version that a server carries while it is on its way to `version`."""
    return UNFINISHED + version


def check_versions(servers: Sequence[Server], version: str) -> None:
    """UserError naming every server that does not hold `version`."""
    wrong = [f"{s.name} holds {_explain(found)}" for s in servers if (found := s.weight_version()) != version]
    if wrong:
        raise UserError(f"weights of version {version} are expected, but {'; '.join(wrong)}; send the weights again")


def _explain(found: str) -> str:
    if found.startswith(UNFINISHED):
        return f"an unfinished update to version {found.removeprefix(UNFINISHED)}"
    return f"version {found} (it was restarted, or missed an update)"


def foreign_versions(found: Iterable[str], allowed: Iterable[str]) -> list[str]:
    """The versions of a sample, in order and once each, that are not among the allowed ones."""
    permitted = set(allowed)
    return [version for version in dict.fromkeys(found) if version not in permitted]
