"""What tells one model's weights from another's, read in a moment."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch

from rzero_mega.weights.hf_folder import HfWeights
from rzero_mega.weights.safetensors_file import raw_bytes


def fingerprint(folder: Path) -> str:
    """A hash of a row from the middle of every tensor: training changes all of them, but for embeddings.

    It doesn't depend on how the tensors are spread over files. UserError names a file that can't be read.
    """
    digest = hashlib.sha256()
    with HfWeights(folder) as weights:
        for name in weights.names():
            slot = weights.slot(name)
            row = torch.empty((1, *slot.shape[1:]), dtype=slot.dtype)
            weights.read_rows(name, slot.shape[0] // 2, row)
            digest.update(f"{name} {slot.dtype} {slot.shape} ".encode())
            digest.update(raw_bytes(row))
    return digest.hexdigest()[:16]
