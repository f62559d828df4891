"""Importing Megatron-core on a machine without CUDA."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from tests import ROOT

FIRST_IMPORTS = ("rzero_mega.learner.learner", "rzero_mega.phases.runner", "rzero_mega.learner.export")
PROGRAM = """
import {module}
from inspect import isfunction
from megatron.core.fusions.fused_bias_swiglu import swiglu
from megatron.core.transformer.moe import router
assert isfunction(swiglu) and "_dynamo" not in swiglu.__code__.co_filename, swiglu
methods = [value for value in vars(router.TopKRouter).values() if isfunction(value)]
assert all("_dynamo" not in method.__code__.co_filename for method in methods), methods
"""


@pytest.mark.skipif(torch.cuda.is_available(), reason="functions are compiled where there is a GPU")
@pytest.mark.parametrize("module", FIRST_IMPORTS)
def test_megatron_compiles_nothing_whatever_imports_it_first(module: str) -> None:
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM.format(module=module)]
    subprocess.run(command, check=True, cwd=ROOT)


@pytest.mark.skipif(torch.cuda.is_available(), reason="functions are compiled where there is a GPU")
def test_what_megatron_would_compile_stays_as_it_is() -> None:
    def function() -> None: ...

    assert torch.compile(function) is function
    assert torch.compile(dynamic=True)(function) is function
