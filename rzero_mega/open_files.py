"""How many files and connections this process may have open."""

from __future__ import annotations

import resource

MOST = 65_536


def allow_many_open_files() -> int:
    """Raise the soft limit of open files to the hard one, or to 65,536 if that is less; returns what now holds.

    The soft limit is 1,024 on most systems, and every call of a server that is under way is a connection: a role's
    servers together may have thousands.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return MOST if soft == resource.RLIM_INFINITY else soft
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted
