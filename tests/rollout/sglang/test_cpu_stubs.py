from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rzero_mega.rollout.sglang.server.command import CPU_STUBS, ServerSpec, server_environment

REPLACED = ("sgl_kernel", "torchvision", "triton")


def python(code: str, **environment: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def server_python(code: str) -> str:
    return python(code, **server_environment(ServerSpec(Path("m"), 1), os.environ))


@pytest.mark.parametrize("name", REPLACED)
def test_servers_get_the_stand_in(name: str) -> None:
    assert Path(server_python(f"import {name}; print({name}.__file__)")).is_relative_to(CPU_STUBS)


def test_our_own_processes_do_not() -> None:
    code = "import rzero_mega.rollout.sglang.server.process, sys; print(*sys.path, *sys.modules)"
    found = python(code, **os.environ).split()
    assert str(CPU_STUBS) not in found
    assert not [name for name in REPLACED if getattr(sys.modules.get(name), "__file__", "").startswith(str(CPU_STUBS))]


def test_a_kernel_that_is_called_says_its_name() -> None:
    code = """
from sgl_kernel import rmsnorm
try:
    rmsnorm(1)
except NotImplementedError as error:
    print(error)
"""
    assert "sgl_kernel.rmsnorm" in server_python(code)


def test_triton_s_names_fit_where_definitions_need_them() -> None:
    code = """
import triton, triton.language as tl
from triton.runtime.jit import JITFunction

@triton.autotune(configs=[triton.Config({"BLOCK": 2}, num_warps=4)], key=["n"])
@triton.jit
def kernel(x, n: tl.constexpr, kind: tl.dtype | None = None):
    return x + n

@triton.jit(do_not_specialize=["n"])
def other(x, n):
    return x - n

class Kernel(JITFunction):
    pass

print(kernel(1, 2), other(3, 1), isinstance(kernel, JITFunction), "cpu" in triton.backends.backends)
print(hasattr(triton.runtime.driver, "active"), triton.cdiv(7, 2), triton.next_power_of_2(9))
"""
    assert server_python(code).split() == ["3", "2", "False", "False", "False", "4", "16"]
