"""What a model's folder says about where its samples end: stop tokens and context."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rzero_mega.errors import UserError
from rzero_mega.rollout.protocol import Request
from rzero_mega.rollout.tokenization import PromptEncoder, load_tokenizer
from rzero_mega.weights.model_config import read_config
from rzero_mega.weights.model_files import GENERATION_CONFIG, TOKENIZER_CONFIG, read_object


def stop_tokens(folder: Path) -> frozenset[int]:
    """Every id that ends a response: end-of-sequence ids of the configurations, and the chat template's end of turn.

    A base model's configurations often name the end of a document alone, though its template, and what was trained
    with it, ends a turn with another token: text after that is not the answer.
    """
    sources: list[Any] = [read_config(folder).eos_token_id]
    if (folder / GENERATION_CONFIG).is_file():
        sources.append(read_object(folder, GENERATION_CONFIG).get("eos_token_id"))
    if (folder / TOKENIZER_CONFIG).is_file():
        tokenizer = load_tokenizer(folder)
        sources += [tokenizer.eos_token_id, PromptEncoder(tokenizer).end_of_turn()]
    found: set[int] = set()
    for source in sources:
        found.update(source if isinstance(source, list) else [] if source is None else [source])
    return frozenset(found)


def end_token(folder: Path) -> int:
    """The id that ends what a model is taught to say: the template's end of turn, else the end of the sequence.

    UserError if nothing ends a response.
    """
    tokenizer = load_tokenizer(folder)
    for token in (PromptEncoder(tokenizer).end_of_turn(), tokenizer.eos_token_id, *sorted(stop_tokens(folder))):
        if token is not None:
            return int(token)
    raise UserError(f"{folder}: nothing ends a response: name an eos_token_id in {GENERATION_CONFIG}")


def check_prompts(requests: Sequence[Request], context: int) -> None:
    """UserError if a prompt is empty, or leaves no room for one more token in a context of so many."""
    for request in requests:
        length = len(request.prompt_tokens)
        if not 0 < length < context:
            raise UserError(
                f"the prompt of request {request.key!r} has {length} tokens; the model's context of "
                f"{context} takes 1 to {context - 1} and one new token"
            )
