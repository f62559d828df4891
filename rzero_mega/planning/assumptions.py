"""What cannot be computed from sizes and data sheets: `assumptions.yaml`, where every number has its source."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from rzero_mega.errors import UserError
from rzero_mega.yaml_text import Node, Scalar, parse_yaml, read_yaml

LARGEST = 1e18


@dataclass(frozen=True)
class TrainingShares:
    """Shares of a data sheet's figures that training reaches, and what a collective takes at least, in seconds."""

    gemm_share: float
    fp8_gemm_share: float
    attention_share: float
    memory_share: float
    link_share: float
    collective_s: float


@dataclass(frozen=True)
class Decoding:
    """Of a server's decode step: shares of the data sheet's figures, and seconds that do not follow from them."""

    fixed_s: float
    per_sequence_s: float
    memory_share: float
    compute_share: float
    logprobs_factor: float
    all_reduce_s: float


@dataclass(frozen=True)
class Responses:
    """What models write: log-normal lengths in tokens, a share that runs to the limit; prompts; what is well-formed,
    and what of it a Verifier is asked about."""

    challenger_median: float
    challenger_sigma: float
    challenger_cut_off: float
    challenger_prompt: float
    solver_median: float
    solver_sigma: float
    solver_cut_off: float
    solver_prompt: float
    well_formed_share: float
    verified_share: float


@dataclass(frozen=True)
class Costs:
    """Seconds, and bytes per second, of everything in an iteration that neither draws nor trains."""

    job_start_s: float
    server_start_s: float
    learner_start_s: float
    model_read_bytes_s: float
    model_write_bytes_s: float
    hash_bytes_s: float
    gpu_hash_bytes_s: float
    device_to_host_bytes_s: float
    send_fixed_s: float
    send_bytes_s: float
    update_write_bytes_s: float
    update_read_bytes_s: float
    request_bytes_s: float
    probe_s: float
    turn_fixed_s: float
    turn_bytes_s: float
    train_factor: float
    checkpoint_passes: float
    checkpoint_copy_bytes_s: float
    checkpoint_write_bytes_s: float
    call_s: float
    rank_0_token_s: float
    rank_0_read_token_s: float
    text_token_s: float
    broadcast_token_s: float
    reward_step_s: float
    curate_question_s: float


@dataclass(frozen=True)
class Assumptions:
    """All of them. `sources` has where each comes from, by its key, for instance "training.gemm_share"."""

    training: TrainingShares
    decoding: Decoding
    responses: Responses
    costs: Costs
    sources: Mapping[str, str]

    def with_values(self, values: Mapping[str, float], source: str) -> Assumptions:
        """These with other values by key, all of which have the given source."""
        changed: dict[str, Any] = {}
        for section in SECTIONS:
            of_section = {
                key.partition(".")[2]: value for key, value in values.items() if key.startswith(f"{section}.")
            }
            changed[section] = replace(getattr(self, section), **of_section)
        return Assumptions(**changed, sources={**self.sources, **dict.fromkeys(values, source)})


SECTIONS: dict[str, type] = {
    "training": TrainingShares,
    "decoding": Decoding,
    "responses": Responses,
    "costs": Costs,
}


@cache
def shipped() -> Assumptions:
    """Those that come with the package."""
    text = (files("rzero_mega.planning") / "assumptions.yaml").read_text(encoding="utf-8")
    return _assumptions(*_read(parse_yaml(text, "assumptions.yaml"), "assumptions.yaml", ""))


def read_assumptions(path: Path) -> Assumptions:
    """The shipped ones with those of a file over them, which need not have all. UserError names file and key."""
    values, sources = _read(read_yaml(path), str(path), str(path))
    found = shipped()
    for key, value in values.items():
        found = found.with_values({key: value}, sources[key])
    return found


def _assumptions(values: Mapping[str, float], sources: Mapping[str, str]) -> Assumptions:
    sections: dict[str, Any] = {}
    for section, kind in SECTIONS.items():
        sections[section] = kind(**{spec.name: values[f"{section}.{spec.name}"] for spec in fields(kind)})
    return Assumptions(**sections, sources=dict(sources))


def _read(node: Node, file: str, source: str) -> tuple[dict[str, float], dict[str, str]]:
    """(values, sources) by key; where an entry has no source of its own, it is `source`."""
    values, sources = dict[str, float](), dict[str, str]()
    for section, entries in _mapping(node, file, "").items():
        known = [spec.name for spec in fields(SECTIONS[section])] if section in SECTIONS else []
        if not known:
            raise UserError(f"{file}: {section}: no such section; there are {', '.join(SECTIONS)}")
        for name, entry in _mapping(entries, file, section).items():
            key = f"{section}.{name}"
            if name not in known:
                raise UserError(f"{file}: {key}: no such number; {section} has {', '.join(known)}")
            parts = {"value": entry} if isinstance(entry, Scalar) else _mapping(entry, file, key)
            if not {"value"} <= parts.keys() <= {"value", "source"}:
                raise UserError(f"{file}: {key}: is a number, or a mapping of value and source")
            values[key] = _number(parts["value"], file, key)
            said = parts.get("source")
            sources[key] = said.text if isinstance(said, Scalar) else source
    return values, sources


def _mapping(node: Node, file: str, key: str) -> dict[str, Node]:
    if not isinstance(node, dict):
        raise UserError(f"{file}: {key or 'the file'}: is no mapping")
    return node


def _number(node: Node, file: str, key: str) -> float:
    try:
        value = float(node.text) if isinstance(node, Scalar) else math.nan
    except ValueError:
        value = math.nan
    if not 0 <= value <= LARGEST:
        raise UserError(f"{file}: {key}: needs a number from 0 to {LARGEST:g}")
    return value
