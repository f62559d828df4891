"""Servers with requests under way are asked whether they live: a request itself may take as long as it takes."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

from rzero_mega.config.schema import SglangConfig
from rzero_mega.patience import Patience
from rzero_mega.rollout.sglang.pool.role_servers import Replica

_log = logging.getLogger(__name__)

LOOKS_PER_LIMIT = 6
# Threads that a server's questions take: one.
PROBES = 1


@dataclass
class _Watched:
    replica: Replica
    patience: Patience
    question: Future[bool]


class ServerWatch:
    """Ends servers that have requests and show no sign of life for `config.hang_timeout_s` seconds.

    What they were asked for then fails as when they die, and they are replaced like those that do.
    """

    def __init__(self, config: SglangConfig, threads: ThreadPoolExecutor) -> None:
        """The questions are asked in `threads`: one at a time for each server."""
        self._config, self._threads = config, threads
        self.period_s = config.hang_timeout_s / LOOKS_PER_LIMIT
        self._watched: dict[int, _Watched] = {}
        self._looked_at = time.monotonic()

    def end_silent(self, busy: Sequence[Replica]) -> None:
        """Look at the servers that have requests, if a period has passed; end those whose time is up."""
        if time.monotonic() - self._looked_at < self.period_s:
            return
        self._looked_at = time.monotonic()
        here = {id(replica): replica for replica in busy}
        self._watched = {key: watched for key, watched in self._watched.items() if key in here}
        for key, replica in here.items():
            watched = self._watched.get(key) or self._watched.setdefault(key, self._begin(replica))
            if watched.question.done():
                if watched.question.result():
                    watched.patience.sign()
                watched.question = self._ask(replica)
            if watched.patience.over() and replica.server.alive():
                limit = f"{self._config.hang_timeout_s:g} s (rollout.sglang.hang_timeout_s)"
                _log.warning("%s: generate: no sign of life for %s; the server is ended", replica.name, limit)
                replica.server.stop()

    def _begin(self, replica: Replica) -> _Watched:
        patience = Patience(self._config.hang_timeout_s, 2 * self.period_s)
        return _Watched(replica, patience, self._ask(replica))

    def _ask(self, replica: Replica) -> Future[bool]:
        return self._threads.submit(replica.client.responds, self._config.request_timeout_s)


def watched_generate(replica: Replica, body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The server's answers; ServerError if it fails, dies or hangs."""
    with ThreadPoolExecutor(1 + PROBES) as threads:
        answers = threads.submit(replica.client.generate, body)
        watch = ServerWatch(replica.config, threads)
        while wait([answers], watch.period_s).not_done:
            watch.end_silent([replica])
        return answers.result()
