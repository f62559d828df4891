"""What a process prints when it ends with an error of the user's."""

from __future__ import annotations

import pytest

from rzero_mega.cluster.slurm import SlurmError
from rzero_mega.commands import process
from rzero_mega.errors import UserError
from rzero_mega.rollout.sglang.pool.wire import MalformedAnswer
from rzero_mega.spmd import PeerFailed
from rzero_mega.weights.transports.protocol import ServerError


@pytest.mark.parametrize("kind", [UserError, SlurmError, ServerError, MalformedAnswer])
def test_every_kind_of_user_error_is_a_line(kind: type[UserError], capsys: pytest.CaptureFixture[str]) -> None:
    # Only the plain kind was printed: `cancel` ended with code 2 and not a word where Slurm did not answer.
    process._tell(kind.__new__(kind, "a\nreason"))
    assert capsys.readouterr().err == "rzero-mega: a reason\n"


def test_what_another_rank_tells_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    process._tell(PeerFailed.__new__(PeerFailed))
    assert capsys.readouterr().err == ""
