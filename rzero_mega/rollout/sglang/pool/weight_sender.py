"""How weights get from the learner's buckets to the servers of a role. On the first rank alone."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from rzero_mega.weights.adapters import Adapters
from rzero_mega.weights.bucket import Bucket
from rzero_mega.weights.model_copy import link_model
from rzero_mega.weights.quantization.scheme import Scheme, quantize_stream
from rzero_mega.weights.shape import ModelShape
from rzero_mega.weights.sources import FolderWeights
from rzero_mega.weights.transports.adapters import AdapterTransport, LoadedAdapters
from rzero_mega.weights.transports.disk import ReadyFolder
from rzero_mega.weights.transports.parallel import on_every
from rzero_mega.weights.transports.protocol import Server, Transport
from rzero_mega.weights.transports.session import UpdateReport, update_servers
from rzero_mega.weights.verification.checksums import ExpectedChecksums, check_checksums, servers_hash
from rzero_mega.weights.verification.stream import checked_stream

_log = logging.getLogger(__name__)
MEGA = 1e6


@dataclass
class UpdateCosts:
    """What updates took: seconds under way to servers and of checking, megabytes sent and hashed on this side."""

    send_seconds: float = 0.0
    verify_seconds: float = 0.0
    sent_megabytes: float = 0.0
    verified_megabytes: float = 0.0

    def add(self, other: UpdateCosts) -> None:
        """Those of another update as well."""
        for name, value in asdict(other).items():
            setattr(self, name, getattr(self, name) + value)


@dataclass(frozen=True)
class HandedFolders:
    """How a model's folder is handed to servers: by links in `folder`, to the model alone. They read in `timeout_s`."""

    folder: Path
    timeout_s: float

    def transport(self, model: Path) -> Transport:
        """Has servers read the model; the links stay until the next one."""
        shutil.rmtree(self.folder, ignore_errors=True)
        link_model(model, self.folder)
        return ReadyFolder(self.folder, self.timeout_s)


class WeightSender:
    """The transport, and the form that servers of `tp` processes want: `dtype`, or FP8 by a `scheme`.

    Checksums are to be compared after every `checksums_every`-th update; 0: never. Nothing is hashed that no server
    compares. What servers on GPUs keep in another form than is known here shows when they load a model by themselves
    (`check_loaded`): these tensors are named in the log and left out from then on.
    """

    def __init__(
        self,
        transport: Transport,
        scheme: Scheme | None,
        dtype: torch.dtype,
        tp: int,
        checksums_every: int,
        handed: HandedFolders | None = None,
        adapters_timeout_s: float | None = None,
    ) -> None:
        """With `handed`, servers can read a model that is a folder themselves (`send_folder`).

        Loading adapters may take a server `adapters_timeout_s`; None leaves it to the server's client.
        """
        self._loaded, self._adapters_timeout_s = LoadedAdapters(), adapters_timeout_s
        self._transport, self._scheme, self._dtype, self._tp = transport, scheme, dtype, tp
        self._handed = handed
        self.checksums_every = checksums_every
        self._apart: frozenset[str] = frozenset()
        self._comparable = True

    def send(
        self, servers: Sequence[Server], buckets: Iterable[Bucket], shape: ModelShape, version: str, check: bool
    ) -> UpdateCosts:
        """Update all servers to the tensors of `shape` in the buckets; `check` compares checksums afterwards.

        UserError names the tensor or server that is wrong; a ServerError among them may be the death of a server.
        """
        stream = checked_stream(buckets, shape)
        expected, compare = self._expected(servers, shape) if check else None, None
        if expected is not None:
            stream = expected.watch(stream)

            def compare(server: Server) -> None:
                check_checksums(server, expected, version, self._apart)

        if self._scheme is not None:
            stream = quantize_stream(stream, self._scheme)
        report = update_servers(servers, self._transport, stream, version, compare)
        return _costs(report, expected)

    def send_adapters(
        self, servers: Sequence[Server], adapters: Adapters, buckets: Iterable[Bucket], version: str, check: bool
    ) -> UpdateCosts:
        """Load the adapters in the buckets on servers that have their base, under the version's name.

        With `check` servers compare hashes. UserError as `send`.
        """
        transport = AdapterTransport(version, adapters.lora, self._loaded, check, self._adapters_timeout_s)
        return _costs(update_servers(servers, transport, buckets, version), None)

    def send_folder(self, servers: Sequence[Server], source: FolderWeights, version: str, check: bool) -> UpdateCosts:
        """As `send`, of a model's folder that servers read themselves. It is read here, too, if there is a check."""
        assert self._handed is not None
        expected, compare = self._expected(servers, source.shape) if check else None, None
        if expected is not None:
            for _ in expected.watch(checked_stream(source, source.shape)):
                pass

            def compare(server: Server) -> None:
                check_checksums(server, expected, version, self._apart)

        report = update_servers(servers, self._handed.transport(source.folder), (), version, compare)
        return _costs(report, expected)

    def check_loaded(
        self, servers: Sequence[Server], buckets: Iterable[Bucket], shape: ModelShape, version: str
    ) -> None:
        """Compare what servers loaded by themselves with the buckets. UserError names what differs on a CPU."""
        expected = self._expected(servers, shape)
        if expected is None:
            self._comparable = False
            return
        for _ in expected.watch(buckets):
            pass
        if expected.device == "cpu":
            on_every(servers, lambda server: check_checksums(server, expected, version))
            return
        unlike = on_every(servers, lambda server: expected.unlike(server.checksums()))
        self._apart = frozenset().union(*unlike)
        if self._apart:
            _log.warning(
                "%d tensors of servers are not compared after updates, since their checksums differ for a model that "
                "servers loaded by themselves: %s; the probe compares log-probabilities all the same",
                len(self._apart),
                ", ".join(sorted(self._apart)[:3]),
            )

    def close(self) -> None:
        """Give up what the transport holds."""
        self._transport.close()

    def _expected(self, servers: Sequence[Server], shape: ModelShape) -> ExpectedChecksums | None:
        """What to hash into for servers that were all started alike; None where nothing would be compared."""
        if self._scheme is not None or not self._comparable or not servers:
            return None
        hashed = servers_hash(servers[0])
        if hashed.device is None:
            _log.info("%s", hashed.reason)
            self._comparable = False
            return None
        return ExpectedChecksums(shape, self._tp, self._dtype, hashed.device)


def _costs(report: UpdateReport, expected: ExpectedChecksums | None) -> UpdateCosts:
    hashing, nbytes = (0.0, 0) if expected is None else (expected.seconds, expected.nbytes)
    verify = hashing + report.seconds.get("check", 0.0)
    return UpdateCosts(sum(report.seconds.values()) - verify, verify, report.nbytes / MEGA, nbytes / MEGA)
