"""The inspection of a model's folder: its tokenizer and template do what a run will ask of them.

Configuration, files and tensors are checked by `weights.base_model.check_model_folder`, which executes nothing of the
folder. A tokenizer's files and a chat template are programs of a kind: they are tried in a bounded process.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import jinja2
from transformers import AutoTokenizer, GenerationConfig
from transformers.utils import chat_template_utils

from rzero_mega.errors import UserError
from rzero_mega.inspection.limits import Say, within_limits
from rzero_mega.rollout.chat_template import rendered
from rzero_mega.rollout.limits import stop_tokens
from rzero_mega.rollout.tokenization import Prompt, PromptEncoder, load_tokenizer
from rzero_mega.weights.model_files import (
    CHAT_TEMPLATE,
    GENERATION_CONFIG,
    TOKENIZER_CONFIG,
    TOKENIZER_FILES,
    model_file,
    read_object,
)

# A prompt and the values of its fields.
Filled = tuple[Prompt, dict[str, str]]
# Loading the largest published tokenizers takes three seconds and half a gigabyte.
SECONDS = 60.0
MEMORY_MB = 2048
# Templates that draw lots are found by rendering: two that agree so often by chance are none.
RENDERINGS = 12
QUESTIONS = ("What is 2+2?", "Let $x<3$ and {y}: 100% of \u00e4 \\frac{1}{2}\n\nWhat is x?")


def inspect_tokenizer(
    folder: Path,
    vocab: int,
    asking: Sequence[Prompt] = (),
    answering: Sequence[Prompt] = (),
    seconds: float = SECONDS,
    memory_mb: int = MEMORY_MB,
) -> None:
    """Try the folder's tokenizer and chat template on a run's prompts, for a model with `vocab` tokens.

    Prompts `asking` for a question have no field, those `answering` one have the field `question`.

    UserError, with the file, for what cannot be read, names tokens that the model does not have, refuses a prompt,
    renders another text each time or day, or takes too long or too much memory.
    """
    for name in TOKENIZER_FILES:
        if name.endswith(".json") and model_file(folder, name) is not None:
            read_object(folder, name)
    prompts = [*((p, {}) for p in asking), *((p, {"question": q}) for p in answering for q in QUESTIONS)]
    within_limits(partial(_try, folder, vocab, prompts), seconds, memory_mb)


def inspect_template(
    folder: Path, template: Path, question: str, seconds: float = SECONDS, memory_mb: int = MEMORY_MB
) -> None:
    """Have a file's chat template make a prompt of one message; UserError if that takes too long or too much memory.

    A template that refuses the message does what a server will say.
    """

    def work(say: Say) -> None:
        say(f"{template.name}: the chat template")
        text, tokenizer = template.read_text(encoding="utf-8"), load_tokenizer(folder)
        with suppress(jinja2.TemplateError):
            rendered(tokenizer, text, question)

    within_limits(work, seconds, memory_mb)


def _try(folder: Path, vocab: int, prompts: Sequence[Filled], say: Say) -> None:
    if model_file(folder, GENERATION_CONFIG) is not None:
        say(f"{folder / GENERATION_CONFIG}")
        GenerationConfig.from_pretrained(folder, local_files_only=True)
    say(f"{folder}: the tokenizer")
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    most, token = max((number, text) for text, number in tokenizer.get_vocab().items())
    if most >= vocab:
        raise UserError(
            f"{folder}: the tokenizer's token {token[:80]!r} is number {most}, the model has {vocab} tokens; "
            "take the tokenizer that belongs to the model"
        )
    template = tokenizer.chat_template
    source = folder / (CHAT_TEMPLATE if model_file(folder, CHAT_TEMPLATE) is not None else TOKENIZER_CONFIG)
    if isinstance(template, dict) and "default" not in template:
        names = ", ".join(sorted(map(str, template)))[:200]
        raise UserError(f"{source}: several chat templates ({names}) and none is named default; name one so")
    if template is not None and not isinstance(template, str | dict):
        raise UserError(f"{source}: its chat template is no text")
    say(f"{source}: the chat template" if template else f"{folder}: the tokenizer")
    encoder = PromptEncoder(tokenizer)
    for prompt, fields in prompts:
        _try_prompt(encoder, prompt, fields, source, vocab)
    say(f"{source}: the end of a turn in the chat template")
    if prompts and not stop_tokens(folder):
        raise UserError(
            f"{folder}: nothing ends a sample: name an eos_token_id in {GENERATION_CONFIG} or an eos_token in "
            f"{TOKENIZER_CONFIG}"
        )


def _try_prompt(encoder: PromptEncoder, prompt: Prompt, fields: dict[str, str], source: Path, vocab: int) -> None:
    found = set()
    for number in range(RENDERINGS):
        _pretend_day(number)
        try:
            found.add(encoder.encode_prompt(prompt, **fields))
        except UserError as error:
            raise UserError(f"{source}: {error}; prompts.challenger and prompts.solver name other prompts") from None
    if len(found) > 1:
        raise UserError(f"{source}: the chat template writes another prompt each time or each day; remove what does so")
    (tokens,) = found
    if not tokens:
        raise UserError(f"{source}: the chat template makes an empty prompt")
    if max(tokens) >= vocab or min(tokens) < 0:
        raise UserError(f"{source}: a prompt has token {max(tokens)}, the model has {vocab} tokens")


def _pretend_day(number: int) -> None:
    """Let templates that ask for the time believe that it is another day. In the bounded process alone."""

    class Clock(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Clock:
            return cls(2031, 1, 1, tzinfo=tz) + datetime.timedelta(days=397 * number, seconds=61 * number)

    chat_template_utils.datetime = Clock
