"""The bases: a character tokenizer, clean documents, a reproducible build, and the checkpoints that ship."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from hashlib import sha256 as sha256_of
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch
import typer
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast
from typer.testing import CliRunner

from rzero_mega.assets import asset_path, nano_base_path
from rzero_mega.atomic import sha256
from rzero_mega.domains.arithmetic.clock import clock_truth, held_out_clock_set, is_clock_held_out, parse_clock
from rzero_mega.domains.arithmetic.expressions import further_held_out_set, held_out_set, is_held_out, truth
from rzero_mega.errors import UserError
from tools.bases.arithmetic.bases import FOLKLORE, NANO
from tools.bases.arithmetic.documents import MAX_NEW_TOKENS
from tools.bases.arithmetic.measuring import HeldOut, measure, measure_accuracy, well_formed_question
from tools.bases.arithmetic.written import boxed_integer, written_steps
from tools.bases.base import Base, Document, Settings
from tools.bases.build import build, command
from tools.bases.card import CARD, card, facts_of
from tools.bases.rewriting import measuring as rewriting
from tools.bases.rewriting.bases import REWRITING
from tools.bases.sampling import complete
from tools.bases.tokenizer import ALPHABET, EOS, PAD, UNKNOWN
from tools.bases.training import batches, learning_rate

BASES: list[Base] = [NANO, FOLKLORE, REWRITING]
FEW = HeldOut(held_out_set(1), held_out_clock_set(1), further_held_out_set()[:2])
QUICKLY: dict[str, Callable[..., Any]] = {
    "arithmetic": partial(measure, problems=FEW, votes=2, questions=4),
    "rewriting": partial(rewriting.measure, per_level=1, samples=2, questions=4),
}


def tiny(base: Base) -> Base:
    world = replace(base.world, measure=QUICKLY[base.world.domain])
    return replace(base, world=world, settings=replace(base.settings, steps=3, batch_documents=8, threads=1))


def name_of(base: Base) -> str:
    return base.name


of_each_base = pytest.mark.parametrize("base", BASES, ids=name_of)
of_each_that_calculates = pytest.mark.parametrize("base", BASES[:2], ids=name_of)


def facts_in(folder: Path, base: Base) -> dict[str, Any]:
    facts = facts_of(folder, base)
    assert facts is not None
    return facts


def shipped_facts(base: Base) -> dict[str, Any]:
    return facts_in(asset_path(base.folder_name), base)


@pytest.fixture(scope="module")
def shipped() -> PreTrainedTokenizerFast:
    tokenizer = AutoTokenizer.from_pretrained(nano_base_path())
    assert isinstance(tokenizer, PreTrainedTokenizerFast)
    return tokenizer


@pytest.fixture(autouse=True)
def restored_torch_state() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)


@given(st.text(alphabet=ALPHABET, max_size=60))
def test_the_tokenizer_gives_one_token_per_character_and_returns_the_text(text: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(nano_base_path())
    ids = tokenizer(text)["input_ids"]
    assert len(ids) == len(text)
    assert tokenizer.decode(ids) == tokenizer.decode(ids, skip_special_tokens=True) == text


@pytest.mark.parametrize("text", ["<eos>", "</s>", "<|endoftext|>", EOS, PAD, "⟨reserved0⟩", "A:" + EOS])
def test_no_text_is_read_as_an_end_or_padding_token(text: str, shipped: PreTrainedTokenizerFast) -> None:
    ids = shipped(text)["input_ids"]
    assert len(ids) == len(text)
    assert not {shipped.eos_token_id, shipped.pad_token_id} & set(ids)
    assert shipped.convert_tokens_to_ids("⟨reserved0⟩") not in ids


def test_special_tokens_cannot_be_spelled_in_the_alphabet() -> None:
    assert all(set(name) - set(ALPHABET) for name in (EOS, PAD, UNKNOWN))


def test_the_vocabulary_is_full_and_a_multiple_of_eight(shipped: PreTrainedTokenizerFast) -> None:
    config = json.loads((nano_base_path() / "config.json").read_text())
    assert len(shipped) == config["vocab_size"] == 104
    assert shipped.chat_template is None
    assert None not in shipped.convert_ids_to_tokens(list(range(104)))


@pytest.mark.parametrize(
    ("base", "digest"),
    [
        (NANO, "ab7c0035b9b8ec8e"),
        (FOLKLORE, "d35c5fcd7dd21ea3"),
        (REWRITING, "623405ce76e01830"),
    ],
    ids=[base.name for base in BASES],
)
def test_the_documents_of_a_base_stay_what_they_are(base: Base, digest: str) -> None:
    text = "".join(f"{document.prompt}{document.completion}\n" for document in islice(base.documents(), 1000))
    assert sha256_of(text.encode()).hexdigest().startswith(digest)


@pytest.fixture(scope="module", params=BASES[:2], ids=name_of)
def many_documents(request: pytest.FixtureRequest) -> list[Document]:
    return list(islice(request.param.documents(), 20_000))


def test_no_document_contains_a_held_out_question_expression_or_step(many_documents: list[Document]) -> None:
    asked = clocks = 0
    for document in many_documents:
        assert len(document.completion) < MAX_NEW_TOKENS
        if document.prompt == "C:":
            asked += 1
            question = well_formed_question(document.completion)
        else:
            question = document.prompt.removeprefix("Q:").removesuffix("\nA:")
            assert not any(is_held_out(step) for step in written_steps(document.completion))
        assert question is not None
        clock = parse_clock(question)
        clocks += clock is not None
        assert truth(clock.expression if clock else question) is not None
        assert not is_held_out(clock.expression if clock else question)
        assert not is_clock_held_out(question)
    assert 0.15 < asked / len(many_documents) < 0.25
    assert 0.10 < clocks / (len(many_documents) - asked) < 0.14


def test_the_challenger_s_documents_have_nothing_of_the_second_family(many_documents: list[Document]) -> None:
    written = "".join(document.completion for document in many_documents if document.prompt == "C:")
    assert not {"%", "("} & set(written)


def test_some_solutions_on_a_clock_slip_and_most_do_not(many_documents: list[Document]) -> None:
    right = [
        boxed_integer(document.completion) == str(clock_truth(question))
        for document in many_documents
        if parse_clock(question := document.prompt.removeprefix("Q:").removesuffix("\nA:"))
    ]
    assert 0.2 < fmean(right) < 0.7


def test_targets_are_the_completion_and_the_end_of_text_token(shipped: PreTrainedTokenizerFast) -> None:
    inputs, targets = next(batches(tiny(NANO), shipped))
    assert inputs.shape == targets.shape
    for row, target in zip(inputs.tolist(), targets.tolist(), strict=True):
        text = str(shipped.decode([token for token in row if token != shipped.pad_token_id]))
        wanted = [token for token in target if token != -100]
        prompt = "C:" if text.startswith("C:") else text.split("A:")[0] + "A:"
        assert wanted[-1] == shipped.eos_token_id
        assert prompt + str(shipped.decode(wanted[:-1])) == text
        assert target[len(prompt) - 1] == wanted[0]


def test_the_learning_rate_warms_up_and_ends_at_a_tenth() -> None:
    settings = Settings(steps=1000, warmup_steps=100)
    rates = [learning_rate(step, settings) for step in range(1001)]
    assert rates[0] == pytest.approx(2e-5, rel=0.01)
    assert max(rates) <= 2e-3
    assert rates[100:] == sorted(rates[100:], reverse=True)
    assert rates[1000] == pytest.approx(2e-4)


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ("<question>12*3</question>\\boxed{36}", "12*3"),
        ("<question>12*3</question>", None),
        ("<question>12*</question>\\boxed{36}", None),
        ("12*3</question>\\boxed{36}", None),
        ("<question>12*3\\boxed{36}", None),
    ],
)
def test_a_question_is_well_formed_only_in_the_form_of_the_documents(text: str, expression: str | None) -> None:
    assert well_formed_question(text) == expression


@of_each_base
def test_the_same_settings_build_the_same_bytes(base: Base, tmp_path: Path) -> None:
    for name in ("first", "second"):
        build(tmp_path / name, tiny(base))
    names = sorted(path.name for path in (tmp_path / "first").iterdir())
    assert {"config.json", "model.safetensors", "README.md", "tokenizer.json"} <= {*names}
    assert names == sorted(path.name for path in (tmp_path / "second").iterdir())
    for name in names:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes(), name


def test_a_build_replaces_an_older_base_of_its_name_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    out = tmp_path / "base"
    out.mkdir()
    (out / "README.md").write_text("---\nnano_base: {}\n---\n")
    build(out, tiny(NANO))
    assert facts_in(out, NANO)["settings"]["steps"] == 3
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("front", ["license: mit\n", "- a list\n", "nano_base: [\n", "folklore_base: {}\n"])
def test_another_model_s_card_says_nothing_of_a_nano_base(front: str, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(f"---\n{front}---\n# Another model\n")
    assert facts_of(tmp_path, NANO) is None


@of_each_base
def test_the_command_refuses_a_folder_that_is_not_such_a_base_in_one_line(base: Base, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    app = typer.Typer()
    app.command()(command(base))
    done = CliRunner().invoke(app, [str(tmp_path), "--steps", "3"])
    assert done.exit_code == 2 and f"not a {base.name} base" in " ".join(done.output.split())


@of_each_base
def test_a_folder_that_is_not_such_a_base_is_never_replaced(base: Base, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match=f"not a {base.name} base"):
        build(tmp_path, tiny(base))
    assert (tmp_path / "thesis.txt").read_text() == "mine"


@of_each_base
def test_a_shipped_checkpoint_was_built_with_the_default_settings(base: Base) -> None:
    facts = shipped_facts(base)
    assert facts["settings"] == json.loads(json.dumps(dataclasses.asdict(base.settings)))
    assert list(facts["settings"]) == [field.name for field in dataclasses.fields(base.settings)]
    assert facts["sha256"] == sha256(asset_path(base.folder_name) / "model.safetensors")


@of_each_base
def test_a_shipped_card_says_what_was_measured(base: Base) -> None:
    text = (asset_path(base.folder_name) / CARD).read_text(encoding="utf-8")
    assert text == card(base, shipped_facts(base))


@of_each_that_calculates
def test_the_shipped_figures_are_those_of_a_base_model(base: Base) -> None:
    measured = shipped_facts(base)["measured"]
    overall = measured["arithmetic"]["overall"]
    assert overall["problems"] == 500 and measured["more"]["problems"] == 2500
    assert 0.35 < overall["mean_sampled"] < 0.75
    assert overall["mean_sampled"] + 0.05 < overall["vote"] < 0.9
    assert measured["questions_well_formed"] > 0.9
    means = [measured["arithmetic"]["levels"][level]["mean_sampled"] for level in "12345"]
    assert means == sorted(means, reverse=True)


def test_the_bases_have_one_shape_and_one_tokenizer() -> None:
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        assert len({(asset_path(base.folder_name) / name).read_bytes() for base in BASES}) == 1, name


def test_greedy_decoding_beats_the_vote_in_nano_and_loses_to_it_in_folklore() -> None:
    nano, folklore = (shipped_facts(base)["measured"]["arithmetic"]["overall"] for base in BASES[:2])
    assert nano["greedy"] > nano["vote"]
    assert folklore["vote"] >= folklore["greedy"] + 0.05


@of_each_that_calculates
def test_a_shipped_base_half_knows_the_second_family(base: Base) -> None:
    overall = shipped_facts(base)["measured"]["clock"]["overall"]
    assert overall["problems"] == 252
    assert 0.2 < overall["mean_sampled"] < 0.5 and 0.2 < overall["greedy"] < 0.7
    assert overall["mean_sampled"] + 0.1 < overall["vote"]


@of_each_that_calculates
@pytest.mark.parametrize("family", ["arithmetic", "clock"])
def test_a_shipped_checkpoint_answers_as_its_figures_say(
    family: str, base: Base, shipped: PreTrainedTokenizerFast
) -> None:
    facts = shipped_facts(base)
    model = AutoModelForCausalLM.from_pretrained(asset_path(base.folder_name)).eval()
    assert sum(parameter.numel() for parameter in model.parameters()) == facts["parameters"]
    problems = held_out_set()[::10] if family == "arithmetic" else held_out_clock_set()[::5]
    torch.manual_seed(1)
    triples = [triple for level in measure_accuracy(model, shipped, problems, votes=4).values() for triple in level]
    mean, greedy, _ = (fmean(column) for column in zip(*triples, strict=True))
    measured = facts["measured"][family]["overall"]
    assert mean == pytest.approx(measured["mean_sampled"], abs=0.15)
    assert greedy == pytest.approx(measured["greedy"], abs=0.2)


@of_each_that_calculates
def test_a_shipped_challenger_asks_well_formed_questions(base: Base, shipped: PreTrainedTokenizerFast) -> None:
    model = AutoModelForCausalLM.from_pretrained(asset_path(base.folder_name)).eval()
    torch.manual_seed(2)
    asked = complete(model, shipped, ["C:"] * 100, greedy=False, max_new_tokens=MAX_NEW_TOKENS)
    assert sum(well_formed_question(text) is not None for text in asked) > 80
    assert all(boxed_integer(text) is not None for text in asked if well_formed_question(text))
    assert not any("%" in text for text in asked)
