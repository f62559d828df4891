"""What a figure depends on: the GPU, its driver, and the versions of what computes it."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import torch

from tools.gpu_steps.outcome import Unavailable

PACKAGES = (
    "torch",
    "megatron-core",
    "transformer_engine",
    "transformer_engine_torch",
    "transformers",
    "triton",
    "flash-attn",
    "sglang",
)


@dataclass(frozen=True)
class Environment:
    """The machine. `versions` has None for what is not installed."""

    device: str
    memory_bytes: int
    capability: str
    devices: int
    cuda: str | None
    cudnn: int | None
    python: str
    rzero_mega: str
    versions: dict[str, str | None]


def run() -> Environment:
    """Facts of this machine; Unavailable without CUDA or Transformer Engine."""
    if not torch.cuda.is_available():
        raise Unavailable("needs a GPU with CUDA")
    missing = missing_transformer_engine()
    if missing:
        raise Unavailable(f"{missing}; install it, or add its wheel to --wheels")
    from rzero_mega import __version__

    properties = torch.cuda.get_device_properties(0)
    return Environment(
        device=properties.name,
        memory_bytes=properties.total_memory,
        capability=f"{properties.major}.{properties.minor}",
        devices=torch.cuda.device_count(),
        cuda=torch.version.cuda,
        cudnn=torch.backends.cudnn.version(),
        python=platform.python_version(),
        rzero_mega=__version__,
        versions=installed_versions(),
    )


def installed_versions() -> dict[str, str | None]:
    """Version of every package in PACKAGES."""
    found: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def missing_transformer_engine() -> str | None:
    """Which package is missing for Transformer Engine's modules, in words; None if they can be imported."""
    versions = installed_versions()
    for name in ("megatron-core", "transformer_engine", "transformer_engine_torch"):
        if versions[name] is None:
            return f"{name} is not installed"
    try:
        import transformer_engine.pytorch  # type: ignore[import-not-found]  # noqa: F401
    except (ImportError, OSError) as error:
        return f"transformer_engine cannot be imported: {(str(error).splitlines() or [''])[0]}"
    return None
