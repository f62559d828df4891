"""Requests as SGLang's /generate takes them, and its answers as samples. Pure; answers are checked, not trusted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rzero_mega.errors import UserError
from rzero_mega.rollout.protocol import (
    Draw,
    FinishReason,
    Sample,
    Scored,
    logprob_array,
    stream_number,
    token_array,
)
from rzero_mega.weights.verification.versions import foreign_versions

Body = dict[str, Any]


@dataclass(frozen=True)
class Version:
    """A weight version as engines number it, and as the servers carry it: unique over the life of the servers.

    With `adapted` requests name the adapter that is loaded under that version, beside the base that is served.
    """

    number: int
    on_server: str
    adapted: bool = False

    def request(self, body: Body) -> Body:
        """The body of a request to these weights."""
        return {**body, "lora_path": self.on_server} if self.adapted else body


class MalformedAnswer(UserError):
    """An answer that lacks what a sample needs."""


def generate_body(draws: Sequence[Draw], stop: Sequence[int], context: int, names: Sequence[str] | None = None) -> Body:
    """One call, answered sample by sample, each whole as soon as it is drawn.

    Every sample is a request of its own: an abort or a retry then concerns it alone. `names` are what they are aborted
    by; a server aborts whatever has a name that begins with the one it is told.
    """
    named = {} if names is None else {"rid": list(names)}
    return {
        **named,
        "input_ids": [list(draw.request.prompt_tokens) for draw in draws],
        "sampling_params": [_sampling(draw, stop, context) for draw in draws],
        "return_logprob": [draw.request.logprobs for draw in draws],
        "logprob_start_len": -1,
        "stream": True,
    }


def longest_response(draw: Draw, context: int) -> int:
    """Most tokens that the draw can become."""
    return min(draw.request.sampling.max_new_tokens, context - len(draw.request.prompt_tokens))


def _sampling(draw: Draw, stop: Sequence[int], context: int) -> Body:
    sampling, longest = draw.request.sampling, longest_response(draw, context)
    return {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k or -1,
        "max_new_tokens": longest,
        # A server in its batch-invariant mode draws by this, and all samples of a prompt alike without; others ignore
        # it. A signed number of eight bytes to SGLang.
        "sampling_seed": stream_number(draw.request.key, draw.index, 8) >> 1,
        "stop_token_ids": list(stop),
        # Between its first token, which the server reports in any case, and its last one nothing is said of a sample.
        "stream_interval": longest,
    }


def whole_draw(event: Mapping[str, Any], draws: Mapping[int, Draw]) -> tuple[int, Draw] | None:
    """Which draw an event says all of, with its number in the call; None while the draw goes on.

    `draws` are those of the call that have had no such event, by number; MalformedAnswer if the event is of another.
    """
    try:
        number, over = event["index"], event["meta_info"]["finish_reason"] is not None
    except (KeyError, TypeError) as error:
        raise MalformedAnswer(f"an event that says nothing of a sample: {error!r}") from None
    if not isinstance(number, int) or number not in draws:
        raise MalformedAnswer(f"an event about sample {number!r}, which is not asked for, or answered already")
    return (number, draws[number]) if over else None


def read_sample(draw: Draw, answer: Mapping[str, Any], version: Version, stopped: bool = False) -> Sample | None:
    """The sample, or None if the server aborted it, unless it was `stopped`: then it is what there was of it.

    UserError if the sample was drawn, in whole or in part, with weights of another version.
    """
    try:
        meta = answer["meta_info"]
        finish = str(meta["finish_reason"]["type"])
        if finish == FinishReason.ABORT.value and not stopped:
            return None
        tokens = token_array(answer["output_ids"])
        triples = meta["output_token_logprobs"] if draw.request.logprobs else ()
        # Lists, which are twice as fast as generators: an iteration's rollouts are some ten million tokens.
        logprobs = logprob_array([triple[0] for triple in triples])
        same = not draw.request.logprobs or [triple[1] for triple in triples] == answer["output_ids"]
        versions = _versions(meta)
        reason = FinishReason(finish)
    except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
        raise MalformedAnswer(f"sample {draw.request.key!r}: not a sample: {error!r}") from None
    if not same:
        raise MalformedAnswer(f"sample {draw.request.key!r}: tokens and log-probabilities do not belong together")
    check_versions(draw.request.key, versions, version)
    return Sample(
        key=draw.request.key,
        index=draw.index,
        prompt_tokens=draw.request.prompt_tokens,
        tokens=tokens,
        logprobs=logprobs,
        finish=reason,
        weight_version=version.number,
    )


def _versions(meta: Mapping[str, Any]) -> list[str]:
    # Of a sample that was aborted before it was begun the server says no spans.
    return [str(span["version"]) for span in meta.get("weight_versions") or ()] or [str(meta["weight_version"])]


def check_versions(key: str, found: Sequence[str], version: Version) -> None:
    """UserError if anything but `version` is among the versions that a sample was drawn with."""
    foreign = foreign_versions(found, [version.on_server])
    if foreign:
        raise UserError(
            f"sample {key!r} was drawn with weights {', '.join(foreign)} and not {version.on_server}: the server was "
            "restarted or missed an update"
        )


def score_body(sequences: Sequence[Scored]) -> Body:
    """A batch that asks for log-probabilities of its input and generates a single token, which is dropped."""
    return {
        "input_ids": [[*sequence.prompt_tokens, *sequence.response_tokens] for sequence in sequences],
        "sampling_params": {"temperature": 1.0, "max_new_tokens": 1},
        "return_logprob": True,
        "logprob_start_len": 0,
    }


def read_score(sequence: Scored, answer: Mapping[str, Any], version: Version) -> tuple[float, ...]:
    """Log-probabilities of the response tokens; UserError as for samples."""
    try:
        meta = answer["meta_info"]
        triples = meta["input_token_logprobs"][len(sequence.prompt_tokens) :]
        logprobs = tuple(float(triple[0]) for triple in triples)
        scored = [int(triple[1]) for triple in triples]
        # In what it reports of the input, and there alone, the server writes 0 for the last token of the vocabulary.
        same = len(scored) == len(sequence.response_tokens) and all(
            reported in (token, 0) for reported, token in zip(scored, sequence.response_tokens, strict=True)
        )
        versions = _versions(meta)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise MalformedAnswer(f"a scored sequence: not a score: {error!r}") from None
    if not same:
        raise MalformedAnswer("a scored sequence: the server scored other tokens")
    check_versions("of a scored sequence", versions, version)
    return logprobs
