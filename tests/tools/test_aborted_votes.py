"""What aborting decided votes is worth, by how easy questions are."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random

import pytest

from rzero_mega.coevolution.decided_votes import OutOfBand
from rzero_mega.config import load_config
from rzero_mega.planning.assumptions import shipped
from rzero_mega.planning.hardware import GPUS
from rzero_mega.planning.models import MODELS
from rzero_mega.planning.servers import DecodeStep
from rzero_mega.simulation.drawing import Asked, Fleet, Lengths, draw
from rzero_mega.simulation.servers import ServerSpeed
from tools.aborted_votes import SHARES, deciding

RULE = OutOfBand.of(load_config(["paper"]).labels)
FLEET = Fleet(
    2, ServerSpeed(32, 300_000, DecodeStep(MODELS["Qwen3-8B"], GPUS["H100"], 1, 2, shipped().decoding), call_s=0.02)
)
VOTES = (Asked(128, 10, 150, 4096, Lengths(600, 0.6, 0.03)),)


def tokens(shares: Callable[[Random], float]) -> int:
    return draw(FLEET, VOTES, deciding=partial(deciding, RULE, shares)).tokens


def test_easy_questions_cost_fewer_tokens_and_undecided_ones_as_many() -> None:
    whole = draw(FLEET, VOTES).tokens
    assert 0.7 * whole < tokens(lambda _: 1.0) < 0.9 * whole
    assert 0.97 * whole < tokens(lambda _: 0.5) <= whole


@pytest.mark.parametrize("words", SHARES)
def test_however_hard_questions_are_aborting_takes_no_longer(words: str) -> None:
    less = draw(FLEET, VOTES, deciding=partial(deciding, RULE, SHARES[words]))
    assert less.draws == 1280 and less.seconds <= 1.02 * draw(FLEET, VOTES).seconds
