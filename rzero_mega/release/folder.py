"""A model's folder for others: the run's model as it is, and beside it how it was asked and sampled."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from rzero_mega.config.schema import SamplingConfig
from rzero_mega.release.trained_model import TrainedModel, TrainedPrompt
from rzero_mega.rollout.chat_template import chat_template, refusing
from rzero_mega.rollout.limits import stop_tokens
from rzero_mega.rollout.tokenization import load_tokenizer
from rzero_mega.weights.model_files import GENERATION_CONFIG, model_file, model_files, read_object
from rzero_mega.weights.shape import read_shape

CARD = "README.md"
TRAINED_PROMPT = "trained_prompt.yaml"
TRAINED_TEMPLATE = "trained_prompt.jinja"
"""The chat template that asks as in training. It is not the folder's own: a run that starts from the folder has prompts
of its own, and asks as it would have asked the model in the run."""

_NO_TEMPLATE = "no chat template asks this model as it was trained; use /v1/completions"


def copy_model(trained: TrainedModel, folder: Path) -> None:
    """Copy the model's files, byte for byte, and write beside them how it was asked."""
    for file in model_files(trained.folder):
        shutil.copyfile(file, folder / file.name)
    write_trained_prompt(folder, trained.prompt())


def write_trained_prompt(folder: Path, prompt: TrainedPrompt) -> None:
    """Into the folder of a model: its generation config, the prompt file, and the chat template that asks by it."""
    config = generation_config(folder, prompt.sampling)
    (folder / GENERATION_CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    (folder / TRAINED_PROMPT).write_text(prompt.text, encoding="utf-8")
    template = chat_template(load_tokenizer(folder), prompt.template, prompt.takes_question)
    (folder / TRAINED_TEMPLATE).write_text(template or refusing(_NO_TEMPLATE), encoding="utf-8")


def generation_config(folder: Path, sampling: SamplingConfig) -> dict[str, Any]:
    """The keys of a generation config that have a model answer as in the run: its sampling, every stop token.

    Nothing else of the model's own stays, such as a repetition penalty, which rollouts do not have.
    """
    own = read_object(folder, GENERATION_CONFIG) if model_file(folder, GENERATION_CONFIG) is not None else {}
    tokens = {key: own[key] for key in ("bos_token_id", "pad_token_id") if own.get(key) is not None}
    config = {**tokens, "eos_token_id": sorted(stop_tokens(folder)), "max_new_tokens": sampling.max_new_tokens}
    if sampling.temperature == 0:
        return {**config, "do_sample": False}
    # Left out, top_k would be 50 for transformers; SGLang refuses 0. The whole vocabulary is the same to both.
    top_k = sampling.top_k or read_shape(folder).vocab
    return {
        **config,
        "do_sample": True,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": top_k,
    }
