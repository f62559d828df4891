"""Mathematics, as phases see it."""

from __future__ import annotations

from pathlib import Path

from rzero_mega.config.schema import GradingConfig
from rzero_mega.domains.arithmetic.forms import exact_forms
from rzero_mega.domains.arithmetic.oracle import EXACT_ARITHMETIC
from rzero_mega.domains.domain import CheckableAnswers, Domain
from rzero_mega.domains.mathematics.checks import CHECKS
from rzero_mega.domains.mathematics.questions import parse_question
from rzero_mega.domains.mathematics.verdicts import VERDICTS
from rzero_mega.grading import GradingPool, extract_answer

_PROMPTS = Path(__file__).parent / "prompts"
_ROLES = ("challenger", "solver", "verifier", "paraphrase", "program", "oracle")


def _open_grader(config: GradingConfig) -> GradingPool:
    return GradingPool(config.workers or None, config.time_limit_s, config.memory_limit_mb)


# Questions that are, or ask for, an expression of integers are mathematics too: their truth and forms are known.
MATHEMATICS = Domain(
    name="mathematics",
    prompts={role: _PROMPTS / f"math_{role}.yaml" for role in _ROLES},
    read_question=parse_question,
    answers=CheckableAnswers(extract_answer, _open_grader, EXACT_ARITHMETIC, exact_forms, VERDICTS),
    checks=CHECKS,
)
