from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rzero_mega.coevolution.prompts import PromptTemplate
from rzero_mega.config import load_config, preset_names
from rzero_mega.domains.prompts import PLACEHOLDERS, load_prompt, prompt_name, prompt_of, shipped_prompts
from rzero_mega.errors import UserError


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "prompt.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_every_prompt_that_a_preset_names_is_shipped() -> None:
    for preset in preset_names():
        named = {name for name in vars(load_config([preset]).prompts).values() if name is not None}
        assert named <= set(shipped_prompts())


@pytest.mark.parametrize(
    ("presets", "challenger", "solver", "program"),
    [
        ((), "math_challenger", "math_solver", "math_program"),
        (("nano",), "nano_challenger", "nano_solver", "math_program"),
        (("nano", "folklore"), "nano_challenger", "nano_solver", "math_program"),
        (("smollm2",), "smollm2_challenger", "smollm2_solver", "math_program"),
    ],
)
def test_a_role_is_asked_by_the_prompt_that_is_named_or_else_the_domain_s(
    presets: tuple[str, ...], challenger: str, solver: str, program: str
) -> None:
    config = load_config(presets)
    assert prompt_name(config, "challenger") == challenger and prompt_name(config, "solver") == solver
    assert prompt_of(config, "program") == load_prompt(program)
    assert prompt_of(config, "solver") == load_prompt(solver)


@pytest.mark.parametrize("name", shipped_prompts())
def test_shipped_prompts_load_and_fit_their_role(name: str) -> None:
    asks, given = not name.endswith("_challenger"), {"question": "1+1", "answer": "2", "first": "3", "second": "4"}
    own = (placeholders for role, placeholders in PLACEHOLDERS.items() if name.endswith(f"_{role}"))
    values = {placeholder: given[placeholder] for placeholder in next(own, ("question",))}
    text = load_prompt(name).plain(**values)
    assert text and not any("{" + placeholder + "}" in text for placeholder in given)
    assert all(value in text for value in values.values())
    assert ("1+1" in text) == asks


def test_the_math_challenger_asks_for_all_that_the_paper_asks_for() -> None:
    system, user = load_prompt("math_challenger").messages()
    assert (system["role"], user["role"]) == ("system", "user")
    for wanted in ("competition", "private", "Any field of mathematics", "30%", "textbooks"):
        assert wanted in system["content"]
    assert "<question>" in system["content"] and "</question>" in system["content"]
    assert r"\boxed{final_answer}" in system["content"]
    assert "new and challenging reasoning question" in user["content"]


def test_the_math_solver_asks_for_steps_and_a_box_and_its_user_turn_is_the_question() -> None:
    system, user = load_prompt("math_solver").messages(question="What is 1+1?")
    assert "step by step" in system["content"] and r"\boxed{}" in system["content"]
    assert user == {"role": "user", "content": "What is 1+1?"}


def test_a_base_model_without_chat_template_gets_the_two_turns_as_text() -> None:
    system = load_prompt("math_solver").system
    assert load_prompt("math_solver").plain(question="q?") == f"system: {system}\nuser: q?"
    assert PromptTemplate(system="s", user="{question}").plain(question="q") == "system: s\nuser: q\nassistant:"
    assert PromptTemplate(user="hello").plain() == "user: hello\nassistant:"


def test_the_arithmetic_world_is_raw_text() -> None:
    assert load_prompt("nano_challenger").plain() == "C:"
    assert load_prompt("nano_solver").plain(question="12*3+4") == "Q:12*3+4\nA:"
    with pytest.raises(UserError, match="nano_solver: has no user turn"):
        load_prompt("nano_solver").messages(question="1")


@given(st.text())
def test_hostile_questions_are_inserted_verbatim(question: str) -> None:
    template = PromptTemplate(system="s", user="<{question}>")
    assert template.messages(question=question)[1]["content"] == f"<{question}>"


@pytest.mark.parametrize("question", ["{0.__class__}", "{question}", "{system}", "%s", "{", "\\1", "{question!r}"])
def test_braces_in_a_question_mean_nothing(question: str) -> None:
    assert load_prompt("nano_solver").plain(question=question) == f"Q:{question}\nA:"


def test_a_prompt_can_be_a_file_of_ones_own(tmp_path: Path) -> None:
    path = written(tmp_path, 'system: "Law."\nuser: "Case: {question}"\n')
    assert load_prompt(path).messages(question="q") == [
        {"role": "system", "content": "Law."},
        {"role": "user", "content": "Case: q"},
    ]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("user: hi\nsistem: x\n", "sistem: no such key; did you mean system?"),
        ("user: hi {questoin}\n", "unknown placeholder {questoin}"),
        ("system: hi\n", "neither user nor raw"),
        ("user: [3]\n", "user: a list is not a text"),
        ("user: a\nsource: b\n", "source: no such key"),
        ("user: a\nuser: b {question}\n", "line 2: the key 'user' appears a second time"),
        ("user: " + "[" * 3000, "line 1: nested deeper than"),
        ("user: hi\nexamples: [{user: a}]\n", "examples[0]: has to be a mapping with the keys user and assistant"),
        ("- a\n", "mapping"),
        ("", "neither user nor raw"),
        ("user: [\n", "not readable as YAML"),
        ("user: !!python/object/apply:os.getcwd []\n", "means nothing here"),
    ],
)
def test_a_bad_file_is_an_error_that_names_the_file(tmp_path: Path, text: str, complaint: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(UserError) as error:
        load_prompt(path)
    assert str(error.value).startswith(path) and complaint in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", [r"\boxed{x}", r"\frac{a}{b}", "x^{n}", "a_{n}", r"\sqrt[3]{n}", "{a, b}", r"\{x\}"])
def test_latex_braces_are_no_placeholders(tmp_path: Path, text: str) -> None:
    path = written(tmp_path, f"user: '{text} {{question}}'\n")
    assert load_prompt(path).messages(question="q")[0]["content"] == f"{text} q"


def test_a_missing_file_lists_what_is_shipped() -> None:
    with pytest.raises(UserError, match=r"nowhere: neither a shipped prompt .*math_solver"):
        load_prompt("nowhere")
    with pytest.raises(UserError, match=r"nowhere\.yaml"):
        load_prompt("nowhere.yaml")


def test_an_unreadable_file_is_the_users_error(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"user: \xff\xfe\n")
    with pytest.raises(UserError, match=r"latin\.yaml: is not UTF-8 \(byte 0xff on line 1\)"):
        load_prompt(str(path))


@pytest.mark.parametrize("text", ["2024-01-01", "2024-13-45", "007", "on", "12:30", "~", "1e400", "null is a text"])
def test_a_prompt_is_the_text_that_was_typed(tmp_path: Path, text: str) -> None:
    path = written(tmp_path, f"user: {text}\nexamples: [{{user: {text}, assistant: {text}}}]\n")
    prompt = load_prompt(path)
    assert prompt.user == text and vars(prompt.examples[0]) == {"user": text, "assistant": text}


def test_a_role_without_its_placeholder_is_an_error() -> None:
    with pytest.raises(UserError, match=r"math_challenger: the placeholder \{question\} is missing"):
        load_prompt("math_challenger").messages(question="q")
    with pytest.raises(UserError, match=r"nano_solver: the placeholder \{question\} has no meaning"):
        load_prompt("nano_solver").plain()


def test_examples_are_turns_before_the_users(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text('system: s\nexamples:\n- {user: "1+1?", assistant: "{question} is 2"}\nuser: "{question}"\n')
    prompt = load_prompt(str(file))
    assert [(turn["role"], turn["content"]) for turn in prompt.messages(question="3+3?")] == [
        ("system", "s"),
        ("user", "1+1?"),
        ("assistant", "{question} is 2"),
        ("user", "3+3?"),
    ]
    assert prompt.plain(question="3+3?").startswith("system: s\nuser: 1+1?\nassistant: ")


@pytest.mark.parametrize("examples", ["x", "[x]", "[{user: a}]", "[{user: a, assistant: b, tool: c}]"])
def test_examples_of_another_form_are_refused(tmp_path: Path, examples: str) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(f"user: a\nexamples: {examples}\n")
    with pytest.raises(UserError, match="examples"):
        load_prompt(str(file))
