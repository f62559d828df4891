from __future__ import annotations

import logging
import resource
from collections.abc import Iterator

import pytest

from rzero_mega.config.load import load_config
from rzero_mega.open_files import MOST, allow_many_open_files
from rzero_mega.rollout.sglang.pool import choices

UNLIMITED = resource.RLIM_INFINITY
KIND = resource.RLIMIT_NOFILE


@pytest.fixture(autouse=True)
def limits() -> Iterator[None]:
    before = resource.getrlimit(KIND)
    yield
    resource.setrlimit(KIND, before)


def test_this_process_may_open_as_many_as_its_hard_limit_allows() -> None:
    _, hard = resource.getrlimit(KIND)
    resource.setrlimit(KIND, (256, hard))
    allowed = allow_many_open_files()
    assert 256 < allowed <= MOST
    assert resource.getrlimit(KIND) == (allowed, hard)


@pytest.mark.parametrize(
    ("soft", "hard", "allowed"),
    [
        (1_024, 4_096, 4_096),
        (1_024, UNLIMITED, MOST),
        (1_024, 1 << 20, MOST),
        (4_096, 4_096, None),
        (1 << 20, 1 << 20, None),
        (UNLIMITED, UNLIMITED, None),
    ],
)
def test_a_limit_is_raised_and_never_lowered(
    soft: int, hard: int, allowed: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, tuple[int, int]]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda kind, limits: asked.append((kind, limits)))
    assert allow_many_open_files() == (allowed or (MOST if soft == UNLIMITED else soft))
    assert asked == ([] if allowed is None else [(KIND, (allowed, hard))])


@pytest.mark.parametrize(
    ("roles", "limit", "told"), [("in_turn", 576, False), ("in_turn", 575, True), ("together", 576, True)]
)
def test_a_limit_below_what_servers_may_be_asked_over_is_told(
    roles: str, limit: int, told: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(choices, "allow_many_open_files", lambda: limit)
    sglang = f"{{replicas: 2, max_running_requests: 256, roles: {roles}}}"
    with caplog.at_level(logging.WARNING):
        choices.warn_of_open_files(load_config(overrides=["rollout.engine=sglang", f"rollout.sglang={sglang}"]))
    assert ("ulimit -Hn" in caplog.text) is told
