"""The command `plan` in terminals of several widths."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from rzero_mega.commands.plan import show
from rzero_mega.planning.hardware import GPUS
from rzero_mega.planning.models import MODELS
from rzero_mega.planning.overrides import overrides
from rzero_mega.planning.request import PlanRequest
from rzero_mega.planning.search import recommendation


@pytest.mark.parametrize("width", [40, 60, 80, 100, 160])
def test_nothing_is_broken_inside_a_word_and_the_settings_can_be_pasted(width: int) -> None:
    request = PlanRequest(MODELS["Qwen3-30B-A3B"], 32, GPUS["H100"])
    terminal = Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None, legacy_windows=False)
    show(request, "Qwen3-30B-A3B", terminal)
    lines = terminal.file.getvalue().splitlines()  # type: ignore[attr-defined]
    settings = overrides(recommendation(request, 1)[0], request)
    start = next(number for number, line in enumerate(lines) if line.startswith("placement.nodes="))
    assert all(len(line) <= max(width, 46) for line in lines[start:])
    assert all(len(line.rstrip()) <= width for line in lines[:start])
    assert " ".join(line.removesuffix("\\") for line in lines[start:]).split() == settings
    assert all(line.endswith(" \\") for line in lines[start:-1])
    assert sum(line.strip().startswith("> ") for line in lines[:start]) == 1
