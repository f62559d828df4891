"""Nano's arithmetic, as phases see it: mathematics whose truth is always known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rzero_mega.domains.arithmetic.benchmarks import BENCHMARKS
from rzero_mega.domains.arithmetic.worked_examples import WORKED_EXAMPLES
from rzero_mega.domains.mathematics.domain import MATHEMATICS

_PROMPTS = Path(__file__).parent / "prompts"

ARITHMETIC = replace(
    MATHEMATICS,
    name="arithmetic",
    prompts={
        **MATHEMATICS.prompts,
        "challenger": _PROMPTS / "nano_challenger.yaml",
        "solver": _PROMPTS / "nano_solver.yaml",
        "verifier": _PROMPTS / "nano_verifier.yaml",
    },
    benchmarks=BENCHMARKS,
    worked_examples=WORKED_EXAMPLES,
)
