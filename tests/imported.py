"""What programs of tests need, imported before they are forked: it takes seconds, in each of them if not here."""

from __future__ import annotations

from rzero_mega.learner.megatron import compat

compat.install()

from transformers.models.auto import configuration_auto, modeling_auto  # noqa: E402
from transformers.models.glm4_moe import modeling_glm4_moe  # noqa: E402
from transformers.models.llama import modeling_llama  # noqa: E402
from transformers.models.qwen2 import modeling_qwen2  # noqa: E402
from transformers.models.qwen3 import modeling_qwen3  # noqa: E402
from transformers.models.qwen3_moe import modeling_qwen3_moe  # noqa: E402

from rzero_mega.learner import learner  # noqa: E402
from rzero_mega.phases import runner  # noqa: E402

IMPORTED = (
    configuration_auto, modeling_auto, modeling_glm4_moe, modeling_llama, modeling_qwen2, modeling_qwen3,
    modeling_qwen3_moe, learner, runner,
)  # fmt: skip
