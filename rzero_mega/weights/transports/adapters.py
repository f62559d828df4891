"""An adapter inside a request: the server keeps it beside the base that it serves, under a name that requests give."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from contextlib import suppress

from rzero_mega.config.schema import LoraConfig
from rzero_mega.weights.adapters import peft_config, peft_tensors
from rzero_mega.weights.bucket import Bucket, to_buckets
from rzero_mega.weights.safetensors_file import raw_bytes
from rzero_mega.weights.transports.parallel import on_every
from rzero_mega.weights.transports.payload import payload_of
from rzero_mega.weights.transports.protocol import Server, ServerError


class LoadedAdapters:
    """Which adapter each server has, by the server's name. It has room for the next one beside it."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def replace(self, server: Server, name: str) -> None:
        """Have a server that has no requests under way forget its adapter; it is about to load the one of `name`."""
        old, self._names[server.name] = self._names.get(server.name), name
        if old is not None:
            with suppress(ServerError):  # what it could not load it can't forget
                server.post("unload_lora_adapter", {"lora_name": old})


class AdapterTransport:
    """Sends an adapter to all servers, one request each with a payload for each of the server's ranks.

    With `check` the server hashes every tensor, and ends if one is not what was sent; its log names it.
    """

    needs_session = False

    def __init__(
        self, name: str, lora: LoraConfig, loaded: LoadedAdapters, check: bool, timeout_s: float | None = None
    ) -> None:
        self._name, self._lora, self._loaded = name, lora, loaded
        self._check, self._timeout_s = check, timeout_s

    def send(self, servers: Sequence[Server], buckets: Iterable[Bucket]) -> None:
        """Deliver the adapter that the buckets hold; ServerError names the server that failed."""
        tensors = peft_tensors(pair for bucket in buckets for pair in bucket.tensors())
        hashes = {name: hashlib.sha256(raw_bytes(tensor.cpu())).hexdigest() for name, tensor in tensors.items()}
        (bucket,) = to_buckets(tensors.items(), sum(tensor.nbytes for tensor in tensors.values()))
        payload, _ = payload_of(bucket, handle=False)

        def deliver(server: Server) -> None:
            self._loaded.replace(server, self._name)
            body = {
                "lora_name": self._name,
                "config_dict": peft_config(self._lora),
                "serialized_named_tensors": [payload] * server.tp,
                "load_format": "flattened_bucket",
                "expected_checksums": hashes if self._check else None,
            }
            server.post("load_lora_adapter_from_tensors", body, self._timeout_s)

        on_every(servers, deliver)

    def close(self) -> None:
        """Nothing is held."""
