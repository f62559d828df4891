"""The Verifier's warm-up: supervised fine-tuning on known pairs, before there are rewards to learn from."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rzero_mega import spmd
from rzero_mega.activity import Activity
from rzero_mega.atomic import read_json, write_json
from rzero_mega.coevolution.streams import derive_seed
from rzero_mega.coevolution.verifier_pairs import Pair
from rzero_mega.errors import UserError
from rzero_mega.learner.guard import FailedUpdate
from rzero_mega.learner.learner import Learner
from rzero_mega.phases.budgets import longest_trained
from rzero_mega.phases.context import ActivePhase, RunContext
from rzero_mega.phases.labelled import SftSteps
from rzero_mega.phases.labelled_data import EncodedExample
from rzero_mega.phases.phase_model import shared_hashes, write_weights
from rzero_mega.phases.start import StartFolders
from rzero_mega.phases.verifying import verdicts_of
from rzero_mega.rollout.limits import end_token
from rzero_mega.run.checksums import FileHash, combined
from rzero_mega.weights.shape import read_shape

_log = logging.getLogger(__name__)

FOLDER, RECORD = "warm_up", "warm_up.json"
"""In the phase's partial work: the model, and what was done; it goes when the phase is finished."""


def warmed_up(
    ctx: RunContext, phase: ActivePhase, start: StartFolders, pairs: Sequence[Pair]
) -> tuple[StartFolders, dict[str, Any]]:
    """The start with the warmed-up model as its policy, and what to say of it; done once. For all ranks.

    Without a pair the start stays as it is.
    """
    warm_up, folder = ctx.config.verifier.warm_up, phase.directory.work / FOLDER
    examples = _examples(ctx, pairs)
    if not examples:
        _log.warning("verifier.warm_up: no question has a majority of verifier.known_from; there is nothing to show it")
        return start, {"warm_up_pairs": 0}
    mark = spmd.on_rank_0(_mark, ctx, phase)
    done = _done(folder, mark)
    if done is None:
        losses, files = _train(ctx, phase, start, examples, folder)
        done = {"warm_up_pairs": len(pairs), "warm_up_loss_first": losses[0], "warm_up_loss_last": losses[-1]}
        spmd.on_rank_0(_keep, folder, {"of": mark, "sha256": combined(files), "said": done})
    if spmd.rank() == 0:
        _log.info("verifier.warm_up: %d steps, loss %.3f → %.3f", warm_up.steps, *list(done.values())[1:])
    ctx.stop_if_asked()
    return replace(start, policy=folder), done


def _examples(ctx: RunContext, pairs: Sequence[Pair]) -> list[EncodedExample]:
    """A prompt and the verdict on it, for both answers of each pair; without those that no micro-batch holds."""
    write, end = verdicts_of(ctx).write, end_token(ctx.base)
    longest = min(read_shape(ctx.base).max_positions, longest_trained(ctx.config))
    found = []
    for pair in pairs:
        for answer, right in ((pair.right, True), (pair.wrong, False)):
            target = (*ctx.encoder.encode_said(write(right)), end)
            found.append(EncodedExample(ctx.verifier_prompt(pair.question, answer), "", target))
    return [example for example in found if len(example.prompt) + len(example.target) <= longest]


def _train(
    ctx: RunContext, phase: ActivePhase, start: StartFolders, examples: Sequence[EncodedExample], folder: Path
) -> tuple[list[float], dict[str, FileHash]]:
    """The loss of every step, and what the files of the model in the folder hold."""
    warm_up = ctx.config.verifier.warm_up
    ctx.rest_servers()
    longest = max(len(example.target) for example in examples)
    with ctx.stopwatch.timeline.measure(Activity.START_LEARNER):
        seed = derive_seed(phase.seed_key("warm up", "adapters"))
        learner = Learner(
            start.policy,
            ctx.layout,
            ctx.config.learner,
            warm_up.sft,
            warm_up.optimizer,
            longest,
            adapter_seed=seed,
        )
    order = derive_seed(phase.seed_key("warm up"))
    steps = SftSteps(ctx, learner, examples, warm_up.sft.sequences_per_update, order)
    losses = [steps.take(step, _failed)["loss"] for step in range(1, warm_up.steps + 1)]
    files = write_weights(ctx, learner, folder)
    learner.close()
    ctx.stopwatch.take()  # the first step of the phase did not take this time
    return losses, files


def _failed(failed: FailedUpdate) -> None:
    raise UserError(f"verifier.warm_up: {failed}; lower verifier.warm_up.optimizer.learning_rate")


def _mark(ctx: RunContext, phase: ActivePhase) -> str:
    """What the warm-up was made from: the phase with its inputs, and the settings."""
    settings = json.dumps(asdict(ctx.config.verifier), sort_keys=True)
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
