"""The warm-up of a role that writes verdicts: fine-tuning on known pairs, before there are rewards to learn from."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from rzero_mega import spmd
from rzero_mega.activity import Activity
from rzero_mega.atomic import read_json, write_json
from rzero_mega.coevolution.streams import derive_seed
from rzero_mega.config.schema import CriticConfig, VerifierConfig, WarmUpConfig
from rzero_mega.errors import UserError
from rzero_mega.learner.guard import FailedUpdate
from rzero_mega.learner.learner import Learner
from rzero_mega.phases.budgets import longest_trained
from rzero_mega.phases.context import ActivePhase, RunContext
from rzero_mega.phases.labelled import SftSteps
from rzero_mega.phases.labelled_data import EncodedExample
from rzero_mega.phases.phase_model import shared_hashes, write_weights
from rzero_mega.phases.start import StartFolders
from rzero_mega.rollout.limits import end_token
from rzero_mega.run.checksums import FileHash, combined
from rzero_mega.weights.shape import read_shape

_log = logging.getLogger(__name__)

FOLDER, RECORD = "warm_up", "warm_up.json"
"""In the phase's partial work: the model, and what was done; it goes when the phase is finished."""


@dataclass(frozen=True)
class WarmUp:
    """What a role is warmed up on: `examples` made of so many `pairs`.

    `key` is what its settings are called, `role` the settings of all that the role does.
    """

    key: str
    settings: WarmUpConfig
    role: VerifierConfig | CriticConfig
    examples: Sequence[EncodedExample]
    pairs: int


def warmed_up(
    ctx: RunContext, phase: ActivePhase, start: StartFolders, warm_up: WarmUp
) -> tuple[StartFolders, dict[str, Any]]:
    """The start with the warmed-up model as its policy, and what to say of it; done once. For all ranks.

    Without an example the start stays as it is.
    """
    folder = phase.directory.work / FOLDER
    if not warm_up.examples:
        _log.warning("%s: no pair of answers is known of which a verdict could be shown; nothing is done", warm_up.key)
        return start, {"warm_up_pairs": 0}
    mark = spmd.on_rank_0(_mark, phase, warm_up)
    done = _done(folder, mark)
    if done is None:
        losses, files = _train(ctx, phase, start, warm_up, folder)
        done = {"warm_up_pairs": warm_up.pairs, "warm_up_loss_first": losses[0], "warm_up_loss_last": losses[-1]}
        spmd.on_rank_0(_keep, folder, {"of": mark, "sha256": combined(files), "said": done})
    if spmd.rank() == 0:
        steps, losses = warm_up.settings.steps, list(done.values())[1:]
        _log.info("%s: %d steps, loss %.3f → %.3f", warm_up.key, steps, *losses)
    ctx.stop_if_asked()
    return replace(start, policy=folder), done


def written_verdicts(
    ctx: RunContext, write: Callable[[bool], str], shown: Iterable[tuple[tuple[int, ...], bool]]
) -> list[EncodedExample]:
    """A prompt and the verdict on it, of each (prompt, verdict); without those that no micro-batch holds."""
    longest = min(read_shape(ctx.base).max_positions, longest_trained(ctx.config))
    targets = {verdict: (*ctx.encoder.encode_said(write(verdict)), end_token(ctx.base)) for verdict in (True, False)}
    examples = (EncodedExample(prompt, "", targets[verdict]) for prompt, verdict in shown)
    return [example for example in examples if len(example.prompt) + len(example.target) <= longest]


def _train(
    ctx: RunContext, phase: ActivePhase, start: StartFolders, warm_up: WarmUp, folder: Path
) -> tuple[list[float], dict[str, FileHash]]:
    """The loss of every step, and what the files of the model in the folder hold."""
    settings = warm_up.settings
    ctx.rest_servers()
    longest = max(len(example.target) for example in warm_up.examples)
    with ctx.stopwatch.timeline.measure(Activity.START_LEARNER):
        seed = derive_seed(phase.seed_key("warm up", "adapters"))
        learner = Learner(
            start.policy,
            ctx.layout,
            ctx.config.learner,
            settings.sft,
            settings.optimizer,
            longest,
            adapter_seed=seed,
        )
    order = derive_seed(phase.seed_key("warm up"))
    steps = SftSteps(ctx, learner, warm_up.examples, settings.sft.sequences_per_update, order)
    losses = [steps.take(step, partial(_failed, warm_up.key))["loss"] for step in range(1, settings.steps + 1)]
    files = write_weights(ctx, learner, folder)
    learner.close()
    ctx.stopwatch.take()  # the first step of the phase did not take this time
    return losses, files


def _failed(key: str, failed: FailedUpdate) -> None:
    raise UserError(f"{key}: {failed}; lower {key}.optimizer.learning_rate")


def _mark(phase: ActivePhase, warm_up: WarmUp) -> str:
    """What the warm-up was made from: the phase with its inputs, and the settings."""
    settings = json.dumps(asdict(warm_up.role), sort_keys=True)
    return f"{phase.directory.mark()}/{hashlib.sha256(settings.encode()).hexdigest()[:16]}"


def _done(folder: Path, mark: str) -> dict[str, Any] | None:
    """What was said of the warm-up in the folder, if it is whole and made from the same. For all ranks."""
    kept = spmd.on_rank_0(_kept, folder)
    if kept is None or kept.get("of") != mark or kept.get("sha256") != combined(shared_hashes(folder)):
        return None
    return dict(kept["said"])


def _kept(folder: Path) -> dict[str, Any] | None:
    record = folder.parent / RECORD
    return dict(read_json(record)) if record.is_file() and folder.is_dir() else None


def _keep(folder: Path, record: dict[str, Any]) -> None:
    write_json(folder.parent / RECORD, record)
