"""What an endpoint is asked and what it answers, as data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rzero_mega.config.schema import EndpointConfig
from rzero_mega.records import bounded, field

# Reasons for an end under which there may be no last word.
_CUT_OFF = ("length", "content_filter")


@dataclass(frozen=True)
class ChatRequest:
    """Messages as (role, text). `sample` tells several answers to the same ones apart."""

    messages: tuple[tuple[str, str], ...]
    sample: int = 0

    def body(self, config: EndpointConfig) -> dict[str, Any]:
        """What is sent."""
        body: dict[str, Any] = {
            "model": config.model,
            "messages": [{"role": role, "content": _encodable(text)} for role, text in self.messages],
            config.limit_name: config.max_new_tokens,
        }
        return body if config.temperature is None else {**body, "temperature": config.temperature}

    def key(self, config: EndpointConfig) -> str:
        """Hex SHA-256 of model, messages, sampling and sample: two requests with the same one have the same answer."""
        asked = {**self.body(config), "sample": self.sample}
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class ChatAnswer:
    """`finished` is false where the answer was cut off; `tokens` counts those of prompt and answer."""

    text: str
    finished: bool
    tokens: int

    def as_json(self) -> dict[str, Any]:
        """For the cache."""
        return asdict(self)

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> ChatAnswer:
        """Checked; see `Record`."""
        return cls(
            field(row, "text", str), field(row, "finished", bool), bounded(field(row, "tokens", int), "tokens", 0)
        )

    @classmethod
    def from_response(cls, response: Any, unknown_tokens: int) -> ChatAnswer:
        """Out of the server's JSON; ValueError if it holds no answer.

        `unknown_tokens` is what an answer counts as whose server does not say. A model that was cut off while it
        reasoned has no content at all.
        """
        try:
            choice = response["choices"][0]
            text, reason = choice["message"]["content"], choice["finish_reason"]
        except (KeyError, IndexError, TypeError):
            raise ValueError("an answer without choices[0].message.content and finish_reason") from None
        if text is None:
            text = ""
        if not isinstance(text, str):
            raise ValueError("an answer whose content is no text")
        usage = response.get("usage")
        total = usage.get("total_tokens") if isinstance(usage, Mapping) else None
        tokens = total if type(total) is int and 0 <= total < 2**53 else unknown_tokens
        return cls(text, reason not in _CUT_OFF, tokens)


def _encodable(text: str) -> str:
    """The text with a sign in place of what UTF-8 cannot hold."""
    return text.encode("utf-8", "replace").decode()
