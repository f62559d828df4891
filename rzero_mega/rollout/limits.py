"""What a model's folder says about where its samples end: stop tokens and context."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from transformers import AutoConfig, AutoTokenizer, GenerationConfig

from rzero_mega.errors import UserError
from rzero_mega.rollout.protocol import Request


def stop_tokens(folder: Path) -> frozenset[int]:
    """Every end-of-sequence id that the generation config, the config or the tokenizer names."""
    sources = [AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False).eos_token_id]
    if (folder / "generation_config.json").is_file():
        sources.append(GenerationConfig.from_pretrained(folder, local_files_only=True).eos_token_id)
    if (folder / "tokenizer_config.json").is_file():
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        sources.append(tokenizer.eos_token_id)
    found: set[int] = set()
    for source in sources:
        found.update(source if isinstance(source, list) else [] if source is None else [source])
    return frozenset(found)


def check_prompts(requests: Sequence[Request], context: int) -> None:
    """UserError if a prompt is empty, or leaves no room for one more token in a context of so many."""
    for request in requests:
        length = len(request.prompt_tokens)
        if not 0 < length < context:
            raise UserError(
                f"the prompt of request {request.key!r} has {length} tokens; the model's context of "
                f"{context} takes 1 to {context - 1} and one new token"
            )
