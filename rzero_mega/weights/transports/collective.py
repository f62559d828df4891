"""Weights by broadcast: one process group of the sender and all ranks of all servers, over NCCL or gloo.

The group is built directly on a store of its own. torch's own helper would register it among the learner's groups, and
would split the learner's NCCL communicator where that is bound to a device; the servers are in neither. In exchange the
names under which ranks meet in the store are spelt out here as torch does it inside the servers.
"""

from __future__ import annotations

import operator
import socket
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from datetime import timedelta
from threading import Thread
from typing import Any

import torch.distributed as dist
from torch import Tensor
from torch.distributed import PrefixStore, Store, TCPStore  # type: ignore[attr-defined]

from rzero_mega.errors import first_line
from rzero_mega.weights.bucket import Bucket
from rzero_mega.weights.transports.parallel import on_every
from rzero_mega.weights.transports.protocol import FLUSH, Server, ServerError

POLL_S = 0.001
# How much later than a broken connection the answer may come that says which server broke it.
GRACE_S = 5.0
# Destroying a group is a courtesy to the server: it may be dead.
FAREWELL_TIMEOUT_S = 10.0


class CollectiveTransport:
    """Broadcasts buckets from this process (rank 0) to the ranks of all servers.

    The group is kept from send to send, built anew when the servers change or were restarted, and dropped after a
    failure. No call hangs: a server that answers with an error ends the broadcast, and so does the time limit.
    """

    needs_session = True

    def __init__(self, backend: str, master: str = "127.0.0.1", timeout_s: float = 600.0) -> None:
        """`backend` is gloo or nccl; servers reach this process at `master`; `timeout_s` bounds each broadcast."""
        self._backend, self._master, self._timeout_s = backend, master, timeout_s
        self._group: _Group | None = None

    def send(self, servers: Sequence[Server], buckets: Iterable[Bucket]) -> None:
        """Deliver every bucket to every server; ServerError names the server that failed."""
        with ThreadPoolExecutor(max_workers=len(servers)) as pool:
            try:
                self._send(servers, buckets, pool)
            except BaseException:
                # Closing the connections also frees servers that wait for the rest of a broadcast.
                self.close()
                raise

    def _send(self, servers: Sequence[Server], buckets: Iterable[Bucket], pool: ThreadPoolExecutor) -> None:
        answers: list[Future[Any]] = []
        for number, bucket in enumerate(buckets):
            # Servers load the bucket before while the sender prepares this one.
            _collect(answers)
            answers = self._send_first(servers, bucket, pool) if number == 0 else self._joined.broadcast(bucket, pool)
        _collect(answers)

    def _send_first(self, servers: Sequence[Server], bucket: Bucket, pool: ThreadPoolExecutor) -> list[Future[Any]]:
        if self._group is not None and self._group.is_of(servers):
            # A server that was restarted since the last send is no longer in the group, and nobody would know.
            with suppress(ServerError):
                _collect(self._group.broadcast(bucket, pool))
                return []
        self.close()
        self._group = _Group(servers, self._backend, self._master, self._timeout_s)
        self._group.join(pool)
        return self._group.broadcast(bucket, pool)

    @property
    def _joined(self) -> _Group:
        assert self._group is not None
        return self._group

    def close(self) -> None:
        """Leave the group, and have the servers leave it."""
        group, self._group = self._group, None
        if group is not None:
            group.leave()


class _Group:
    """The sender's side of one process group."""

    def __init__(self, servers: Sequence[Server], backend: str, master: str, timeout_s: float) -> None:
        self._servers, self._backend, self._master = tuple(servers), backend, master
        self._timeout_s = timeout_s
        self._name = f"rzero-{uuid.uuid4().hex}"
        self._size = 1 + sum(server.tp for server in servers)
        self._timeout = timedelta(seconds=timeout_s)
        # Gone with this object, the store also ends the wait of whoever still looks for the others.
        self._store, self._port = _listening_store(master, self._size, self._timeout)
        # gloo closes its connections with the last reference to group and work, and a server that waits for the rest of
        # a broadcast is only freed by that. A local variable would live on in the traceback of an error: hence here.
        self._made: Future[Any] | None = None
        self._work: Any = None

    def is_of(self, servers: Sequence[Server]) -> bool:
        """Whether the group is that of these very servers."""
        return len(servers) == len(self._servers) and all(map(operator.is_, servers, self._servers))

    def join(self, pool: ThreadPoolExecutor) -> None:
        """Meet all ranks of all servers."""
        offsets = [1 + sum(server.tp for server in self._servers[:index]) for index in range(len(self._servers))]
        answers = [
            pool.submit(server.post, "init_weights_update_group", self._invitation(offset), self._timeout_s)
            for server, offset in zip(self._servers, offsets, strict=True)
        ]
        self._made = Future()
        Thread(target=self._make, args=(self._made,), daemon=True).start()
        self._wait(self._is_made, answers, "to join the update group")
        try:
            self._process_group()
        except RuntimeError as error:
            _collect(answers, GRACE_S)
            raise ServerError(f"{self._everyone()}: no update group came about: {first_line(error)}") from None
        _collect(answers)

    def _invitation(self, rank_offset: int) -> dict[str, Any]:
        return {
            "master_address": self._master,
            "master_port": self._port,
            "rank_offset": rank_offset,
            "world_size": self._size,
            "group_name": self._name,
            "backend": self._backend,
        }

    def _make(self, made: Future[Any]) -> None:
        try:
            store = self._client_store()
            made.set_result(_process_group(self._backend, store, self._size, self._timeout, self._master))
        except Exception as error:
            made.set_exception(error)

    def _client_store(self) -> Store:
        store: Store = TCPStore(
            self._master, self._port, self._size, is_master=False, timeout=self._timeout, wait_for_workers=False
        )
        device = "cuda" if self._backend == "nccl" else "cpu"
        for prefix in (self._name, f"{self._name}/", f"{device}/"):
            store = PrefixStore(prefix, store)
        return store

    def broadcast(self, bucket: Bucket, pool: ThreadPoolExecutor) -> list[Future[Any]]:
        """Send the bytes of a bucket; returns when the buffer is free again, with the servers' answers to come."""
        if bucket.data.nbytes != bucket.slots[-1].stop:
            # The servers would wait for a broadcast of another length and die of it.
            raise ValueError(f"a bucket of {bucket.data.nbytes} bytes whose tensors take {bucket.slots[-1].stop}")
        body = {
            "names": [slot.name for slot in bucket.slots],
            "dtypes": [str(slot.dtype).removeprefix("torch.") for slot in bucket.slots],
            "shapes": [list(slot.shape) for slot in bucket.slots],
            "group_name": self._name,
            "load_format": "flattened_bucket",
            **FLUSH,
        }
        answers = [
            pool.submit(server.post, "update_weights_from_distributed", body, self._timeout_s)
            for server in self._servers
        ]
        try:
            self._start(bucket.data)
            self._wait(self._is_sent, answers, f"for the bucket that begins with {bucket.slots[0].name}")
            self._work.wait()
        except RuntimeError as error:
            # The server at fault is named by its own answer, which comes at the same moment; others may still wait.
            _collect(answers, GRACE_S)
            raise ServerError(f"{self._everyone()}: broadcast failed: {first_line(error)}") from None
        return answers

    def _start(self, data: Tensor) -> None:
        options = dist.BroadcastOptions()
        options.rootRank, options.rootTensor = 0, 0
        options.asyncOp = True
        self._work = self._process_group().broadcast([data], options)

    def _is_sent(self) -> bool:
        return bool(self._work.is_completed())

    def _is_made(self) -> bool:
        return self._made is not None and self._made.done()

    def _process_group(self) -> Any:
        assert self._made is not None
        return self._made.result()

    def _wait(self, done: Callable[[], bool], answers: list[Future[Any]], what: str) -> None:
        deadline = time.monotonic() + self._timeout_s
        while not done():
            _collect(answers, POLL_S)
            if time.monotonic() > deadline:
                raise ServerError(f"{self._everyone()}: waited {self._timeout_s:g} s {what}")
            time.sleep(POLL_S)

    def _everyone(self) -> str:
        return ", ".join(server.name for server in self._servers)

    def leave(self) -> None:
        """Close the connections, and have the servers that live forget the group."""
        if self._is_made():
            # NCCL's way to close; it raises the error again with which the group could not be made.
            with suppress(Exception):
                self._process_group().abort()
        self._made = self._work = self._store = None

        def farewell(server: Server) -> None:
            with suppress(ServerError):
                server.post("destroy_weights_update_group", {"group_name": self._name}, FAREWELL_TIMEOUT_S)

        on_every(self._servers, farewell)


def _listening_store(master: str, size: int, timeout: timedelta) -> tuple[Store | None, int]:
    """A store that listens at `master` and nowhere else, as torch's own would; and its port."""
    family = socket.AF_INET6 if ":" in master else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.bind((master, 0))
    listener.listen()
    port = listener.getsockname()[1]
    # The store closes the descriptor.
    store = TCPStore(
        master, port, size, True, timeout, wait_for_workers=False, master_listen_fd=listener.detach(), use_libuv=True
    )
    return store, port


def _process_group(backend: str, store: Store, size: int, timeout: timedelta, master: str) -> Any:
    if backend == "nccl":
        options = dist.ProcessGroupNCCL.Options()
        options._timeout = timeout
        return dist.ProcessGroupNCCL(store, 0, size, options)
    gloo: Any = dist.ProcessGroupGloo
    gloo_options = gloo._Options()
    gloo_options._devices = [gloo.create_device(hostname=master)]
    gloo_options._timeout = timeout
    return gloo(store, 0, size, gloo_options)


def _collect(answers: Sequence[Future[Any]], timeout_s: float | None = None) -> None:
    """Wait for all answers, or for the first that is an error, and raise that."""
    done, _ = wait(answers, timeout_s, FIRST_EXCEPTION)
    for answer in answers:
        if answer in done:
            answer.result()
