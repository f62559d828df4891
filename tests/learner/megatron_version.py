"""Which Megatron-core a lane tests: EXPECTED_MEGATRON, if it is set (`make test-newest`)."""

from __future__ import annotations

import os

EXPECTED = os.environ.get("EXPECTED_MEGATRON")


def found() -> str:
    """The version that this process imports. Megatron adds the commit of the working folder to it."""
    import rzero_mega.learner  # noqa: F401 - Megatron may need what it does on import
    import megatron.core  # isort: skip

    return str(megatron.core.__version__).partition("+")[0]


def check() -> None:
    """AssertionError if this process imports another version than the lane asks for."""
    if EXPECTED is not None:
        assert found() == EXPECTED, f"Megatron-core {found()} is tested, not {EXPECTED}"
