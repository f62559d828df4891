"""A language model behind OpenAI's interface: whom to ask, how patiently, and how much of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from rzero_mega.config.schema.metadata import FREE, PathIf, choice, number, path, value


@dataclass
class EndpointConfig:
    """A model on a server with OpenAI's chat completions: a provider's, SGLang, vLLM. Off while `url` is null."""

    url: str | None = value(None, FREE)
    """Base address, for instance https://api.openai.com/v1 or http://127.0.0.1:30000/v1. null: nobody is asked."""

    model: str = ""
    """The model's name, as the server calls it."""

    key_variable: str | None = value(None, FREE)
    """Name of the environment variable that holds the key. null: the server wants none. The key itself stands in no
    configuration, log or file."""

    concurrency: int = number(8, 1, 1_024, kind=FREE)
    """Requests at the same time. Lower it where the server answers 429."""

    timeout_s: float = number(300.0, 0.1, kind=FREE)
    """Seconds that one answer may take, from the request to its last byte."""

    attempts: int = number(6, 1, 100, kind=FREE)
    """How often a request is sent at most, where the server is busy (429), fails (5xx) or does not answer; between two
    attempts there are one second, two, four, ..., or what the server asks for in Retry-After."""

    max_requests: int | None = number(None, 0, kind=FREE)
    """Budget: requests that are sent at most, of all attempts at one phase or audit. null: no bound."""

    max_total_tokens: int | None = number(None, 0, kind=FREE)
    """Budget: tokens of prompts and answers, as the server counts them. Once they are used up no more requests are
    sent; those under way go over it. null: no bound."""

    temperature: float | None = number(0.0, 0.0, 2.0)
    """0 is greedy. null: not sent, for models that take none."""

    max_new_tokens: int = number(2_048, 1)
    """Longest answer, tokens; reasoning counts. An answer that reaches it is cut off and counts as none."""

    limit_name: str = choice("max_tokens", "max_completion_tokens", kind=FREE)
    """What the server calls that limit. OpenAI's reasoning models know the second name only."""


@dataclass
class JudgeConfig:
    """A model that looks again at answers which the rules called wrong, and may call them right. Off without `url`."""

    endpoint: EndpointConfig = field(default_factory=EndpointConfig)
    """The model that judges."""

    agreement_sample: int = number(200, 0)
    """Answers, drawn at random whatever the rules say of them, on which the judge is compared with the rules."""


@dataclass
class LabelAuditConfig:
    """`rzero-mega audit`: a stronger model answers a random share of the questions. Nothing is trained on it.

    Where a question's truth can be computed, the labels phase does so for every question, without this.
    """

    endpoint: EndpointConfig = field(default_factory=lambda: EndpointConfig(temperature=0.7, max_new_tokens=8_192))
    """The oracle."""

    prompt: str | None = path(None, when=PathIf.YAML)
    """How it is asked: a prompt file's name, or the path of one, as in `prompts`. null: the domain's own. Its answer is
    read as the Solver's is; `unanswerable` in it says that a question has none."""

    kept_share: float = number(0.1, 0.0, 1.0)
    """Share of an iteration's kept questions that is audited. The seed draws them; a larger share holds a smaller."""

    dropped_share: float = number(0.02, 0.0, 1.0)
    """Share of its dropped questions."""

    samples: int = number(5, 1)
    """Answers of the oracle per question; their majority is its answer."""

    least_agreement: float = number(0.6, 0.0, 1.0)
    """The oracle counts as unsure of a question where its majority has a smaller share of its samples."""
