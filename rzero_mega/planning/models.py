"""Models by name. Sizes are those of the config.json that each model's authors publish on the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from rzero_mega.config.schema import ModelConfig
from rzero_mega.errors import UserError
from rzero_mega.weights.base_model import resolve_base_model
from rzero_mega.weights.shape import LatentAttention, ModelShape, Yarn, read_shape

# One name stands for all models of the shape.
SUFFIXES = ("-base", "-instruct", "-instruct-2507", "-thinking-2507", "-hybrid-base", "-long-base", "-short-base")


def _qwen3(layers: int, hidden: int, ffn: int, heads: int, tied: bool = False) -> ModelShape:
    return ModelShape("qwen3", layers, hidden, ffn, heads, 8, 128, 151936, 40960, 1e-6, 1e6, None, tied, True, False)


def _qwen3_moe(layers: int, hidden: int, ffn: int, heads: int, expert_ffn: int) -> ModelShape:
    return ModelShape(
        "qwen3_moe", layers, hidden, ffn, heads, 4, 128, 151936, 40960, 1e-6, 1e6, None, False, True, False,
        experts=128, experts_per_token=8, expert_ffn=expert_ffn,
    )  # fmt: skip


def _qwen2(
    layers: int, hidden: int, ffn: int, heads: int, kv_heads: int, vocab: int = 152064, tied: bool = False
) -> ModelShape:
    return ModelShape(
        "qwen2", layers, hidden, ffn, heads, kv_heads, hidden // heads, vocab, 32768, 1e-6, 1e6, None, tied, False, True
    )


def _llama(
    layers: int, hidden: int, ffn: int, heads: int, rope_factor: float = 8.0, head_dim: int = 128, tied: bool = False
) -> ModelShape:
    return ModelShape(
        "llama", layers, hidden, ffn, heads, 8, head_dim, 128256, 131072, 1e-5, 5e5, rope_factor, tied, False, False
    )


def _glm4_moe(
    layers: int,
    hidden: int,
    ffn: int,
    experts: int,
    expert_ffn: int,
    dense: int,
    scale: float,
    qk_norm: bool,
    max_positions: int = 131072,
) -> ModelShape:
    return ModelShape(
        "glm4_moe", layers, hidden, ffn, 96, 8, 128, 151552, max_positions, 1e-5, 1e6, None, False, qk_norm, True,
        experts=experts, experts_per_token=8, expert_ffn=expert_ffn, rotated=0.5, dense_layers=dense,
        shared_ffn=expert_ffn, biased_routing=True, routed_scale=scale,
    )  # fmt: skip


_DEEPSEEK_V3 = ModelShape(
    "deepseek_v3", 61, 7168, 18432, 128, 128, 192, 129280, 163840, 1e-6, 1e4, None, False, False, False,
    experts=256, experts_per_token=8, expert_ffn=2048, dense_layers=3, shared_ffn=2048, biased_routing=True,
    expert_groups=8, chosen_groups=4, routed_scale=2.5,
    latent=LatentAttention(1536, 512, 128, 64, 128, Yarn(40.0, 4096, 32.0, 1.0, 1.0)),
)  # fmt: skip
_LLAMA_3B = _llama(28, 3072, 8192, 24, rope_factor=32.0, tied=True)
_LLAMA_8B = _llama(32, 4096, 14336, 32)
MODELS: dict[str, ModelShape] = {
    "Qwen3-0.6B": _qwen3(28, 1024, 3072, 16, tied=True),
    "Qwen3-1.7B": _qwen3(28, 2048, 6144, 16, tied=True),
    "Qwen3-4B": _qwen3(36, 2560, 9728, 32, tied=True),
    "Qwen3-8B": _qwen3(36, 4096, 12288, 32),
    "Qwen3-14B": _qwen3(40, 5120, 17408, 40),
    "Qwen3-32B": _qwen3(64, 5120, 25600, 64),
    "Qwen3-30B-A3B": _qwen3_moe(48, 2048, 6144, 32, 768),
    "Qwen3-235B-A22B": _qwen3_moe(94, 4096, 12288, 64, 1536),
    "GLM-4.5-Air": _glm4_moe(46, 4096, 10944, 128, 1408, 1, 1.0, False),
    "GLM-4.5": _glm4_moe(92, 5120, 12288, 160, 1536, 3, 2.5, True),
    "GLM-4.6": _glm4_moe(92, 5120, 12288, 160, 1536, 3, 2.5, True, max_positions=202752),
    "DeepSeek-V3": _DEEPSEEK_V3,
    "DeepSeek-R1": _DEEPSEEK_V3,
    "Qwen2.5-0.5B": _qwen2(24, 896, 4864, 14, 2, vocab=151936, tied=True),
    "Qwen2.5-1.5B": _qwen2(28, 1536, 8960, 12, 2, vocab=151936, tied=True),
    "Qwen2.5-3B": _qwen2(36, 2048, 11008, 16, 2, vocab=151936, tied=True),
    "Qwen2.5-7B": _qwen2(28, 3584, 18944, 28, 4),
    "Qwen2.5-14B": _qwen2(48, 5120, 13824, 40, 8),
    "Qwen2.5-32B": _qwen2(64, 5120, 27648, 40, 8),
    "Qwen2.5-72B": _qwen2(80, 8192, 29568, 64, 8),
    "Llama-3.2-1B": _llama(16, 2048, 8192, 32, rope_factor=32.0, head_dim=64, tied=True),
    "Llama-3.2-3B": _LLAMA_3B,
    "Llama-3.1-8B": _LLAMA_8B,
    "Llama-3.1-70B": _llama(80, 8192, 28672, 64),
    "OctoThinker-3B": _LLAMA_3B,
    "OctoThinker-8B": _LLAMA_8B,
}


def known_model(name: str) -> ModelShape | None:
    """Shape of the model of that name, with or without its owner and suffix; None for one that is not in the table."""
    wanted = name.rsplit("/", 1)[-1].lower()
    for known, shape in MODELS.items():
        rest = wanted.removeprefix(known.lower())
        if wanted.startswith(known.lower()) and (not rest or rest in SUFFIXES):
            return shape
    return None


def model_named(name: str) -> ModelShape:
    """Shape of a known model, with or without its owner and suffix, or of a folder with a config.json.

    UserError lists the names that are known.
    """
    if name.startswith("asset:"):
        return read_shape(resolve_base_model(ModelConfig(name), Path()))
    if (Path(name) / "config.json").is_file():
        return read_shape(Path(name))
    shape = known_model(name)
    if shape is not None:
        return shape
    raise UserError(f"--model {name}: neither a folder with a config.json nor one of {', '.join(MODELS)}")
