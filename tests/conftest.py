from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests import ROOT

# A shared machine may stall at any example; how long one takes is no property of the code.
settings.register_profile("default", deadline=None)
# CI judges a change, so it draws the same examples every time. New ones are sought where somebody looks:
# make test ARGS="--hypothesis-profile=thorough".
settings.register_profile("ci", settings.get_profile("default"), derandomize=True, database=None, print_blob=True)
settings.register_profile("thorough", settings.get_profile("default"), max_examples=2000)
settings.load_profile("ci" if "CI" in os.environ else "default")


# Files that take longest, longest first: at the end of a lane one process would wait for the other to finish them.
LONGEST = (
    "tests/e2e/test_killed_run.py",
    "tests/e2e/test_verifier_run.py",
    "tests/e2e/test_critic_run.py",
    "tests/e2e/test_loop.py",
    "tests/e2e/test_stopped_run.py",
    "tests/e2e/test_damaged_run.py",
    "tests/e2e/test_hanging_rank.py",
    "tests/e2e/test_sglang_loop.py",
    "tests/weights/test_update_faults.py",
    "tests/weights/test_update_servers.py",
    "tests/weights/test_quantization_sglang.py",
    "tests/rollout/sglang/test_sglang_engine.py",
    "tests/learner/test_layouts.py",
    "tests/learner/test_killed_ranks.py",
    "tests/phases/test_verifier_ranks.py",
    "tests/learner/checkpoints/test_convert.py",
    "tests/learner/checkpoints/test_checkpoint.py",
    "tests/phases/test_runner.py",
    "tests/phases/test_critic.py",
    "tests/phases/test_generative_critic_real.py",
    "tests/phases/test_verifier_killed.py",
    "tests/run/test_kill.py",
    "tests/learner/test_lora.py",
    "tests/tracking/test_wandb_process.py",
    "tests/run/test_storage.py",
    "tests/planning/test_planner_layouts.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first; CI, which judges every change, has little time: lanes run everything elsewhere."""
    places = {ROOT / file: place for place, file in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))
    if "CI" in os.environ:
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="slow: skipped where CI is set"))


def pytest_collection_finish() -> None:
    """Megatron collects garbage around every checkpoint: it need not walk through all that was imported for tests."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def tiny_model() -> Callable[..., Any]:
    """Builds a transformers model of (family, seed, configuration keys) whose weights are far from symmetric."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    def build(family: str, seed: int = 0, **keys: Any) -> Any:
        sizes: dict[str, Any] = {
            "vocab_size": 61,
            "hidden_size": 48,
            "intermediate_size": 80,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 512,
            "tie_word_embeddings": False,
            "attention_dropout": 0.0,
        }
        if family == "qwen3_moe":
            sizes |= {
                "num_experts": 6,
                "num_experts_per_tok": 2,
                "moe_intermediate_size": 24,
                "norm_topk_prob": True,
                "mlp_only_layers": [],
            }
        if family == "glm4_moe":
            sizes |= {
                "n_routed_experts": 6,
                "num_experts_per_tok": 2,
                "moe_intermediate_size": 24,
                "first_k_dense_replace": 1,
                "routed_scaling_factor": 1.5,
                "use_qk_norm": True,
                "attention_bias": True,
            }
        if family == "deepseek_v3":
            sizes |= {
                "n_routed_experts": 8,
                "num_experts_per_tok": 4,
                "n_group": 4,
                "topk_group": 2,
                "moe_intermediate_size": 24,
                "first_k_dense_replace": 1,
                "routed_scaling_factor": 1.5,
                "num_key_value_heads": 4,
                "q_lora_rank": 20,
                "kv_lora_rank": 24,
                "qk_nope_head_dim": 12,
                "qk_rope_head_dim": 8,
                "v_head_dim": 16,
            }
        if family not in ("qwen2", "deepseek_v3"):  # its transformers class derives the head dimension
            sizes["head_dim"] = 16
        config = AutoConfig.for_model(family, **{**sizes, **keys})
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager")
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, weight in (*model.named_parameters(), *model.named_buffers()):
                if "inv_freq" not in name:
                    around = 1.0 if "norm" in name else 0.0
                    # With more an expert would be chosen by no token at all.
                    spread = 0.03 if "correction_bias" in name else 0.1
                    weight.normal_(around, spread, generator=generator)
        return model.eval()

    return build


@pytest.fixture(scope="session")
def sglang_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Any]]:
    """A ready server (ServerProcess) on a folder: one per (folder, tp, replica, other fields of its ServerSpec).

    Servers are shared by all tests of the session and end with it. A test that changes a server's weights, or kills
    it, takes a replica of its own: any name that no other test uses.
    """
    from rzero_mega.rollout.sglang.server.command import ServerSpec
    from rzero_mega.rollout.sglang.server.process import ServerProcess, installed

    if not installed():
        pytest.skip("SGLang is not installed: make sglang-cpu")

    servers: dict[Any, ServerProcess] = {}

    def serve(model: Path, tp: int = 1, replica: str = "", api_key: str | None = None, **fields: Any) -> ServerProcess:
        key = (model, tp, replica, api_key, *sorted(fields.items()))
        if key not in servers:
            log = tmp_path_factory.mktemp("sglang") / "server.log"
            servers[key] = ServerProcess.start(ServerSpec(model, port=0, tp=tp, **fields), log, api_key)
            servers[key].wait_ready(300)
        return servers[key]

    try:
        yield serve
    finally:
        for server in servers.values():
            server.stop()
