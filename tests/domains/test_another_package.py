"""A domain of another package: one folder and an entry point, and every phase takes it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from rzero_mega.coevolution.plan import (
    BASE,
    EarlierDataSets,
    EvaluateInputs,
    LabelsInputs,
    QuestionsInputs,
    SolverInputs,
    Source,
)
from rzero_mega.commands.checks import check_inference
from rzero_mega.config import load_config
from rzero_mega.domains.registry import domain_named, domain_names, domain_of
from rzero_mega.errors import UserError
from rzero_mega.evaluation.benchmarks import load_benchmark
from rzero_mega.evaluation.texts import run_texts
from rzero_mega.phase_name import PhaseName
from rzero_mega.phases import evaluate, labels, questions, solver
from rzero_mega.run import RunDirectory
from tests.domains import reversal
from tests.domains.package import install
from tests.domains.reversal import DOMAIN
from tests.phases.scripted import ScriptedRun, rows, summary
from tests.phases.training import RolloutsOnly

WRITTEN = ("ask stone = enots", "ask river", "ask Level = leveL", "nothing", "ask a word = b", "ask lamp = pmal")
SAID = {
    "stone": ("enots", "ENOTS", "enost", "enots"),
    "Level": ("leveL", "level", "level", "LEVEL"),
    "lamp": ("pmla", "pmla", None, "pmal"),
}


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path / "site", reversal="tests.domains.reversal:DOMAIN")
    monkeypatch.syspath_prepend(tmp_path / "site")


@pytest.fixture
def run(installed: None, tmp_path: Path) -> Iterator[ScriptedRun]:
    overrides = (
        "domain=reversal",
        "questions={count: 6, per_part: 6, require_boxed: true}",
        "labels.votes.samples=4",
        "labels.curation={low: 0.5, high: 0.75}",
        "solver.training={prompts_per_step: 1, rollouts_per_prompt: 4, grpo: {sequences_per_update: 4}}",
        "evaluation={benchmarks: [reversal], samples: 4}",
    )

    def say(prompt: str, index: int) -> str:
        word = prompt.removeprefix("Say backwards: ").removesuffix("\nI ")
        said = SAID.get(word, ("no", "no", word[::-1], None))[index]
        return "nothing" if said is None else f"say {said}"

    with closing(ScriptedRun(tmp_path, overrides)) as run:
        run.script("challenger", lambda _prompt, index: WRITTEN[index])
        run.script("solver", say)
        yield run


def test_every_phase_asks_reads_and_judges_as_the_domain_does(
    run: ScriptedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = run.begin(PhaseName.QUESTIONS)
    questions.run(run.ctx, asked, QuestionsInputs(BASE))
    assert [row["question"] for row in rows(asked, "questions")] == ["stone", "Level", "lamp"]
    assert run.engines["challenger"].prompts == ["ask "]

    labelled = run.begin(PhaseName.LABELS)
    inputs = LabelsInputs(BASE, Source(1, PhaseName.QUESTIONS, "questions"), EarlierDataSets(0))
    labels.run(run.ctx, labelled, inputs)
    stone, level, lamp = rows(labelled, "labelled")
    # Equal whatever the case: the domain's grader groups the votes.
    assert (stone["tally"], stone["truth"], stone["correct"]) == ([["enots", 3], ["enost", 1]], "enots", True)
    assert (level["tally"], level["dropped"]) == ([["leveL", 4]], "palindrome")
    assert (lamp["answer"], lamp["answered"], lamp["correct"]) == ("pmla", 3, False)
    assert summary(labelled)["dropped"]["palindrome"] == summary(labelled)["hacking"]["closed"] * 3 == 1
    audit = summary(labelled)["audit"]
    assert (audit["oracle"], audit["kept"]["right"], audit["kept"]["wrong"]) == ("exact reversal", 1, 1)

    training = RolloutsOnly(run.engines["solver"], 2)
    monkeypatch.setattr(solver, "train_policy", training)
    solver.run(run.ctx, run.begin(PhaseName.SOLVER), SolverInputs(BASE, Source(1, PhaseName.LABELS, "dataset")))
    assert sorted(tuple(rollouts.rewards) for rollouts in training.drawn) == [(1, 1, 0, 0), (1, 1, 0, 1)]

    scored = run.begin(PhaseName.EVALUATE)
    evaluate.run(run.ctx, scored, EvaluateInputs(BASE))
    found = [(row["question"], row["mean"]) for row in rows(scored, "scores")]
    assert found == [("lamps", 0.25), ("river", 0.25), ("level", 0.25), ("candle", 0.25)]


def test_votes_on_a_domain_s_own_forms_are_mapped_back(run: ScriptedRun) -> None:
    reexpress = run.ctx.domain.checkable.reexpress
    assert reexpress is not None
    (form,) = reexpress("stone", 3)
    assert (form.question, form.restore("stone"), form.restore(None)) == ("enots", "enots", None)


@pytest.mark.parametrize(
    ("name", "entry", "complaint"),
    [
        ("reversall", None, "domain: 'reversall' is none; did you mean reversal?"),
        ("chess", None, "domain: 'chess' is none; there are mathematics, arithmetic, rewriting, summaries, reversal"),
        ("chess", "tests.domains.nowhere:DOMAIN", r"domain chess \(.* of brought\): can't be loaded \(ModuleNotFound"),
        ("chess", "tests.domains.reversal:WORDS", "is a tuple, and no rzero_mega.domains.domain.Domain"),
        ("chess", "tests.domains.reversal:DOMAIN", "calls itself 'reversal'; give the entry point that name"),
        ("other", "tests.domains.reversal:OTHER", "rename its benchmark 'reversal' to other or other.SOMETHING"),
    ],
)
def test_what_is_no_domain_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, entry: str | None, complaint: str
) -> None:
    monkeypatch.setattr(reversal, "OTHER", replace(DOMAIN, name="other"), raising=False)
    install(tmp_path, reversal="tests.domains.reversal:DOMAIN", **({name: entry} if entry else {}))
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=complaint):
        domain_of(load_config(["paper"], [f"domain={name}"]))


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        (["labels.label=truth"], "labels.label: domain reversal has no oracle"),
        (["labels.panel.base_reexpressed=2"], "labels.panel.reexpression: domain reversal has no exact forms"),
        (
            ["labels.panel={base_reexpressed: 2, reexpression: paraphrase}"],
            "prompts.paraphrase: domain reversal has",
        ),
        (["evaluation.benchmarks=[arithmetic:1]"], "the grader of mathematics judges them, and domain reversal"),
    ],
)
def test_what_a_domain_lacks_is_said_before_anything_starts(
    installed: None, monkeypatch: pytest.MonkeyPatch, settings: list[str], complaint: str
) -> None:
    bare = replace(DOMAIN, answers=replace(DOMAIN.checkable, oracle=None, reexpress=None))
    monkeypatch.setattr(reversal, "DOMAIN", bare)
    with pytest.raises(UserError, match=complaint):
        check_inference(load_config(["paper", "nano"], ["domain=reversal", "evaluation.benchmarks=[]", *settings]))


def test_it_is_found_by_name_and_belongs_to_the_run(installed: None, tmp_path: Path) -> None:
    assert domain_names() == ["mathematics", "arithmetic", "rewriting", "summaries", "reversal"]
    assert domain_named("reversal") is DOMAIN
    assert [problem.answers for problem in load_benchmark("reversal:2").problems] == [("spmal",), ("revir",)]
    config = load_config(["paper"], ["domain=reversal"])
    RunDirectory.create_or_open(tmp_path / "run", config, writer=True, texts=run_texts(config)).close()
    run_under_mathematics = load_config(["paper"])
    with RunDirectory.open_existing(tmp_path / "run") as run:
        changed = run.review(run_under_mathematics, run_texts(run_under_mathematics))[1]
    assert [text.key for text in changed] == ["domain", "prompts.challenger", "prompts.solver"]
