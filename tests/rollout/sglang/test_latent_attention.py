"""Which servers take models with latent attention."""

from __future__ import annotations

import pytest

from rzero_mega.errors import UserError
from rzero_mega.planning.models import MODELS
from rzero_mega.rollout.sglang.pool import choices


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("name", ["Qwen3-8B", "GLM-4.5", "DeepSeek-V3"])
def test_latent_keys_are_read_on_gpus_alone(device: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choices, "device_of_servers", lambda: device)
    if (device, name) == ("cpu", "DeepSeek-V3"):
        with pytest.raises(UserError, match=r"^rollout\.engine: .*deepseek_v3.*set it to embedded"):
            choices.check_attention(MODELS[name])
    else:
        choices.check_attention(MODELS[name])
