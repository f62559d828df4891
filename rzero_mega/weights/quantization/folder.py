"""A model folder in FP8, for a server to start from, or for anyone who serves the result of a run."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from rzero_mega.weights.bucket import Bucket
from rzero_mega.weights.hf_folder import write_hf_folder
from rzero_mega.weights.quantization.scheme import Scheme, quantization_config, quantize_stream


def write_quantized_folder(folder: Path, buckets: Iterable[Bucket], template: Path, scheme: Scheme) -> None:
    """Write the stream's tensors in FP8, bucket by bucket, with the other files of `template` and the scheme's config.

    The caller makes the folder appear atomically.
    """
    tensors = (named for bucket in quantize_stream(buckets, scheme) for named in bucket.tensors())
    write_hf_folder(folder, tensors, template)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["quantization_config"] = quantization_config(scheme)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
