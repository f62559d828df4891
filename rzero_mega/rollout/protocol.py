"""What every rollout engine speaks: requests in, samples out, weights by name and version."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from hashlib import blake2b
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

from rzero_mega.config.schema import SamplingConfig

if TYPE_CHECKING:
    from rzero_mega.weights.sources import WeightSource


class FinishReason(Enum):
    """Why a sample ended. Only STOP is a finished answer."""

    STOP = "stop"
    LENGTH = "length"
    ABORT = "abort"


@dataclass(frozen=True)
class Request:
    """`n` samples of one prompt.

    `key` names the random stream: sample i of the request draws from a stream derived from (key, i) alone, so that a
    resumed run draws the same numbers as an uninterrupted one. The samples are first_index .. first_index + n - 1, so
    that several engines can share one request. What is read and not trained on needs no `logprobs`.
    """

    key: str
    prompt_tokens: tuple[int, ...]
    n: int
    sampling: SamplingConfig
    first_index: int = 0
    logprobs: bool = True


@dataclass(frozen=True)
class Draw:
    """One sample to be drawn: number `index` of its request, at `position` among all samples of a call."""

    position: int
    request: Request
    index: int


def stream_number(key: str, index: int, nbytes: int) -> int:
    """The number of so many bytes that stands for the random stream of sample `index` of the request `key`."""
    return int.from_bytes(blake2b(f"{index}:{key}".encode(), digest_size=nbytes).digest(), "little")


def draws_of(requests: Sequence[Request]) -> list[Draw]:
    """All samples of all requests, request-major, then by index."""
    pairs = [(r, i) for r in requests for i in range(r.first_index, r.first_index + r.n)]
    return [Draw(position, request, index) for position, (request, index) in enumerate(pairs)]


@dataclass(frozen=True)
class TokenSpan:
    """So many tokens in a row, drawn by the weights of one version."""

    version: int
    tokens: int


@dataclass(frozen=True)
class Sample:
    """One response of a model to a prompt.

    `tokens` include the end-of-sequence token if the model wrote one; `logprobs`, as many, are natural logarithms at
    the temperature of the request before any filter (of a greedy request at temperature 1), and none where the request
    wants none. Both are arrays: as an object per number they would take several times the memory, also as pickles.
    `weight_version` says which weights drew it: all of it, but for what it began with where it was stopped under older
    weights and went on under these. That is `earlier`, the oldest first.
    """

    key: str
    index: int
    prompt_tokens: tuple[int, ...]
    tokens: array[int]
    logprobs: array[float]
    finish: FinishReason
    weight_version: int
    earlier: tuple[TokenSpan, ...] = ()

    @property
    def oldest_version(self) -> int:
        """Of the weights that drew any of it."""
        return min([self.weight_version, *(span.version for span in self.earlier)])

    def tokens_before(self, version: int) -> int:
        """How many of its tokens were drawn by weights older than that."""
        older = sum(span.tokens for span in self.earlier if span.version < version)
        rest = len(self.tokens) - sum(span.tokens for span in self.earlier)
        return older + (rest if self.weight_version < version else 0)

    @property
    def finished(self) -> bool:
        """Whether the model ended the sample itself; one that was cut off is never an answer."""
        return self.finish is FinishReason.STOP


def token_array(tokens: Iterable[int] = ()) -> array[int]:
    """Tokens as a sample keeps them; TypeError or OverflowError if one is none."""
    return array("i", tokens)


def logprob_array(logprobs: Iterable[float] = ()) -> array[float]:
    """Log-probabilities as a sample keeps them; TypeError if one is no number."""
    return array("d", logprobs)


def sample_of_nothing(request: Request, index: int, finish: FinishReason, weight_version: int) -> Sample:
    """A sample without a token: the request was never begun, for the reason that `finish` has."""
    drawn = token_array(), logprob_array()
    return Sample(request.key, index, request.prompt_tokens, *drawn, finish, weight_version)


@dataclass(frozen=True)
class Scored:
    """A prompt and a response whose log-probabilities are asked for."""

    prompt_tokens: Sequence[int]
    response_tokens: Sequence[int]


Arrived: TypeAlias = Callable[[int, list[Sample]], bool]
"""Takes the samples of a unit, by its number, on rank 0 alone; whether to go on."""


Whole: TypeAlias = Callable[[int], bool]
"""Told of each unit that is whole, by its number, on rank 0 alone; whether to go on."""


Decided: TypeAlias = Callable[[Sample], bool]
"""Told of samples as they come, on rank 0 alone; whether nothing more is needed of this one's request."""


Follow: TypeAlias = Callable[[int, Sample], Request | None]
"""What another engine is asked about a sample, by the sample's position, on rank 0 alone; None: nothing."""


class RolloutEngine(Protocol):
    """One policy, served. Where there are several ranks, all make the same calls with the same arguments (SPMD)."""

    @property
    def receivers(self) -> Sequence[int]:
        """The ranks that need the buckets of an update; the others only take part in the pass."""
        ...

    @property
    def context(self) -> int:
        """Most tokens of a prompt and its response together. A prompt needs room for one more token than its own."""
        ...

    def generate(self, requests: Sequence[Request]) -> list[Sample]:
        """All samples of all requests, request-major, then by index. A failed request raises; none is dropped."""
        ...

    def generate_units(self, units: Sequence[Sequence[Request]], arrived: Arrived) -> None:
        """All samples of all units, each unit's handed over on rank 0 once it is whole, in whatever order that is.

        Servers work on all units at once. Elsewhere they are drawn one after the other, so that a unit's samples do not
        depend on which others there are.
        """
        ...

    def score(self, sequences: Sequence[Scored]) -> list[tuple[float, ...]]:
        """Log-probability at temperature 1 of every response token under the present weights."""
        ...

    def prepare(self) -> None:
        """Bring the weights to where they are needed now, so that the next call doesn't wait for them."""
        ...

    def update_weights(self, source: WeightSource, version: int) -> None:
        """Replace every weight by full tensors under their Hugging Face names; `version` marks samples from then on.

        `source` may be streamed again later, as long as its weights are those of `version`: an engine that lost a
        server fetches them anew. Raises UserError naming the tensor if one is missing, unknown, of another shape or
        arrived with other bytes; the old weights then stay, or nothing is served.
        """
        ...

    def close(self) -> None:
        """Free what the engine holds."""
        ...


@runtime_checkable
class StoppableEngine(RolloutEngine, Protocol):
    """An engine that works on all units at once, and leaves what is unfinished when it is enough."""

    def generate_until(self, units: Sequence[Sequence[Request]], whole: Whole) -> list[list[Sample]]:
        """By unit the samples of its draws, in order, as far as they are there when `whole` says no.

        A sample that is stopped then ends with FinishReason.ABORT, and may have no token; one that was not begun is
        missing. Draws are begun in the order in which they are given.
        """
        ...


@runtime_checkable
class AbortingEngine(RolloutEngine, Protocol):
    """An engine that draws no more of a request than is needed."""

    def generate_needed(self, units: Sequence[Sequence[Request]], arrived: Arrived, decided: Decided) -> None:
        """As `generate_units`; what is left of a request is aborted once `decided`, and `decided` not asked again.

        A sample that is aborted ends with FinishReason.ABORT, and may have no token.
        """
        ...


@runtime_checkable
class LeadingEngine(RolloutEngine, Protocol):
    """An engine beside which another one can speak at the same time."""

    def can_lead(self, other: RolloutEngine) -> bool:
        """Whether the other one can speak beside this one."""
        ...

    def generate_followed(
        self, requests: Sequence[Request], other: RolloutEngine, follow: Follow
    ) -> tuple[list[Sample], dict[int, list[Sample]]]:
        """This engine's samples as of `generate`, and the other's about them, asked as soon as each sample is there.

        `follow` gets samples in whatever order they come. The second are by the position of the sample that they are
        about, by index, and on rank 0 alone; a position that `follow` has no request for is not among them.
        """
        ...
