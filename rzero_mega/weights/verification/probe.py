"""The learner's log-probabilities of a few rollouts against those that the server returned with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

from rzero_mega.config.schema import Config
from rzero_mega.errors import UserError

# Mean absolute difference of log-probabilities at T=1 that two right implementations may show. Measured on a CPU server
# with random weights in 16 layers, which are worse than trained ones: 3e-6 in float32, 5e-2 in bfloat16. That of FP8 is
# an estimate.
TOLERANCES = {
    "float32": 1e-4,
    "bfloat16": 1e-1,
    "fp8": 2e-1,
}
# One improbable token may differ by more than the mean: by five times in the same measurements.
LARGEST_PER_MEAN = 25.0


@dataclass(frozen=True)
class ProbeResult:
    """Absolute differences over `tokens` tokens, and what the mean was allowed to be."""

    tokens: int
    mean: float
    largest: float
    tolerance: float


def less_precise(*dtypes: str) -> str:
    """The dtype of several whose tolerance is the widest."""
    return max(dtypes, key=TOLERANCES.__getitem__)


def probe_dtype(config: Config) -> str:
    """The less precise of what learner and server compute in, FP8 included."""
    fp8 = config.learner.fp8.format != "none" or config.weights.quantization != "none"
    return less_precise(config.learner.dtype, config.rollout.dtype, *(["fp8"] if fp8 else []))


def allowed_difference(config: Config) -> float:
    """What the mean difference may be by the configuration."""
    tolerance = config.weights.verify.probe_tolerance
    return TOLERANCES[probe_dtype(config)] if tolerance is None else tolerance


def check_probe(
    learner: Sequence[Sequence[float]],
    server: Sequence[Sequence[float]],
    dtype: str,
    tolerance: float | None,
    version: str,
    name: str = "the server",
) -> ProbeResult:
    """Compare log-probabilities, sequence by sequence and token by token.

    `dtype` is the less precise of the learner's and the server's and decides the tolerance if that is None. UserError
    says by how much they differ and in which sequence most; `name` is what it calls the server.
    """
    allowed = TOLERANCES[dtype] if tolerance is None else tolerance
    differences = _differences(learner, server, name)
    flat = [difference for sequence in differences for difference in sequence]
    result = ProbeResult(len(flat), sum(flat) / len(flat), max(flat), allowed)
    if result.mean > allowed or result.largest > allowed * LARGEST_PER_MEAN:
        worst = max(range(len(differences)), key=lambda index: max(differences[index], default=0.0))
        raise UserError(
            f"{name}: log-probabilities of version {version} differ from the learner's by {result.mean:.3g} on average "
            f"and {result.largest:.3g} at most (sequence {worst}); {allowed:.3g} and {allowed * LARGEST_PER_MEAN:.3g} "
            f"are allowed for {dtype} (weights.verify.probe_tolerance)"
        )
    return result


def _differences(learner: Sequence[Sequence[float]], server: Sequence[Sequence[float]], name: str) -> list[list[float]]:
    if len(learner) != len(server):
        raise UserError(f"{name}: {len(server)} probe sequences came back, not {len(learner)}")
    differences = []
    for index, (ours, theirs) in enumerate(zip(learner, server, strict=True)):
        if len(ours) != len(theirs):
            raise UserError(f"{name}: probe sequence {index} has {len(theirs)} log-probabilities, not {len(ours)}")
        if not all(map(isfinite, (*ours, *theirs))):
            raise UserError(f"{name}: probe sequence {index} has a log-probability that is no finite number")
        differences.append([abs(a - b) for a, b in zip(ours, theirs, strict=True)])
    if not any(differences):
        raise UserError(f"{name}: the probe has no tokens to compare")
    return differences
