"""The newest figures of a run for Prometheus, under W&B's names: train/solver/kl is rzero_mega_train_solver_kl."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rzero_mega.config.schema import PrometheusConfig
from rzero_mega.errors import UserError
from rzero_mega.run import PhaseDirectory, RunDirectory
from rzero_mega.tracking.gpu_hours import PhaseUse, phase_use, timeline_uses
from rzero_mega.tracking.use_rows import use_values
from rzero_mega.tracking.wandb_rows import step_values, summary_values

PREFIX = "rzero_mega_"
_INSTALL = "install rzero_mega[prometheus], or set it to null"
_log = logging.getLogger(__name__)


def check_prometheus(config: PrometheusConfig) -> None:
    """UserError if figures are asked for and prometheus-client is missing."""
    if config.port is None:
        return
    try:
        import prometheus_client  # noqa: F401
    except ImportError:
        raise UserError(
            f"tracking.prometheus.port: takes prometheus-client, which is not installed here; {_INSTALL}"
        ) from None


@contextmanager
def prometheus_endpoint(config: PrometheusConfig, run: RunDirectory) -> Iterator[None]:
    """Answer at http://HOST:PORT/metrics until the block ends, from what the run directory holds when asked.

    UserError where the port is taken or the host is none of this machine's.
    """
    if config.port is None:
        yield
        return
    from prometheus_client import start_http_server
    from prometheus_client.registry import CollectorRegistry

    registry = CollectorRegistry()
    registry.register(_Collector(run))
    try:
        server, thread = start_http_server(config.port, config.host, registry)
    except OSError as error:
        raise UserError(
            f"tracking.prometheus: can't listen on {config.host}, port {config.port} ({error.strerror}); set another "
            "host or port"
        ) from None
    _log.info("figures for Prometheus: http://%s:%d/metrics", config.host, server.server_port)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class NewestFigures:
    """The last value of what steps and finished phases have told W&B, by W&B's names.

    A phase that was finished when somebody asked is not read again.
    """

    def __init__(self, run: RunDirectory) -> None:
        """Nothing is read yet."""
        self._run = run
        self._finished: dict[Path, dict[str, float]] = {}

    def values(self) -> dict[str, float]:
        """As the run directory has them now; what can't be read is left out."""
        found: dict[str, float] = {}
        uses: list[PhaseUse] | None = None
        for phase in self._run.phases():
            if phase.path in self._finished:
                found |= self._finished[phase.path]
                continue
            try:
                manifest, rows = phase.manifest(), phase.metrics()
            except UserError:
                continue
            values: dict[str, float] = {}
            if rows and phase.trains:
                values |= step_values(phase.phase, rows[-1], rows[-1]["step"], phase.iteration)
            if manifest is not None:
                uses = timeline_uses(self._run) if uses is None else uses
                values |= summary_values(manifest) | self._use(phase, uses)
                self._finished[phase.path] = values
            found |= values
        return found

    def _use(self, phase: PhaseDirectory, uses: Sequence[PhaseUse]) -> dict[str, float]:
        """Where the GPU-hours of a finished phase went."""
        found = phase_use(self._run, phase.iteration, phase.phase, uses)
        return {} if found is None else use_values(found)


class _Collector:
    """What prometheus-client asks when it is asked."""

    def __init__(self, run: RunDirectory) -> None:
        self._newest = NewestFigures(run)

    def collect(self) -> Iterator[Any]:
        from prometheus_client.metrics_core import GaugeMetricFamily

        for name, value in sorted(self._newest.values().items()):
            yield GaugeMetricFamily(PREFIX + re.sub(r"[^a-zA-Z0-9_]", "_", name), f"W&B: {name}", value=value)
