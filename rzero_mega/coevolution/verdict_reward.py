"""The reward of a role that writes verdicts: does one agree with what is known (CoVerRL, arXiv 2603.17775)."""

from __future__ import annotations

from collections.abc import Sequence


def verdict_rewards(verdicts: Sequence[bool | None], anchors: Sequence[bool]) -> list[float]:
    """1 where the verdict is the anchor, 0 where it is not or there is none.

    Anchors of either kind are as many as others, so that always the same verdict earns one half.
    """
    return [float(verdict is anchor) for verdict, anchor in zip(verdicts, anchors, strict=True)]
