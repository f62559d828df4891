"""In place of Triton, which compiles kernels for GPUs and is not installed with PyTorch for CPUs.

SGLang defines its Triton kernels when it is imported, on every device, and runs none of them on a CPU. So every name
exists here and can stand where such a definition needs it: as a decorator, an annotation, a base class or a constant.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

__version__ = "3.0.0"

# Those that SGLang and PyTorch import by their full names, parents first.
SUBMODULES = (
    "backends",
    "backends.compiler",
    "compiler",
    "compiler.compiler",
    "experimental",
    "experimental.gluon",
    "experimental.gluon.language",
    "knobs",
    "language",
    "language.core",
    "language.extra",
    "language.extra.libdevice",
    "language.standard",
    "runtime",
    "runtime.autotuner",
    "runtime.cache",
    "runtime.driver",
    "runtime.errors",
    "runtime.jit",
    "tools",
    "tools.tensor_descriptor",
)


class Unused:
    """Any class of Triton: can be derived from, named in annotations and made with any arguments."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass


class Placeholder(ModuleType):
    """A module, or a function or value in one. Its attributes are classes where their names look so, or the same."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__spec__ = ModuleSpec(name, None, is_package=True)

    def __getattr__(self, name: str) -> Any:
        # runtime.driver.active is the GPU's driver; where asking for it fails, SGLang knows that there is none.
        if name.startswith("__") or name == "active":
            raise AttributeError(name)
        found: Any = type(name, (Unused,), {}) if name[0].isupper() else Placeholder(f"{self.__name__}.{name}")
        setattr(self, name, found)
        return found

    def __call__(self, *arguments: Any, **_: Any) -> Any:
        """As a decorator, gives back what it decorates; with other arguments, stays what it is."""
        return arguments[0] if len(arguments) == 1 and callable(arguments[0]) else self

    def __iter__(self) -> Iterator[Any]:
        """Nothing: PyTorch looks for its device among backends.backends."""
        return iter(())

    def __or__(self, _: Any) -> Placeholder:
        return self

    __ror__ = __or__


_names = Placeholder(__name__)
for _submodule in SUBMODULES:
    _parent = _names
    for _part in _submodule.split("."):
        _parent = getattr(_parent, _part)
    sys.modules[f"{__name__}.{_submodule}"] = _parent


def cdiv(x: int, y: int) -> int:
    """x / y, rounded up; SGLang uses it outside kernels too."""
    return -(-x // y)


def next_power_of_2(n: int) -> int:
    """The smallest power of two that is at least n; SGLang uses it outside kernels too."""
    return 1 << (n - 1).bit_length() if n > 0 else 1


def __getattr__(name: str) -> Any:
    """Every other name of the package."""
    return getattr(_names, name)
