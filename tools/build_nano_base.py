"""Build the nano base: a Qwen3 model of 0.8 million parameters that behaves like a real base model.

It is pre-trained on written arithmetic whose steps contain slips, so its mode is better than its samples: voting beats
a single sample, and there is hidden capability for reinforcement learning to bring out. Numbers are sometimes taken
apart, so there are several ways to an answer, and the longer ones are safer. Held-out expressions never occur in the
documents, neither as a question nor as a written step. The same settings on the same machine and library versions give
the same files. ``python -m tools.build_nano_base rzero_mega/assets/nano_base`` rebuilds the checkpoint that ships.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from statistics import fmean
from typing import Annotated

import torch
import transformers
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from rzero_mega.errors import UserError
from rzero_mega.evaluation.arithmetic import (
    LEVELS,
    ArithmeticProblem,
    held_out_set,
    is_held_out,
    random_expression,
    truth,
)
from rzero_mega.evaluation.clock import LEVELS as CLOCK_LEVELS
from rzero_mega.evaluation.clock import held_out_clock_set, is_clock_held_out, parse_clock, random_clock_question
from tools.nano_base_card import CARD, card, facts_of
from tools.written_arithmetic import CHALLENGER_PROMPT, boxed_integer, solution, solver_prompt, written_steps

EOS, PAD, UNKNOWN = "⟨eos⟩", "⟨pad⟩", "⟨unk⟩"
"""Special tokens. Their brackets are outside the alphabet, so no text that the model can write spells one of them."""

ALPHABET = "\n" + "".join(chr(code) for code in range(ord(" "), ord("~") + 1))
"""The characters of the vocabulary: newline and printable ASCII."""

VOCABULARY_MULTIPLE = 8
MAX_POSITIONS = 512
MAX_NEW_TOKENS = 80
"""Every completion of the documents fits with its end-of-text token, so a sampling budget of 80 truncates little."""

_IGNORED = -100
_BUCKET_BATCHES = 8


@dataclass(frozen=True, slots=True)
class Settings:
    """How the nano base is pre-trained."""

    steps: int = 2700
    batch_documents: int = 128
    slip: float = 0.3
    split: float = 0.3
    solve_share: float = 0.8
    clock_share: float = 0.12
    """Share of the second family among the written solutions; the Challenger's documents have none of it."""
    level_weights: tuple[float, ...] = (0.2, 0.25, 0.25, 0.15, 0.15)
    learning_rate: float = 2e-3
    final_learning_rate_share: float = 0.1
    warmup_steps: int = 100
    beta1: float = 0.9
    beta2: float = 0.98
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    seed: int = 0
    threads: int = 1


@dataclass(frozen=True, slots=True)
class Document:
    """A pre-training document; the loss is on the completion and the end-of-text token after it."""

    prompt: str
    completion: str


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The problems of both families that a base is measured on."""

    arithmetic: Sequence[ArithmeticProblem]
    clock: Sequence[ArithmeticProblem]


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Accuracy on held-out problems: of one sample on average, of greedy decoding, and of the plurality vote."""

    problems: int
    mean_sampled: float
    greedy: float
    vote: float


@dataclass(frozen=True, slots=True)
class FamilyAccuracy:
    """Accuracy on a family of problems, over all and per level."""

    overall: Accuracy
    levels: dict[int, Accuracy]


@dataclass(frozen=True, slots=True)
class Measurement:
    """What the finished model does on both families, and how the Challenger's questions look."""

    votes: int
    arithmetic: FamilyAccuracy
    clock: FamilyAccuracy
    questions_sampled: int
    questions_well_formed: float
    questions_distinct: float


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Return the character tokenizer: one token for each character, no text is ever read as a special token.

    Two things guard the special tokens: their names hold characters outside the alphabet, and ``split_special_tokens``
    makes the tokenizer spell such a name out (brackets become the unknown token) when it occurs in text.
    """
    specials = [PAD, EOS, UNKNOWN]
    reserved = -(len(specials) + len(ALPHABET)) % VOCABULARY_MULTIPLE
    specials += [f"⟨reserved{index}⟩" for index in range(reserved)]
    vocabulary = {token: index for index, token in enumerate([*specials, *ALPHABET])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    backend.decoder = decoders.Fuse()
    backend.add_special_tokens(specials)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token=EOS,
        pad_token=PAD,
        unk_token=UNKNOWN,
        split_special_tokens=True,
        clean_up_tokenization_spaces=False,
        model_max_length=MAX_POSITIONS,
        padding_side="left",
    )


def model_config(tokenizer: PreTrainedTokenizerFast) -> Qwen3Config:
    """Return the shape of the nano base: 4 layers, h=128, 4 query heads on 2 key-value heads, d=32, tied embeddings."""
    return Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=MAX_POSITIONS,
        tie_word_embeddings=True,
        attention_bias=False,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
    )


def documents(settings: Settings) -> Iterator[Document]:
    """Yield pre-training documents without end; none contains a held-out expression as a question or a step."""
    rng = Random(f"nano base documents {settings.seed}")
    while True:
        solves = rng.random() < settings.solve_share
        question = _draw_question(settings, rng, with_clocks=solves)
        written = solution(question, rng, settings.slip, settings.split)
        if len(written) >= MAX_NEW_TOKENS or _shows_held_out(question, written):
            continue
        if solves:
            yield Document(solver_prompt(question), written)
        else:
            answer = boxed_integer(written)
            yield Document(CHALLENGER_PROMPT, f"<question>{question}</question>\\boxed{{{answer}}}")


def _draw_question(settings: Settings, rng: Random, *, with_clocks: bool) -> str:
    if with_clocks and rng.random() < settings.clock_share:
        return random_clock_question(rng.choice(CLOCK_LEVELS), rng)
    return random_expression(rng.choices(list(LEVELS), settings.level_weights)[0], rng)


def _shows_held_out(question: str, written: str) -> bool:
    """Whether a document holds anything held out: its question, the expression on its clock, or a written step."""
    clock = parse_clock(question)
    expressions = [clock.expression if clock else question, *written_steps(written)]
    return is_clock_held_out(question) or any(map(is_held_out, expressions))


def batches(settings: Settings, tokenizer: PreTrainedTokenizerFast) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield ``(inputs, targets)``, both int64 of shape [b, s], with documents of similar length together."""
    stream = documents(settings)
    rng = Random(f"nano base order {settings.seed}")
    size = settings.batch_documents
    while True:
        pool = [next(stream) for _ in range(size * _BUCKET_BATCHES)]
        pool.sort(key=lambda document: len(document.prompt) + len(document.completion))
        starts = list(range(0, len(pool), size))
        rng.shuffle(starts)
        for start in starts:
            yield _collate(pool[start : start + size], tokenizer)


def _collate(rows: Sequence[Document], tokenizer: PreTrainedTokenizerFast) -> tuple[Tensor, Tensor]:
    prompts = tokenizer([row.prompt for row in rows])["input_ids"]
    completions = tokenizer([row.completion for row in rows])["input_ids"]
    longest = max(len(prompt) + len(completion) for prompt, completion in zip(prompts, completions, strict=True))
    inputs = torch.full((len(rows), longest), tokenizer.pad_token_id)
    targets = torch.full((len(rows), longest), _IGNORED)
    for index, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
        end = len(prompt) + len(completion)
        inputs[index, :end] = torch.tensor(prompt + completion)
        targets[index, len(prompt) - 1 : end] = torch.tensor([*completion, tokenizer.eos_token_id])
    return inputs, targets


def learning_rate(step: int, settings: Settings) -> float:
    """Return the learning rate of a step: linear warm-up times a cosine from the peak to its final share."""
    warmup = min(1.0, (step + 1) / settings.warmup_steps)
    cosine = (1 + math.cos(math.pi * step / settings.steps)) / 2
    floor = settings.final_learning_rate_share
    return settings.learning_rate * warmup * (floor + (1 - floor) * cosine)


def train(
    settings: Settings, tokenizer: PreTrainedTokenizerFast, on_step: Callable[[int, float], None]
) -> Qwen3ForCausalLM:
    """Pre-train the nano base from scratch on the CPU in fp32; ``on_step(step, loss)`` is called after each step."""
    torch.set_num_threads(settings.threads)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(settings.seed)
    model = Qwen3ForCausalLM(model_config(tokenizer))
    model.train()
    optimizer = torch.optim.AdamW(
        model.parameters(), betas=(settings.beta1, settings.beta2), weight_decay=settings.weight_decay
    )
    stream = batches(settings, tokenizer)
    for step in range(settings.steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, settings)
        inputs, targets = next(stream)
        logits = model(input_ids=inputs, use_cache=False).logits
        loss = cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=_IGNORED)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm)
        optimizer.step()
        on_step(step, loss.item())
    model.eval()
    return model


@torch.no_grad()
def complete(
    model: Qwen3ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[str],
    *,
    greedy: bool,
    batch: int = 500,
) -> list[str]:
    """Complete raw prompts at temperature 1 over the whole vocabulary, or greedily; text without special tokens."""
    texts: list[str] = []
    for start in range(0, len(prompts), batch):
        encoded = tokenizer(list(prompts[start : start + batch]), return_tensors="pt", padding=True)
        output = model.generate(  # type: ignore[misc]  # transformers types the method's self as a protocol
            input_ids=encoded["input_ids"],
            attention_mask=encoded["attention_mask"],
            generation_config=GenerationConfig(
                do_sample=not greedy,
                temperature=None if greedy else 1.0,
                top_k=None if greedy else 0,
                top_p=None if greedy else 1.0,
                max_new_tokens=MAX_NEW_TOKENS,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            ),
        )
        texts += tokenizer.batch_decode(output[:, encoded["input_ids"].shape[1] :], skip_special_tokens=True)
    return texts


def measure_accuracy(
    model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, problems: Sequence[ArithmeticProblem], votes: int
) -> dict[int, list[tuple[float, float, float]]]:
    """Return for each level one ``(mean sampled, greedy, vote)`` triple in [0, 1] per problem.

    A vote without any boxed integer is wrong; of several answers with the most votes the first drawn counts.
    """
    prompts = [solver_prompt(problem.expression) for problem in problems]
    greedy = [boxed_integer(text) for text in complete(model, tokenizer, prompts, greedy=True)]
    repeated = [prompt for prompt in prompts for _ in range(votes)]
    sampled = [boxed_integer(text) for text in complete(model, tokenizer, repeated, greedy=False)]
    figures: dict[int, list[tuple[float, float, float]]] = {}
    for index, problem in enumerate(problems):
        answers = sampled[index * votes : (index + 1) * votes]
        counted = Counter(answer for answer in answers if answer is not None).most_common(1)
        vote = counted[0][0] if counted else None
        right = fmean(answer == problem.answer for answer in answers)
        triple = (right, float(greedy[index] == problem.answer), float(vote == problem.answer))
        figures.setdefault(problem.level, []).append(triple)
    return figures


def measure(
    model: Qwen3ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    problems: HeldOut,
    *,
    votes: int = 10,
    questions: int = 1000,
    seed: int = 0,
) -> Measurement:
    """Measure the model on held-out problems and look at the questions that it asks as the Challenger."""
    torch.manual_seed(seed)
    arithmetic = measure_accuracy(model, tokenizer, problems.arithmetic, votes)
    clock = measure_accuracy(model, tokenizer, problems.clock, votes)
    asked = complete(model, tokenizer, [CHALLENGER_PROMPT] * questions, greedy=False)
    expressions = [expression for text in asked if (expression := well_formed_question(text)) is not None]
    return Measurement(
        votes=votes,
        arithmetic=_family(arithmetic),
        clock=_family(clock),
        questions_sampled=questions,
        questions_well_formed=round(len(expressions) / questions, 4),
        questions_distinct=round(len(set(expressions)) / max(1, len(expressions)), 4),
    )


def well_formed_question(text: str) -> str | None:
    """Return the expression of a Challenger completion that is exactly in the document's form, else None."""
    body = text.removeprefix("<question>")
    expression, closing, rest = body.partition("</question>")
    if body == text or not closing or truth(expression) is None or boxed_integer(rest) is None:
        return None
    return expression


def _family(levels: dict[int, list[tuple[float, float, float]]]) -> FamilyAccuracy:
    return FamilyAccuracy(
        overall=_average([triple for triples in levels.values() for triple in triples]),
        levels={level: _average(triples) for level, triples in levels.items()},
    )


def _average(triples: Sequence[tuple[float, float, float]]) -> Accuracy:
    means = [round(fmean(column), 4) for column in zip(*triples, strict=True)]
    return Accuracy(len(triples), *means)


def check_replaceable(out: Path) -> None:
    """Raise UserError if ``out`` exists and is not a nano base, so that no other folder is ever replaced."""
    if out.exists() and facts_of(out) is None:
        raise UserError(f"{out} exists and is not a nano base; name another folder")


def write_checkpoint(out: Path, model: Qwen3ForCausalLM, settings: Settings, measured: Measurement) -> None:
    """Write the Hugging Face folder and its model card aside and put it in place by renaming."""
    check_replaceable(out)
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
            "settings": asdict(settings),
            "measured": asdict(measured),
            "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        }
        (aside / CARD).write_text(card(facts), encoding="utf-8")
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


def build(
    out: Path,
    settings: Settings,
    *,
    problems: HeldOut,
    votes: int = 10,
    questions: int = 1000,
    on_step: Callable[[int, float], None] = lambda step, loss: None,
) -> Measurement:
    """Train, measure and write the nano base into the folder ``out``; UserError if another folder is there."""
    check_replaceable(out)
    tokenizer = build_tokenizer()
    model = train(settings, tokenizer, on_step)
    measured = measure(model, tokenizer, problems, votes=votes, questions=questions, seed=settings.seed)
    model.generation_config = GenerationConfig(
        do_sample=True,
        temperature=1.0,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    write_checkpoint(out, model, settings, measured)
    return measured


def print_measurement(measured: Measurement, console: Console) -> None:
    """Print the measured figures as a table."""
    table = Table("family", "level", "problems", "mean sampled", "greedy", f"vote of {measured.votes}")
    for family, accuracy in (("arithmetic", measured.arithmetic), ("clock", measured.clock)):
        for level, row in [*accuracy.levels.items(), ("all", accuracy.overall)]:
            figures = (f"{value:.3f}" for value in (row.mean_sampled, row.greedy, row.vote))
            table.add_row(family, str(level), str(row.problems), *figures)
    console.print(table)
    console.print(
        f"of {measured.questions_sampled} questions asked {measured.questions_well_formed:.1%} are well-formed, "
        f"{measured.questions_distinct:.1%} of these distinct"
    )


_DEFAULTS = Settings()


def main(
    out: Annotated[Path, typer.Argument(help="Folder for the checkpoint; an older nano base there is replaced.")],
    steps: Annotated[int, typer.Option(help="Optimizer steps.", min=1)] = _DEFAULTS.steps,
    slip: Annotated[float, typer.Option(help="Scale of the probability of a slip.", min=0, max=0.6)] = _DEFAULTS.slip,
    split: Annotated[float, typer.Option(help="How often numbers are taken apart.", min=0, max=1)] = _DEFAULTS.split,
    seed: Annotated[int, typer.Option(help="Seed of weights, documents and measurement.")] = _DEFAULTS.seed,
    threads: Annotated[int, typer.Option(help="CPU threads; the last bits depend on it.", min=1)] = _DEFAULTS.threads,
) -> None:
    """Pre-train the nano base and write it as a Hugging Face checkpoint."""
    settings = Settings(steps=steps, slip=slip, split=split, seed=seed, threads=threads)
    console = Console()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("training", total=steps)

        def on_step(step: int, loss: float) -> None:
            progress.update(task, advance=1, description=f"loss {loss:.3f}")

        problems = HeldOut(held_out_set(), held_out_clock_set())
        try:
            measured = build(out, settings, problems=problems, on_step=on_step)
        except UserError as error:
            console.print(f"error: {error}")
            raise typer.Exit(2) from error
    print_measurement(measured, console)


if __name__ == "__main__":
    typer.run(main)
