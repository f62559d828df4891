"""GPUs by name, with the figures of NVIDIA's data sheets.

Sources: "NVIDIA H100 Tensor Core GPU" (SXM), "NVIDIA H200 Tensor Core GPU" (SXM), "NVIDIA A100 Tensor Core GPU" (SXM),
"NVIDIA DGX B200"; network bandwidth is what the DGX system of the same GPU has per GPU ("NVIDIA DGX A100", 200 Gb/s;
DGX H100, H200 and B200, 400 Gb/s). The sheets give TFLOP/s of Hopper and Blackwell with sparsity; dense is half.
"""

from __future__ import annotations

from dataclasses import dataclass

from rzero_mega.errors import UserError

# Of a GPU's memory, for CUDA's context, NCCL's buffers and fragmentation.
MEMORY_MARGIN = 0.10


@dataclass(frozen=True)
class Gpu:
    """One GPU: memory in bytes, dense FLOP/s, bytes per second of its memory and, in one direction, of its links.

    `fp8_flops` is None where there is no FP8.
    """

    name: str
    memory: float
    bf16_flops: float
    fp8_flops: float | None
    memory_bandwidth: float
    nvlink: float
    network: float


_TABLE = (
    Gpu("A100-40GB", 40e9, 312e12, None, 1.555e12, 300e9, 25e9),
    Gpu("A100-80GB", 80e9, 312e12, None, 2.039e12, 300e9, 25e9),
    Gpu("H100", 80e9, 989e12, 1979e12, 3.35e12, 450e9, 50e9),
    Gpu("H200", 141e9, 989e12, 1979e12, 4.8e12, 450e9, 50e9),
    Gpu("B200", 180e9, 2250e12, 4500e12, 8.0e12, 900e9, 50e9),
)
GPUS = {gpu.name: gpu for gpu in _TABLE}


def gpu_of_device(name: str) -> Gpu | None:
    """The GPU to which CUDA gives this name, such as "NVIDIA H100 80GB HBM3"; None if it is none of these.

    PCIe and NVL variants have other peaks than the data sheets' here.
    """
    if "PCIE" in name.upper() or "NVL" in name:
        return None
    return next((gpu for gpu in _TABLE if all(part in name for part in gpu.name.split("-"))), None)


def gpu_named(name: str) -> Gpu:
    """The GPU of that name, upper or lower case; UserError lists those that are known."""
    for gpu in _TABLE:
        if gpu.name.lower() == name.lower():
            return gpu
    raise UserError(f"--gpu {name}: not known; known are {', '.join(GPUS)}")
