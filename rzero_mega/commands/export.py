"""The command `export`: a model of a run in a folder for others, with its card; on request also on a hub."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from rzero_mega.atomic import atomic_folder, free_bytes, write_text
from rzero_mega.errors import UserError
from rzero_mega.inspection.model import inspect_tokenizer
from rzero_mega.release.card import Base, base_of, card
from rzero_mega.release.folder import CARD, copy_model
from rzero_mega.release.hub import Hub, HubApi
from rzero_mega.release.licence import licence_of, named_licence
from rzero_mega.release.trained_model import Role, TrainedModel, trained_model
from rzero_mega.run import RunDirectory
from rzero_mega.weights.base_model import local_base_model
from rzero_mega.weights.shape import read_shape

_log = logging.getLogger(__name__)
ROLES: tuple[Role, ...] = ("solver", "challenger")


@dataclass(frozen=True)
class ExportOptions:
    """Which model, where to, and what the run can't know: see the command's help."""

    role: str = "solver"
    iteration: int | None = None
    output: Path | None = None
    licence: str | None = None
    base_model: str | None = None
    push: str | None = None
    public: bool = False


def export(run: RunDirectory, options: ExportOptions, api: HubApi | None = None) -> list[str]:
    """Write the folder, and send it to the hub where that is asked for; where both are.

    `api` stands for the hub's own. UserError for what is asked wrongly, damaged, or can't be sent, before anything is
    written.
    """
    trained = trained_model(run, role_named(options.role), options.iteration)
    target = options.output or Path(trained.name)
    _check_target(target, trained)
    if options.public and options.push is None:
        raise UserError("--public: says how --push makes the repository; add --push OWNER/NAME")
    base = _base(run, options)
    hub = Hub(options.push, private=not options.public, api=api) if options.push is not None else None
    if hub is not None:
        hub.check()
    check_model(trained)
    with atomic_folder(target) as folder:
        copy_model(trained, folder)
        write_text(folder / CARD, card(trained, folder, base))
    if base.licence is None:
        _log.warning("%s: the licence of the base is not known; --license names it", target / CARD)
    where = [str(target)]
    if hub is not None:
        where.append(hub.push(target, f"{trained.name}: {trained.role} after iteration {trained.iteration}"))
    return where


def role_named(name: str) -> Role:
    """UserError if there is no such role."""
    for role in ROLES:
        if role == name:
            return role
    raise UserError(f"--role {name}: there are {' and '.join(ROLES)}")


def check_model(trained: TrainedModel) -> None:
    """UserError names what of the model is damaged, and a tokenizer or template that can't be used."""
    trained.check()
    prompt = trained.prompt().template
    vocab = read_shape(trained.folder).vocab
    solves = trained.role == "solver"
    inspect_tokenizer(trained.folder, vocab, [] if solves else [prompt], [prompt] if solves else [])


def _check_target(target: Path, trained: TrainedModel) -> None:
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise UserError(f"--output {target}: is no folder; name one that is not there yet")
    if target.is_dir() and any(target.iterdir()):
        raise UserError(f"--output {target}: holds something already; name another folder, or remove it")
    if any(parent.is_file() for parent in target.absolute().parents):
        raise UserError(f"--output {target}: a part of this path is a file; name another folder")
    existing = next(parent for parent in target.absolute().parents if parent.exists())
    if not os.access(existing, os.W_OK):
        raise UserError(f"--output {target}: {existing} may not be written to; name another folder")
    if free_bytes(target) < trained.nbytes:
        raise UserError(f"--output {target}: the model has {trained.nbytes / 1e9:.2f} GB, and less is free there")


def _base(run: RunDirectory, options: ExportOptions) -> Base:
    if options.licence is not None:
        return base_of(run.config, options.base_model, named_licence(options.licence))
    folder = local_base_model(run.config.model)
    return base_of(run.config, options.base_model, None if folder is None else licence_of(folder))
