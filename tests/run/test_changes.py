"""A run goes on under another configuration where its keys allow that, and says what has changed."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from rzero_mega.config import load_config, to_yaml
from rzero_mega.errors import UserError
from rzero_mega.phase_name import PhaseName
from rzero_mega.run import RunDirectory, read_events
from rzero_mega.run.verify import verify_run

TEXTS = {
    "prompts.challenger": "user: Ask.\n",
    "prompts.solver": "system: Be exact.\nuser: '{question}'\n",
    "evaluation.benchmarks": "",
}


def start(path: Path, *overrides: str, texts: dict[str, str] | None = None) -> RunDirectory:
    settings = ["run.minimum_free_mb=0", *overrides]
    return RunDirectory.create_or_open(path / "run", load_config(overrides=settings), writer=True, texts=texts)


def leave(run: RunDirectory, work: str) -> None:
    """What a phase of iteration 1 left: "labels finished", "labels 2 parts", "solver step 3"."""
    name, *what = work.split()
    phase = run.phase(1, PhaseName(name))
    phase.begin({})
    if what == ["finished"]:
        phase.finish({}, {})
    elif what[0] == "step":
        phase.checkpoint_staging(int(what[1]))
        phase.commit_checkpoint(int(what[1]))
    elif what != ["begun"]:
        for part in range(int(what[0])):
            phase.write_part(part, [])


TAKEN = [
    (["labels 2 parts"], "labels.curation.low=0.1"),
    (["labels 2 parts"], "labels.votes.sampling.top_k=7"),
    (["labels finished"], "labels.votes.samples=7"),
    (["questions finished", "labels 2 parts"], "questions.count=7"),
    (["solver step 3"], "solver.training.optimizer.learning_rate=0.1"),
    (["solver step 3"], "solver.training.steps=3"),
    (["solver finished"], "solver.training.steps=1"),
    (["solver step 3"], "learner.processes=2"),
    (["solver step 3"], "learner.layout.etp=1"),
    (["solver step 3"], "learner.tokens_per_micro_batch=10000"),
    (["solver step 3"], "learner.recompute=full"),
    (["solver step 3"], "learner.offload=all"),
    (["solver step 3"], "learner.guard.non_finite=skip"),
    (["solver finished"], "learner.dtype=float32"),
    (["solver step 3"], "rollout.batch_sequences=8"),
    (["solver step 3"], "rollout.engine=sglang"),
    (["solver step 3"], "rollout.sglang.start_timeout_s=1"),
    (["solver step 3"], "rollout.sglang.extra_arguments=[--x]"),
    (["solver step 3"], "weights.verify.probe_tolerance=0.5"),
    (["solver step 3"], "grading.time_limit_s=9"),
    (["solver step 3"], "model.path=/elsewhere"),
    (["solver finished"], "evaluation.samples=4"),
    (["evaluate begun"], "evaluation.samples=4"),
    (["solver finished"], "iterations=9"),
    (["challenger begun"], "seed=1"),
]

REFUSED = [
    (["challenger step 1"], "seed=1", "choose another run.name, or remove .*run to start it afresh"),
    (["questions 1 parts"], "challenger.train=false", "choose another run.name"),
    (["evaluate finished"], "evaluation.samples=4", "remove .*evaluate to have all of it done alike"),
    (["labels 2 parts"], "labels.votes.samples=7", "2 parts of 1/labels are done with it: .* remove .*1/labels"),
    (["labels 2 parts"], "labels.questions_per_part=7", "2 parts of 1/labels"),
    (["questions 1 parts"], "questions.count=7", "1 parts of 1/questions"),
    (
        ["solver step 3"],
        "solver.training.steps=2",
        "3 steps of 1/solver are done: set .* to no less",
    ),
    (["solver step 3"], "solver.training.use_step=4", "3 steps of 1/solver are done with it"),
    (["solver step 3"], "learner.dtype=float32", "3 steps of 1/solver are done with it"),
    (["challenger step 1"], "learner.fp8.format=e4m3", "1 steps of 1/challenger are done with it"),
]


@pytest.mark.parametrize(("work", "override"), TAKEN)
def test_what_may_change_is_taken_and_an_event_says_so(tmp_path: Path, work: list[str], override: str) -> None:
    with start(tmp_path) as run:
        for what in work:
            leave(run, what)
    key = override.partition("=")[0]
    with start(tmp_path, override) as run:
        events = [event.fields for event in read_events(run.events_path) if event.event == "changed"]
        assert [list(event["keys"]) for event in events] == [[key]]
        before, after = events[0]["keys"][key]
        assert before != after
        assert RunDirectory.open_existing(run.path).config == run.config
        assert (run.path / "config.yaml").read_text() == to_yaml(run.config)
    with start(tmp_path, override) as run:
        assert [event.event for event in read_events(run.events_path)].count("changed") == 1


@pytest.mark.parametrize(("work", "override", "advice"), REFUSED)
def test_what_may_not_is_refused_in_one_line_that_says_what_to_do(
    tmp_path: Path, work: list[str], override: str, advice: str
) -> None:
    with start(tmp_path) as run:
        for what in work:
            leave(run, what)
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    key, _, value = override.partition("=")
    with pytest.raises(
        UserError, match=rf"{key}: .* → {value}".replace("→ false", "→ False") + rf"\).*{advice}"
    ) as caught:
        start(tmp_path, override, "tracking.project=other")
    assert "\n" not in str(caught.value) and "tracking" not in str(caught.value)
    assert {path: path.read_bytes() for path in before if path.name != ".lock"} == {
        path: content for path, content in before.items() if path.name != ".lock"
    }


def test_a_long_list_of_differences_is_cut(tmp_path: Path) -> None:
    with start(tmp_path) as run:
        leave(run, "solver step 1")
    overrides = [
        f"learner.fp8.{key}" for key in ("margin=1", "format=e4m3", "recipe=blockwise", "weight_gradient=false")
    ]
    with pytest.raises(UserError, match=r"and 2 more\)") as caught:
        start(tmp_path, *overrides, "seed=1", "learner.dtype=float32")
    assert str(caught.value).count("→") == 4


def test_a_run_in_which_nothing_is_done_is_another_one_under_another_seed(tmp_path: Path) -> None:
    with start(tmp_path) as run:
        first = run.info
        leave(run, "challenger begun")
    with start(tmp_path, "seed=1") as run:
        assert run.info.id != first.id and run.info.wandb_id != first.wandb_id and run.config.seed == 1


@pytest.mark.parametrize(
    ("work", "override", "level", "says"),
    [
        ("labels finished", "labels.curation.low=0.1", logging.INFO, "0.25 → 0.1, for phases .*; 1/labels had 0.25"),
        ("labels finished", "learner.layout.etp=1", logging.WARNING, "last bits may differ"),
        ("labels begun", "learner.layout.etp=1", None, ""),
        ("labels finished", "tracking.wandb=offline", None, ""),
    ],
)
def test_changes_that_matter_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, work: str, override: str, level: int | None, says: str
) -> None:
    with start(tmp_path) as run:
        leave(run, work)
    with caplog.at_level(logging.INFO, "rzero_mega"):
        start(tmp_path, override).close()
    found = [(record.levelno, record.getMessage()) for record in caplog.records]
    assert [number for number, _ in found] == ([] if level is None else [level])
    assert all(re.search(says, text) for _, text in found)


def test_an_edited_config_yaml_is_not_what_the_run_has(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with start(tmp_path) as run:
        leave(run, "challenger step 1")
    copy = tmp_path / "run" / "config.yaml"
    copy.write_text(copy.read_text().replace("seed: 0", "seed: 1"))
    with pytest.raises(UserError, match="seed: 0 → 1"):
        start(tmp_path, "seed=1")
    start(tmp_path).close()
    assert "config.yaml: is not what run.json says" in caplog.text and "seed: 0" in copy.read_text()


@pytest.mark.parametrize("change", [{"seed": 1}, {"seed": -1}, {"sede": 0}])
def test_an_edited_run_json_is_noticed(tmp_path: Path, change: dict[str, object]) -> None:
    with start(tmp_path) as run:
        leave(run, "challenger step 1")
    path = tmp_path / "run" / "run.json"
    data = json.loads(path.read_text())
    config = {**data.pop("config"), **change}
    path.write_text(json.dumps({**data, "config": config}))
    with pytest.raises(UserError, match=r"run\.json: malformed: has changed"):
        start(tmp_path)
    data.pop("sha256")
    path.write_text(json.dumps({**data, "config": config}))
    with pytest.raises(UserError, match=r"seed: 1 → 0|seed: -1 is below|sede: no such key"):
        start(tmp_path)


# Texts


@pytest.mark.parametrize(
    ("key", "work", "text", "says"),
    [
        ("prompts.solver", "challenger step 1", "system: Be exact.\nuser: 'No. {question}'\n", r"\| \+user: 'No"),
        ("prompts.challenger", "labels 1 parts", "user: Ask!\n", r"-user: Ask\. \| \+user: Ask!"),
        ("evaluation.benchmarks", "evaluate finished", '{"a": 1}\n', r"\+\{\"a\": 1\}"),
    ],
)
def test_a_text_that_was_edited_is_refused_with_what_differs(
    tmp_path: Path, key: str, work: str, text: str, says: str
) -> None:
    with start(tmp_path, texts=TEXTS) as run:
        leave(run, work)
        assert run.text(key) == TEXTS[key]
    with pytest.raises(UserError, match=f"{key}: the text has changed: .*{says}.*put back the text") as caught:
        start(tmp_path, texts=TEXTS | {key: text})
    assert "\n" not in str(caught.value)
    start(tmp_path, texts=TEXTS).close()


def test_a_text_may_change_while_nothing_is_made_with_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with start(tmp_path, texts=TEXTS) as run:
        leave(run, "labels finished")
    with start(tmp_path, texts=TEXTS | {"evaluation.benchmarks": "new"}) as run:
        assert run.text("evaluation.benchmarks") == "new"
        assert [event.fields for event in read_events(run.events_path) if event.event == "changed"] == [
            {"texts": ["evaluation.benchmarks"]}
        ]
    assert "1/labels did not keep these problems out of training" in caplog.text


@pytest.mark.parametrize("damage", ["lost", "edited"])
def test_a_damaged_copy_of_a_text_is_named_and_mended_by_the_same_text(tmp_path: Path, damage: str) -> None:
    with start(tmp_path, texts=TEXTS) as run:
        leave(run, "challenger step 1")
        copy = run.path / "inputs" / "prompts.solver"
    copy.unlink() if damage == "lost" else copy.write_text("user: Be vague. {question}")
    with pytest.raises(UserError, match=r"inputs/prompts\.solver: is lost or damaged"):
        RunDirectory.open_existing(tmp_path / "run").text("prompts.solver")
    assert ["is lost or damaged" in line for line in verify_run(run).damaged].count(True) == 1
    with pytest.raises(UserError, match="the text has changed"):
        start(tmp_path, texts=TEXTS | {"prompts.solver": "user: Be vague. {question}"})
    with start(tmp_path, texts=TEXTS) as run:
        assert run.text("prompts.solver") == TEXTS["prompts.solver"]


def test_a_run_without_texts_says_so(tmp_path: Path) -> None:
    names: Sequence[str] = list(TEXTS)
    with start(tmp_path) as run:
        assert [run.text(name) for name in names] == [None] * 3
