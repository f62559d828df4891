"""Weights through files: safetensors that every server reads, one per bucket."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rzero_mega.errors import UserError, first_line
from rzero_mega.weights.bucket import Bucket
from rzero_mega.weights.safetensors_file import write_safetensors
from rzero_mega.weights.transports.parallel import on_every
from rzero_mega.weights.transports.protocol import FLUSH, Server


class DiskTransport:
    """Writes buckets into a fresh folder inside `folder`, which all servers must see under the same path.

    The servers read when all is written. The folder stays until the next send or `close`: SGLang answers when the first
    rank of a server has read, and others may still be reading. It goes before the next one is written, so that twice
    the weights never lie there. Works between any devices and hosts.
    """

    needs_session = False

    def __init__(self, folder: Path, timeout_s: float | None = None) -> None:
        """`timeout_s` bounds how long a server may take to read; None leaves it to the server's client."""
        self._folder, self._timeout_s = folder, timeout_s
        self._last: tempfile.TemporaryDirectory[str] | None = None

    def send(self, servers: Sequence[Server], buckets: Iterable[Bucket]) -> None:
        """Deliver every bucket; ServerError names a server that could not read, UserError a folder that is full."""
        self.close()
        fresh = self._fresh_folder()
        try:
            for number, bucket in enumerate(buckets):
                data = bucket.data.cpu()
                with self._writing():
                    write_safetensors(fresh / f"bucket-{number:05d}.safetensors", bucket.slots, [data])
        except BaseException:
            self.close()  # nobody reads it yet
            raise
        _have_read(servers, fresh, self._timeout_s)

    def _fresh_folder(self) -> Path:
        with self._writing():
            self._folder.mkdir(parents=True, exist_ok=True)
            self._last = tempfile.TemporaryDirectory(prefix="weights-", dir=self._folder)
            folder = Path(self._last.name)
            folder.chmod(0o755)  # servers may run under another user
        return folder

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(f"weights.folder {self._folder}: cannot be written: {first_line(error)}") from None

    def close(self) -> None:
        """Remove what the last send left."""
        if self._last is not None:
            self._last.cleanup()
            self._last = None


class ReadyFolder:
    """A model's folder that is there already, and that all servers see under the same path: they read it themselves."""

    needs_session = False

    def __init__(self, folder: Path, timeout_s: float | None = None) -> None:
        """`timeout_s` as of `DiskTransport`."""
        self._folder, self._timeout_s = folder, timeout_s

    def send(self, servers: Sequence[Server], buckets: Iterable[Bucket]) -> None:
        """Have every server read the folder; of the buckets, which say the same, none is looked at."""
        _have_read(servers, self._folder, self._timeout_s)

    def close(self) -> None:
        """Nothing is held."""


def _have_read(servers: Sequence[Server], folder: Path, timeout_s: float | None) -> None:
    body = {"model_path": str(folder.absolute()), "load_format": "safetensors", **FLUSH}
    on_every(servers, lambda server: server.post("update_weights_from_disk", body, timeout_s))
