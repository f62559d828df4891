"""The band of p̂, in exact arithmetic: its ends count as they are written in decimal."""

from __future__ import annotations

from fractions import Fraction

from rzero_mega.config.schema import CurationConfig


def ends_of(config: CurationConfig) -> tuple[Fraction, Fraction]:
    """The lower and the upper end; 0.3 is 3 of 10."""
    return Fraction(repr(float(config.low))), Fraction(repr(float(config.high)))


def in_band(share: Fraction, config: CurationConfig) -> bool:
    """Whether p lies in the band, both ends included."""
    low, high = ends_of(config)
    return low <= share <= high
