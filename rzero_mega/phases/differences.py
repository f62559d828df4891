"""Whether learner and rollout engine differ more over a step than `learner.warn` lets pass."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from rzero_mega import spmd
from rzero_mega.config.schema import Config
from rzero_mega.tracking.differences import WARNED
from rzero_mega.weights.verification.probe import allowed_difference

_log = logging.getLogger(__name__)
_METRICS = {
    "logprob_difference": "logprob_difference",
    "token_difference": "logprob_difference_max",
    "rollout_kl": "rollout_kl",
    "importance_outside": "importance_outside",
}


def remarked(where: str, row: Mapping[str, float], config: Config) -> dict[str, float]:
    """For a step's row: 1 under WARNED, and a line in the log, where one of its differences is past its bound, else 0.

    `where` names the step. A mean difference is also bounded by default where the present weights drew all rollouts.
    """
    bounds = {key: getattr(config.learner.warn, key) for key in _METRICS}
    if bounds["logprob_difference"] is None and row["staleness"] == 0.0:
        bounds["logprob_difference"] = allowed_difference(config)
    past = [
        f"{metric} is {row[metric]:.3g}, above {bounds[key]:.3g} (learner.warn.{key})"
        for key, metric in _METRICS.items()
        if bounds[key] is not None and row[metric] > bounds[key]
    ]
    if past and spmd.rank() == 0:
        _log.warning("%s: learner and rollout engine differ: %s", where, "; ".join(past))
    return {WARNED: float(bool(past))}
