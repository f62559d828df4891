"""Building a base: training, measuring, and the Hugging Face folder with its card."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import transformers
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from transformers import GenerationConfig, Qwen3ForCausalLM

from rzero_mega.atomic import sha256
from rzero_mega.errors import UserError
from tools.bases.base import Base
from tools.bases.card import CARD, card, facts_of
from tools.bases.tokenizer import build_tokenizer
from tools.bases.training import train


def check_replaceable(out: Path, base: Base[Any]) -> None:
    """Raise UserError if ``out`` exists and does not hold that base, so that no other folder is ever replaced."""
    if out.exists() and facts_of(out, base) is None:
        raise UserError(f"{out} exists and is not a {base.name} base; name another folder")


def write_checkpoint(out: Path, model: Qwen3ForCausalLM, base: Base[Any], measured: Any) -> None:
    """Write the Hugging Face folder and its model card aside and put it in place by renaming."""
    check_replaceable(out, base)
    aside = out.with_name(f".{out.name}.{os.getpid()}.new")
    old = out.with_name(f".{out.name}.{os.getpid()}.old")
    aside.mkdir(parents=True)
    try:
        model.save_pretrained(aside)
        (aside / "model.safetensors").chmod(0o644)
        build_tokenizer().save_pretrained(aside)
        _name_tokenizer_class(aside / "tokenizer_config.json")
        facts = {
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "sha256": sha256(aside / "model.safetensors"),
            "settings": asdict(base.settings),
            "measured": asdict(measured),
            "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        }
        (aside / CARD).write_text(card(base, facts), encoding="utf-8")
        if out.exists():
            out.rename(old)
        aside.rename(out)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)


def _name_tokenizer_class(config: Path) -> None:
    """Name the class that transformers 4 knows too; transformers 5 writes its own new name for the same class."""
    facts = json.loads(config.read_text(encoding="utf-8"))
    facts["tokenizer_class"] = "PreTrainedTokenizerFast"
    config.write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def build(out: Path, base: Base[Any], on_step: Callable[[int, float], None] = lambda step, loss: None) -> Any:
    """Train, measure and write a base into the folder ``out``; its figures. UserError if another folder is there."""
    check_replaceable(out, base)
    tokenizer = build_tokenizer()
    model = train(base, tokenizer, on_step)
    measured = base.world.measure(model, tokenizer, base.settings.seed)
    model.generation_config = GenerationConfig(
        do_sample=True,
        temperature=1.0,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    write_checkpoint(out, model, base, measured)
    return measured


def command(base: Base[Any]) -> Callable[..., None]:
    """The command that builds a base with its default settings, or with others."""
    defaults = base.settings

    def main(
        out: Annotated[Path, typer.Argument(help="Folder for the checkpoint; an older one of this base is replaced.")],
        steps: Annotated[int, typer.Option(help="Optimizer steps.", min=1)] = defaults.steps,
        seed: Annotated[int, typer.Option(help="Seed of weights, documents and measurement.")] = defaults.seed,
        threads: Annotated[int, typer.Option(help="CPU threads; last bits depend on it.", min=1)] = defaults.threads,
    ) -> None:
        settings = replace(defaults, steps=steps, seed=seed, threads=threads)
        build_with_progress(out, replace(base, settings=settings))

    main.__doc__ = f"Pre-train the {base.name} base and write it as a Hugging Face checkpoint."
    return main


def build_with_progress(out: Path, base: Base[Any]) -> None:
    """Build a base, with a bar on the terminal and its figures at the end."""
    console = Console()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("training", total=base.settings.steps)

        def on_step(step: int, loss: float) -> None:
            progress.update(task, advance=1, description=f"loss {loss:.3f}")

        try:
            measured = build(out, base, on_step)
        except UserError as error:
            console.print(f"error: {error}")
            raise typer.Exit(2) from error
    base.world.show(measured, console)
