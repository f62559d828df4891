"""The Verifier's reward: does its verdict agree with what the answer counts as (CoVerRL, arXiv 2603.17775)."""

from __future__ import annotations

from collections.abc import Sequence


def verifier_rewards(verdicts: Sequence[bool | None], anchors: Sequence[bool]) -> list[float]:
    """1 where the verdict is the anchor, 0 where it is not or there is none.

    Answers that count as right are as many as others, so that always the same verdict earns one half.
    """
    return [float(verdict is anchor) for verdict, anchor in zip(verdicts, anchors, strict=True)]
