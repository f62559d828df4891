"""Which tensors become FP8, under which names their scales travel, and a stream of buckets turned into FP8.

The linear layers of attention, MLP and experts are quantised. Embeddings, the output projection, norms, biases and the
routers keep their dtype. Names are Hugging Face's and the same in all families: Qwen3, Qwen3-MoE, Qwen2, Llama.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rzero_mega.errors import UserError
from rzero_mega.weights.bucket import Bucket, Slot, plan_buckets
from rzero_mega.weights.quantization import blockwise, per_tensor
from rzero_mega.weights.quantization.e4m3 import FP8

_LINEAR = re.compile(
    r"model\.layers\.\d+\.(self_attn\.[qkvo]_proj|mlp\.(experts\.\d+\.)?(gate|up|down)_proj)\.weight", re.ASCII
)
_FUSED_EXPERTS = re.compile(r"model\.layers\.\d+\.mlp\.experts\.(gate_up|down)_proj(\.weight)?", re.ASCII)
# Linear layers by their modules' names, which a loader would otherwise expect in FP8.
_NOT_CONVERTED = ("lm_head", "mlp.gate")


@dataclass(frozen=True)
class Scheme:
    """One FP8 scheme. `name` is its value in `weights.quantization`.

    `scale_shape` maps a weight's shape to that of its scales; `quantize_into` takes (name, weight, quantised, scales).
    """

    name: str
    scale_suffix: str
    scale_shape: Callable[[tuple[int, ...]], tuple[int, ...]]
    quantize_into: Callable[[str, Tensor, Tensor, Tensor], None]

    def scale_name(self, weight: str) -> str:
        """Name of a quantised weight's scales: "….weight" becomes "….weight_scale_inv" or "….weight_scale"."""
        return weight + self.scale_suffix


FP8_BLOCK = Scheme("fp8_block", "_scale_inv", blockwise.scale_shape, blockwise.quantize_into)
FP8_TENSOR = Scheme("fp8_tensor", "_scale", per_tensor.scale_shape, per_tensor.quantize_into)
SCHEMES = {scheme.name: scheme for scheme in (FP8_BLOCK, FP8_TENSOR)}


def is_quantized(name: str) -> bool:
    """Whether a tensor of this Hugging Face name becomes FP8; UserError for experts fused into one tensor."""
    if _FUSED_EXPERTS.fullmatch(name):
        raise UserError(f"{name}: fused experts cannot be quantised; SGLang loads FP8 experts one by one")
    return _LINEAR.fullmatch(name) is not None


def quantization_config(scheme: Scheme) -> dict[str, Any]:
    """What config.json must say under `quantization_config` for weights of this scheme."""
    config: dict[str, Any] = {
        "quant_method": "fp8",
        "fmt": "e4m3",
        "activation_scheme": "dynamic",
        "modules_to_not_convert": list(_NOT_CONVERTED),
    }
    if scheme is FP8_BLOCK:
        config["weight_block_size"] = [blockwise.BLOCK, blockwise.BLOCK]
    return config


def quantize_stream(buckets: Iterable[Bucket], scheme: Scheme) -> Iterator[Bucket]:
    """Every bucket with its linear layers in FP8 and their scales beside them; nothing else changes but the order.

    Wider dtypes come first, which keeps every tensor aligned. One buffer, as large as the largest bucket that comes
    out, serves all buckets. UserError names a tensor that cannot be quantised.
    """
    buffer = torch.empty(0, dtype=torch.uint8)
    for bucket in buckets:
        slots = _slots(bucket.slots, scheme)
        size = slots[-1].stop
        if buffer.numel() < size or buffer.device != bucket.data.device:
            del buffer  # before its successor is made, so that never both are held
            buffer = torch.empty(size, dtype=torch.uint8, device=bucket.data.device)
        yield _filled(Bucket(buffer[:size], slots), bucket, scheme)


def _slots(slots: tuple[Slot, ...], scheme: Scheme) -> tuple[Slot, ...]:
    tensors: list[tuple[str, torch.dtype, tuple[int, ...]]] = []
    for slot in slots:
        if is_quantized(slot.name):
            if len(slot.shape) != 2 or not slot.dtype.is_floating_point:
                raise UserError(f"{slot.name}: {slot.dtype} {list(slot.shape)} is no matrix that could become FP8")
            tensors.append((scheme.scale_name(slot.name), torch.float32, scheme.scale_shape(slot.shape)))
            tensors.append((slot.name, FP8, slot.shape))
        else:
            tensors.append((slot.name, slot.dtype, slot.shape))
    tensors.sort(key=lambda tensor: -tensor[1].itemsize)
    (planned,) = plan_buckets(tensors, limit=1 << 62)
    return planned


def _filled(target: Bucket, source: Bucket, scheme: Scheme) -> Bucket:
    targets = dict(target.tensors())
    for name, tensor in source.tensors():
        if is_quantized(name):
            scheme.quantize_into(name, tensor, targets[name], targets[scheme.scale_name(name)])
        else:
            targets[name].copy_(tensor)
    return target
