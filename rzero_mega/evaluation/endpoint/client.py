"""An endpoint over HTTP: many requests at a time, patience with busy servers, an end where there is no point.

The retries are a loop of our own: what `openai` would do (Retry-After, backoff) without following redirects, with a
limit on time and size of the whole answer, and without another dependency of the learner's environment.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import TracebackType
from urllib.parse import urlsplit

import httpx

from rzero_mega.atomic import parse_json
from rzero_mega.config.schema import EndpointConfig
from rzero_mega.errors import UserError
from rzero_mega.evaluation.endpoint.cache import AnswerCache
from rzero_mega.evaluation.endpoint.chat import ChatAnswer, ChatRequest
from rzero_mega.evaluation.endpoint.key import check_key

LARGEST_ANSWER = 8 * 2**20
"""Bytes of a response; reasoning of 32,000 tokens takes about 200,000."""
LONGEST_PAUSE_S = 120.0
"""Between two attempts, whatever the server asks for."""
QUOTED = 300
# Without end of the trouble in sight: requests that failed one after the other, after all their attempts.
_HOPELESS = 3
_BUSY = (408, 409, 425, 429)
# The whole endpoint refuses, not this request.
_NOT_US = (401, 403, 404, 405)
_SECONDS = re.compile(r"\d{1,9}(?:\.\d{1,9})?")
_log = logging.getLogger(__name__)


class _Fault(Exception):
    """An attempt that brought no answer: one printable line."""


class _Again(_Fault):
    """It is worth another attempt, after so many seconds where the server names them."""

    def __init__(self, reason: str, after_s: float | None = None) -> None:
        super().__init__(reason)
        self.after_s = after_s


class _Hopeless(_Fault):
    """No request will be answered."""


@dataclass(frozen=True)
class Asked:
    """One answer per request, in order; None where there is none.

    Of those `over_budget` were not sent any more, and `failed` were refused or not answered, or not sent since the
    endpoint is out of order: then `problem` says how.
    """

    answers: tuple[ChatAnswer | None, ...]
    over_budget: int
    failed: int
    problem: str | None


@dataclass
class _Budget:
    """What may be sent. The answers that are there already count: the budget is that of all attempts at an audit."""

    requests: int | None
    tokens: int | None
    sent: int
    used: int

    def take(self) -> bool:
        """Count a request, if it may be sent."""
        if self.requests is not None and self.sent >= self.requests:
            return False
        if self.tokens is not None and self.used >= self.tokens:
            return False
        self.sent += 1
        return True


class Endpoint:
    """A configured endpoint with its cache. A context manager.

    Every answer is kept before it is used, so that a killed process asks nothing twice that was answered.
    """

    def __init__(self, config: EndpointConfig, section: str, cache: Path) -> None:
        """`section` is the configuration's key, for messages; `cache` the file of the answers. UserError as of both."""
        if config.url is None:
            raise UserError(f"{section}.url: is null; give the base address of a server with OpenAI's interface")
        self._config, self._section, self._url = config, section, config.url
        self._key = check_key(config, section)
        self._cache = AnswerCache(cache)
        self._budget = _Budget(config.max_requests, config.max_total_tokens, self._cache.requests, self._cache.tokens)
        self._problem: str | None = None
        self._failures_in_a_row = 0

    def __enter__(self) -> Endpoint:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the cache."""
        self._cache.close()

    @property
    def model(self) -> str:
        """The model's name."""
        return self._config.model

    def ask(self, requests: Sequence[ChatRequest], advance: Callable[[int], object] = lambda _items: None) -> Asked:
        """Ask what is not in the cache, each request once. `advance` is told of every distinct one that is done."""
        keys = [request.key(self._config) for request in requests]
        distinct = dict(zip(keys, requests, strict=True))
        pending = {key: request for key, request in distinct.items() if self._cache.get(key) is None}
        advance(len(distinct) - len(pending))
        unsent = asyncio.run(self._ask_all(pending, advance))
        answers = tuple(self._cache.get(key) for key in keys)
        missing = [key for key, answer in zip(keys, answers, strict=True) if answer is None]
        over_budget = sum(key in unsent for key in missing)
        return Asked(answers, over_budget, len(missing) - over_budget, self._problem)

    async def _ask_all(self, pending: Mapping[str, ChatRequest], advance: Callable[[int], object]) -> set[str]:
        """Keys of the requests that the budget did not allow."""
        unsent: set[str] = set()
        left = iter(pending.items())

        async def work(http: httpx.AsyncClient) -> None:
            for key, request in left:
                if not await self._obtain(http, key, request):
                    unsent.add(key)
                advance(1)

        async with self._connections() as http:
            workers = [asyncio.create_task(work(http)) for _ in range(min(self._config.concurrency, len(pending)))]
            try:
                await asyncio.gather(*workers)
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)
        return unsent

    def _connections(self) -> httpx.AsyncClient:
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        count = self._config.concurrency
        return httpx.AsyncClient(
            base_url=self._url.rstrip("/") + "/",
            headers=headers,
            follow_redirects=False,
            limits=httpx.Limits(max_connections=count, max_keepalive_connections=count),
            timeout=None,  # `_post` has one for the whole answer
            # Proxies of the environment lead outside, not to this machine.
            trust_env=urlsplit(self._url).hostname not in ("localhost", "127.0.0.1", "::1"),
        )

    async def _obtain(self, http: httpx.AsyncClient, key: str, request: ChatRequest) -> bool:
        """Have a request answered, if it can be. False if the budget does not allow it to be sent."""
        for attempt in range(1, self._config.attempts + 1):
            if self._problem is not None:
                return True
            if not self._budget.take():
                return False
            try:
                answer = await self._post(http, request)
            except _Again as fault:
                if attempt < self._config.attempts:
                    await asyncio.sleep(_pause_s(attempt) if fault.after_s is None else fault.after_s)
                    continue
                self._note_failure(f"{fault} ({attempt} attempts)")
            except _Fault as fault:
                self._note_failure(str(fault), hopeless=isinstance(fault, _Hopeless))
            else:
                self._budget.used += answer.tokens
                self._cache.put(key, answer)
                self._failures_in_a_row = 0
            return True
        return True

    def _note_failure(self, reason: str, hopeless: bool = False) -> None:
        self._failures_in_a_row += 1
        hopeless = hopeless or self._failures_in_a_row >= max(_HOPELESS, self._config.concurrency)
        if hopeless and self._problem is None:
            self._problem = f"{self._section}: {self._url}: {reason}"
        if self._problem is None:
            _log.warning("%s: a request stays unanswered: %s", self._section, reason)

    async def _post(self, http: httpx.AsyncClient, request: ChatRequest) -> ChatAnswer:
        """One attempt; _Fault says what became of it."""
        content = json.dumps(request.body(self._config)).encode()
        try:
            async with (
                asyncio.timeout(self._config.timeout_s),
                http.stream("POST", "chat/completions", content=content) as response,
            ):
                body = await _read(response)
        except TimeoutError:
            raise _Again(f"no answer in {self._config.timeout_s:g} s") from None
        except httpx.HTTPError as error:
            raise _Again(self._printable(str(error) or type(error).__name__)) from None
        text = body.decode("utf-8", "replace")
        self._check_status(response, text)
        try:
            return ChatAnswer.from_response(parse_json(self._without_key(text).encode()), self._config.max_new_tokens)
        except ValueError as error:
            raise _Again(self._printable(f"{error}: {text}")) from None

    def _check_status(self, response: httpx.Response, text: str) -> None:
        status = response.status_code
        if response.is_success:
            return
        reason = self._printable(f"HTTP {status}: {text}")
        if response.has_redirect_location or response.is_redirect:
            raise _Hopeless(
                self._printable(
                    f"HTTP {status} leads to {response.headers.get('location', 'nowhere')}, where nobody has sent us; "
                    f"set {self._section}.url to that address if it is meant"
                )
            )
        if status in _BUSY or status >= 500:
            raise _Again(reason, _retry_after_s(response.headers))
        raise _Hopeless(reason) if status in _NOT_US else _Fault(reason)

    def _without_key(self, text: str) -> str:
        """A server may send back what it was sent: the key is to stand in no file and no message."""
        return text if self._key is None else text.replace(self._key, "***")

    def _printable(self, text: str) -> str:
        """Text of others as one line of at most QUOTED characters."""
        known = self._without_key(text)[: 4 * QUOTED]
        line = " ".join("".join(c if c.isprintable() else " " for c in known).split())
        return line if len(line) <= QUOTED else line[: QUOTED - 1] + "…"


async def _read(response: httpx.Response) -> bytes:
    """The body, within bounds."""
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise _Again("a compressed answer, which was not asked for")
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > LARGEST_ANSWER:
            raise _Fault(f"an answer of more than {LARGEST_ANSWER // 2**20} MiB")
    return bytes(body)


def _pause_s(attempt: int) -> float:
    """One second, two, four, ...; at random shorter, so that requests do not come back all at once."""
    return float(min(LONGEST_PAUSE_S, 2.0 ** (attempt - 1)) * random.uniform(0.5, 1.0))


def _retry_after_s(headers: httpx.Headers) -> float | None:
    """What Retry-After asks for, in seconds or as a date, within bounds; None where it says nothing."""
    asked = headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(asked):
        return min(float(asked), LONGEST_PAUSE_S)
    try:
        date = parsedate_to_datetime(asked)
    except (TypeError, ValueError):
        return None
    seconds = ((date if date.tzinfo else date.replace(tzinfo=UTC)) - datetime.now(UTC)).total_seconds()
    return min(max(seconds, 0.0), LONGEST_PAUSE_S)
