"""Nano's arithmetic, as phases see it: mathematics whose truth is always known."""

from __future__ import annotations

from dataclasses import replace

from rzero_mega.domains.arithmetic.benchmarks import BENCHMARKS
from rzero_mega.domains.arithmetic.worked_examples import WORKED_EXAMPLES
from rzero_mega.domains.mathematics.domain import MATHEMATICS

ARITHMETIC = replace(MATHEMATICS, name="arithmetic", benchmarks=BENCHMARKS, worked_examples=WORKED_EXAMPLES)
