"""What somebody may have meant: names that are spelt alike, and keys that other frameworks call otherwise."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

# How far a name may be from the one that is suggested, as difflib measures it; keys at the same place go first.
_ALIKE = 0.6
_SIBLING = 0.75
# From here on there is no doubt which key was meant.
_CERTAIN = 0.9
_MOST = 3
# Sections of what few runs have.
_RARE = ("verifier.", "critic.")
# The last part of a key as other frameworks, papers and shells have it, and what it is called here.
SYNONYMS = {
    "adam_beta1": "beta1",
    "adam_beta2": "beta2",
    "adam_epsilon": "epsilon",
    "base_model": "path",
    "batch_size": "prompts_per_step",
    "beta": "kl_coefficient",
    "checkpoint_every": "every",
    "clip": "clip_high",
    "clip_grad": "clip_gradient_norm",
    "cliprange": "clip_high",
    "clip_ratio": "clip_high",
    "dp": "processes",
    "eval_benchmarks": "benchmarks",
    "gpus": "processes",
    "grad_clip": "clip_gradient_norm",
    "group_size": "rollouts_per_prompt",
    "kl_coef": "kl_coefficient",
    "kl_loss_coef": "kl_coefficient",
    "lr": "learning_rate",
    "max_completion_length": "max_new_tokens",
    "max_grad_norm": "clip_gradient_norm",
    "max_model_len": "context_length",
    "max_response_length": "max_new_tokens",
    "max_steps": "steps",
    "max_tokens": "max_new_tokens",
    "mini_batch_size": "sequences_per_update",
    "model_name": "path",
    "model_path": "path",
    "model_name_or_path": "path",
    "n_gpus": "processes",
    "nnodes": "nodes",
    "nproc_per_node": "processes",
    "num_generations": "rollouts_per_prompt",
    "num_nodes": "nodes",
    "output_dir": "root",
    "ppo_mini_batch_size": "sequences_per_update",
    "run_name": "name",
    "save_freq": "every",
    "save_steps": "every",
    "seq_length": "max_new_tokens",
    "temp": "temperature",
    "tensor_parallel_size": "tp",
    "pipeline_parallel_size": "pp",
    "context_parallel_size": "cp",
    "tensor_model_parallel_size": "tp",
    "pipeline_model_parallel_size": "pp",
    "context_parallel": "cp",
    "train_batch_size": "prompts_per_step",
    "wandb_project": "project",
    "wd": "weight_decay",
    "world_size": "processes",
}


def alike(name: str, known: Iterable[str], cutoff: float = _ALIKE) -> str | None:
    """The known name that is spelt most alike, whatever its case and whether words are joined by - or _."""
    plain = {_plain(other): other for other in known}
    close = difflib.get_close_matches(_plain(name), plain, n=1, cutoff=cutoff)
    return plain[close[0]] if close else None


def keys_like(name: str, known: Sequence[str]) -> list[str]:
    """Up to three of the known dotted keys that a wrong one may stand for, the likeliest first."""
    parent, _, last = name.replace("-", "_").rpartition(".")
    last = SYNONYMS.get(last.lower(), last)
    wanted = f"{parent}.{last}" if parent else last
    same = [key for key in known if _last(key) == last]
    if same:
        return _ranked(wanted, same)
    siblings = {_last(key): key for key in known if key.rpartition(".")[0] == parent}
    if close := alike(last, siblings, _SIBLING):
        return [siblings[close]]
    if close := alike(last, {_last(key) for key in known}):
        return _ranked(wanted, [key for key in known if _last(key) == close])
    return []


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """The end of an error about an unknown key: what was meant, or what there is at its place."""
    if close := keys_like(name, known):
        return f"; did you mean {' or '.join(close)}?"
    parent = name.rpartition(".")[0]
    siblings = [_last(key) for key in known if key.rpartition(".")[0] == parent]
    return f"; there are {', '.join(siblings)}" if siblings else "; `rzero-mega config paper` prints all keys"


def _ranked(wanted: str, keys: list[str]) -> list[str]:
    def likeness(key: str) -> float:
        return difflib.SequenceMatcher(None, wanted, key).ratio()

    def is_asked_for(key: str) -> bool:
        """What few runs have goes last, unless it is named."""
        return wanted.startswith(_RARE) or not key.startswith(_RARE)

    ranked = sorted(keys, key=lambda key: (is_asked_for(key), likeness(key)), reverse=True)
    return ranked[:1] if likeness(ranked[0]) >= _CERTAIN else ranked[:_MOST]


def _last(key: str) -> str:
    return key.rpartition(".")[2]


def _plain(name: str) -> str:
    return name.lower().replace("-", "_")
