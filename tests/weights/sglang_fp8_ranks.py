"""One tensor-parallel rank of SGLang's own model and loader on a CPU, without a server.

    load FOLDER      load an FP8 checkpoint and stop before what follows on the device
    reload FOLDER    load it to the end, as on a GPU, then load `FOLDER/update`, as an update of a running server does
    accept FOLDER    whether a model of every configuration in `FOLDER/configurations.json` can be built in FP8

Results are written to FOLDER. What follows loading is the change to the layout that the device's kernels want. On CPUs
it needs AMX and compiled kernels, so `reload` takes the branch of GPUs, whose one kernel PyTorch stands in for.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file, save_file
from sglang.srt.configs.device_config import DeviceConfig
from sglang.srt.configs.load_config import LoadConfig
from sglang.srt.configs.model_config import ModelConfig
from sglang.srt.distributed.parallel_state import init_distributed_environment, initialize_model_parallel
from sglang.srt.layers.dp_attention import initialize_dp_attention
from sglang.srt.layers.moe import initialize_moe_config
from sglang.srt.layers.quantization import fp8, utils
from sglang.srt.model_loader.loader import DefaultModelLoader, get_model_loader
from sglang.srt.models.qwen3 import Qwen3ForCausalLM
from sglang.srt.models.qwen3_moe import Qwen3MoeForCausalLM
from sglang.srt.runtime_context import SpawnRanks, publish
from sglang.srt.server_args import ServerArgs
from transformers import AutoConfig


def join(folder: Path, rank: int, tp: int) -> ServerArgs:
    arguments = ServerArgs(
        model_path=str(folder),
        device="cpu",
        dtype="bfloat16",
        tp_size=tp,
        attention_backend="torch_native",
        sampling_backend="pytorch",
        skip_tokenizer_init=True,
    )
    publish(arguments, role="test", ranks=SpawnRanks(world_rank=rank))
    rendezvous = f"file://{folder / 'rendezvous'}"
    init_distributed_environment(tp, rank, distributed_init_method=rendezvous, local_rank=rank, backend="gloo")
    initialize_model_parallel()
    initialize_dp_attention(arguments)
    initialize_moe_config()
    return arguments


def load_model(arguments: ServerArgs) -> torch.nn.Module:
    config = ModelConfig.from_server_args(arguments)
    return get_model_loader(LoadConfig(), config).load_model(model_config=config, device_config=DeviceConfig("cpu"))


def save(path: Path, model: torch.nn.Module) -> None:
    save_file({name: p.detach().contiguous().clone() for name, p in model.named_parameters()}, path)


def load(folder: Path, rank: int, tp: int) -> None:
    arguments = join(folder, rank, tp)
    DefaultModelLoader.postprocess_weights = staticmethod(lambda model, device: None)
    save(folder / f"loaded-{rank}", load_model(arguments))


def quantize_as_the_kernel(weight: torch.Tensor, scale: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return (weight.float() / scale).clamp(-448, 448).to(torch.float8_e4m3fn), scale


def reload(folder: Path, rank: int, tp: int) -> None:
    arguments = join(folder, rank, tp)
    fp8._is_cpu = False
    fp8.scaled_fp8_quant = utils.scaled_fp8_quant = quantize_as_the_kernel
    model = load_model(arguments)
    save(folder / f"loaded-{rank}", model)
    errors = {}
    for name, tensor in load_file(folder / "update" / "model.safetensors").items():
        try:
            cast(Any, model).load_weights([(name, tensor)])
        except Exception as error:
            errors[name] = repr(error)
    (folder / f"errors-{rank}.json").write_text(json.dumps(errors))
    if not errors:
        DefaultModelLoader.postprocess_weights(model, torch.device("cpu"))
    save(folder / f"updated-{rank}", model)


def accept(folder: Path, rank: int, tp: int) -> None:
    join(folder, rank, tp)
    torch.set_default_dtype(torch.bfloat16)
    reasons = []
    for keys in json.loads((folder / "configurations.json").read_text()):
        quantization = fp8.Fp8Config.from_config(keys.pop("quantization_config"))
        config = AutoConfig.for_model(**keys)
        kind = Qwen3MoeForCausalLM if config.model_type == "qwen3_moe" else Qwen3ForCausalLM
        try:
            kind(config, quant_config=quantization)
            reasons.append("")
        except ValueError as error:
            reasons.append(str(error))
    (folder / f"reasons-{rank}.json").write_text(json.dumps(reasons))


if __name__ == "__main__":
    tasks = {"load": load, "reload": reload, "accept": accept}
    tasks[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
