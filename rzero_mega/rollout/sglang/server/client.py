"""One SGLang server, spoken to over HTTP."""

from __future__ import annotations

import math
import socket
import ssl
from collections.abc import Mapping
from functools import partial
from typing import Any

import httpx
import orjson

from rzero_mega.config.schema import SglangConfig
from rzero_mega.rollout.sglang.server.answer_streams import AnswerStreams
from rzero_mega.weights.transports.protocol import ServerError

QUOTED = 300
CONNECT_TIMEOUT_S = 10.0
# Calls of one client at the same time.
CONNECTIONS = 256
# Servers speak plain HTTP. The context that httpx would make, with all the authorities that it trusts, takes a tenth of
# a second for each client; this one trusts nobody.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
# A request may take hours, but a machine that is gone does not answer its kernel's questions: seconds until the first
# one, between two, and how many of them.
KEEPALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *(
        (socket.IPPROTO_TCP, getattr(socket, name), value)
        for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 6))
        if hasattr(socket, name)
    ),
)


class SglangClient:
    """Implements `weights.transports.protocol.Server`, and the calls that rollouts need.

    Safe to use from many threads. `timeout_s` bounds how long one answer may take unless a call says otherwise; a
    generation takes as long as it takes, and who waits for one asks meanwhile whether the server lives. Every call
    raises ServerError, one line that names the server, if it does not succeed.
    """

    def __init__(
        self,
        name: str,
        url: str,
        tp: int = 1,
        api_key: str | None = None,
        timeout_s: float = SglangConfig.hang_timeout_s,
        node: int = 0,
    ) -> None:
        """`api_key` goes into a header and nowhere else; `node` is the job's on which the server runs."""
        self._name = name
        self._url = url.rstrip("/")
        self._tp, self._node = tp, node
        self._timeout_s = timeout_s
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = httpx.Client(
            base_url=self._url,
            headers=self._headers,
            transport=httpx.HTTPTransport(
                limits=httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS),
                verify=NO_TLS,
                trust_env=False,
                socket_options=KEEPALIVE,
            ),
            trust_env=False,
        )

    @property
    def name(self) -> str:
        """What messages call the server: the name given, and its address."""
        return f"{self._name} ({self._url})"

    @property
    def url(self) -> str:
        """Base address."""
        return self._url

    @property
    def tp(self) -> int:
        """Tensor-parallel processes of the server."""
        return self._tp

    @property
    def node(self) -> int:
        """The job's node on which it runs."""
        return self._node

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def post(self, path: str, body: Mapping[str, Any], timeout_s: float | None = None) -> Any:
        """POST JSON to `path` (without leading slash); the decoded answer."""
        return self._call("POST", path, timeout_s, dict(body))

    def get(self, path: str, timeout_s: float | None = None) -> Any:
        """GET `path`; the decoded answer."""
        return self._call("GET", path, timeout_s)

    def ready(self, timeout_s: float = CONNECT_TIMEOUT_S) -> bool:
        """Whether the server takes requests now; a server that can't be reached is not ready."""
        try:
            self.get("ready", timeout_s)
        except ServerError:
            return False
        return True

    def responds(self, timeout_s: float) -> bool:
        """Whether its schedulers answer in time, also while they generate or are paused.

        A server whose schedulers hang still listens, and says that it is ready.
        """
        try:
            self.get("server_info", timeout_s)
        except ServerError:
            return False
        return True

    def weight_version(self) -> str:
        """Version of the weights that the server says it serves."""
        answer = self.get("model_info", CONNECT_TIMEOUT_S)
        if not isinstance(answer, dict) or "weight_version" not in answer:
            raise self._error("model_info", f"no weight_version in the answer {answer!r}")
        return str(answer["weight_version"])

    def generate(self, body: Mapping[str, Any]) -> list[dict[str, Any]]:
        """POST to /generate: one answer per sample, prompt-major, also where there is one."""
        answer = self.post("generate", body, math.inf)
        answers = answer if isinstance(answer, list) else [answer]
        if not all(isinstance(item, dict) for item in answers):
            raise self._error("generate", f"not a list of samples: {answer!r}")
        return answers

    def streams(self) -> AnswerStreams:
        """Generations whose answers come one by one, for an event loop."""
        http = httpx.AsyncClient(
            base_url=self._url,
            headers=self._headers,
            timeout=httpx.Timeout(None, connect=CONNECT_TIMEOUT_S),
            transport=httpx.AsyncHTTPTransport(
                limits=httpx.Limits(max_connections=None), verify=NO_TLS, trust_env=False, socket_options=KEEPALIVE
            ),
            trust_env=False,
        )
        return AnswerStreams(http, partial(self._error, "generate"))

    def abort_all(self) -> None:
        """Abort every request; each is answered with what it has so far and the finish reason "abort"."""
        self.post("abort_request", {"abort_all": True})

    def checksums(self) -> list[dict[str, str]]:
        """Hash of every tensor by the server's own name, one table per tensor-parallel rank, in rank order."""
        answer = self.post("weights_checker", {"action": "checksum"})
        try:
            tables = {rank["parallelism_info"][0]["tp_rank"]: dict(rank["checksums"]) for rank in answer["ranks"]}
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise self._error("weights_checker", f"no checksums of every rank in the answer {answer!r}") from error
        if sorted(tables) != list(range(self._tp)):
            raise self._error("weights_checker", f"checksums of the ranks {sorted(tables)} instead of all {self._tp}")
        return [tables[rank] for rank in range(self._tp)]

    def _call(self, method: str, path: str, timeout_s: float | None, body: Mapping[str, Any] | None = None) -> Any:
        if self._http.is_closed:
            raise self._error(path, "was not called, since its client is closed")
        limit = timeout_s or self._timeout_s
        timeout = httpx.Timeout(None if math.isinf(limit) else limit, connect=min(limit, CONNECT_TIMEOUT_S))
        # Weights in base64 are up to gigabytes: orjson writes them five times as fast as the library of the client.
        content = None if body is None else orjson.dumps(body)
        headers = None if body is None else {"content-type": "application/json"}
        try:
            response = self._http.request(method, f"/{path}", content=content, headers=headers, timeout=timeout)
        except httpx.TimeoutException as error:
            raise self._error(path, f"no answer in {limit:g} s ({type(error).__name__})") from error
        except httpx.HTTPError as error:
            raise self._error(path, str(error) or type(error).__name__) from error
        if not response.is_success:
            raise self._error(path, f"HTTP {response.status_code}: {response.text}")
        if "json" not in response.headers.get("content-type", ""):
            return response.text
        try:
            answer = orjson.loads(response.content)
        except ValueError as error:
            raise self._error(path, f"an answer that is no JSON: {response.text}") from error
        if isinstance(answer, dict) and answer.get("success") is False:
            raise self._error(path, str(answer.get("message", answer)))
        return answer

    def _error(self, path: str, reason: str) -> ServerError:
        return ServerError(f"{self.name}: {path}: {one_line(reason)}")


def one_line(text: str) -> str:
    """Text from a server as one printable line of at most QUOTED characters: it must not reach a terminal as it is."""
    printable = "".join(character if character.isprintable() else " " for character in text[: 4 * QUOTED])
    line = " ".join(printable.split())
    return line if len(line) <= QUOTED else line[: QUOTED - 1] + "…"
