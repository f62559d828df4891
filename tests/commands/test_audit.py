"""`rzero-mega audit`: beside the run, of which it changes nothing; it goes on, and shows up wherever labels do."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rzero_mega.atomic import read_jsonl
from rzero_mega.commands.audit import audit_run
from rzero_mega.commands.status import show_status
from rzero_mega.errors import UserError
from rzero_mega.run import RunDirectory
from rzero_mega.tracking import run_status, write_report
from tests.evaluation.endpoint.chat_server import ChatServer, Reply, chat_server, said
from tests.tracking.synthetic import write_synthetic_run

SAMPLES = 3


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with chat_server() as chat:
        yield chat


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDirectory:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    write_synthetic_run(tmp_path / "run", phases=8).close()
    opened = RunDirectory.open_existing(tmp_path / "run")
    opened.config.tracking.wandb = "disabled"
    return opened


def oracle(body: dict[str, Any]) -> Reply:
    """Knows the made-up run's questions, `Compute a - b * c.`; is lost where a is odd."""
    words = body["messages"][1]["content"].removesuffix(".").split()
    if words[0] != "Compute" or int(words[1]) % 2:
        return said("\\boxed{unanswerable}")
    return said(f"\\boxed{{{int(words[1]) - int(words[3]) * int(words[5])}}}")


def settings(server: ChatServer, *more: str) -> list[str]:
    endpoint = f"labels.audit.endpoint={{url: '{server.url}', model: oracle-1, attempts: 1}}"
    return [endpoint, f"labels.audit.samples={SAMPLES}", "labels.audit.kept_share=0.02", *more]


def files_of(run: RunDirectory) -> dict[str, str]:
    """Every file of the run but those of audits, by its hash."""
    files = [path for path in run.path.rglob("*") if path.is_file() and "audit" not in path.parts]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_an_audit_lands_beside_the_run_and_changes_nothing_of_it(
    run: RunDirectory, server: ChatServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answer = oracle
    before = files_of(run)
    audit_run(run, 1, settings(server))
    assert files_of(run) == before
    folder = run.path / "iterations" / "1" / "audit"
    assert {path.name for path in folder.iterdir()} == {"answers.jsonl", "audit.jsonl", "summary.json"}
    rows = list(read_jsonl(folder / "audit.jsonl"))
    labelled = list(read_jsonl(run.path / "iterations" / "1" / "labels" / "labelled.jsonl"))
    truths = {row["question"]: row["correct"] for row in labelled}
    answered = [row for row in rows if row["outcome"] != "unanswerable"]
    assert answered and all((row["outcome"] == "right") is truths[row["question"]] for row in answered)

    exact, model = run_status(run).iterations[1].audits
    kept = [row for row in rows if row["kept"]]
    assert (exact.oracle, model.oracle, model.agreement) == ("exact arithmetic", "oracle-1", 1.0)
    assert model.kept.right == sum(row["outcome"] == "right" for row in kept)
    assert model.kept.unanswerable == sum(row["outcome"] == "unanswerable" for row in kept) > 0
    assert model.kept.questions == sum(row["kept"] for row in labelled) > len(kept)
    assert "oracle-1" in capsys.readouterr().out


def test_status_and_report_show_every_oracle_and_the_paper_s_figures(
    run: RunDirectory, server: ChatServer, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    server.answer = oracle
    audit_run(run, None, settings(server))
    capsys.readouterr()
    show_status(run, as_json=True)
    (exact, model) = json.loads(capsys.readouterr().out)["iterations"][1]["audits"]
    assert exact["oracle"] == "exact arithmetic" and model["kept"]["low"] < model["kept"]["high"]
    write_report(run, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "Are the labels true?" in page and "oracle-1, agrees 100 %" in page
    assert "by oracle-1, by p̂" in page and "the paper&#39;s from 79.0 % to 63.0 %" in page


def test_a_second_audit_asks_nothing_again_and_a_larger_share_the_rest(run: RunDirectory, server: ChatServer) -> None:
    server.answer = oracle
    audit_run(run, 1, settings(server))
    asked = len(server.asked)
    audit_run(run, 1, settings(server))
    assert len(server.asked) == asked
    audit_run(run, 1, settings(server, "labels.audit.kept_share=0.04"))
    assert asked < len(server.asked) < 2 * asked


def test_an_endpoint_out_of_order_leaves_what_there_is_and_is_named(run: RunDirectory, server: ChatServer) -> None:
    server.answer = lambda body: oracle(body) if len(server.asked) < 10 else Reply(403, b"no more credit")
    with pytest.raises(UserError, match=r"labels.audit.endpoint: http.*HTTP 403: no more credit; .* goes on"):
        audit_run(run, 1, settings(server, "labels.audit.endpoint.concurrency=1"))
    assert not (run.path / "iterations" / "1" / "audit" / "summary.json").exists()
    answered = server.users()[:9]
    server.answer, server.asked[:] = oracle, []
    audit_run(run, 1, settings(server))
    sent = server.users()
    assert all(sent.count(text) + answered.count(text) == SAMPLES for text in {*sent, *answered})


def test_an_audit_of_labels_that_were_redone_is_not_shown(run: RunDirectory, server: ChatServer) -> None:
    server.answer = oracle
    audit_run(run, 1, settings(server))
    summary = run.path / "iterations" / "1" / "audit" / "summary.json"
    other = {key: value for key, value in json.loads(summary.read_text()).items() if key != "sha256"}
    summary.write_text(json.dumps({**other, "labels": "0" * 64}))
    assert [audit.oracle for audit in run_status(run).iterations[1].audits] == ["exact arithmetic"]
    summary.write_text(json.dumps({**other, "audit": {"oracle": 3}}))
    with pytest.raises(UserError, match=r"summary.json: malformed: holds no audit; remove it, and audit again"):
        run_status(run)


@pytest.mark.parametrize(
    ("iteration", "overrides", "what"),
    [
        (1, [], "labels.audit.endpoint.url: is null"),
        (3, ["labels.audit.endpoint={url: 'http://127.0.0.1:9/v1', model: m}"], "iteration 3 of .* has no labels yet"),
        (1, ["labels.curation.low=0.2"], "labels.curation.low: decides nothing about an audit"),
        (
            1,
            ["labels.audit={prompt: nano_solver, endpoint: {url: 'http://h', model: m}}"],
            "labels.audit.prompt: nano_solver",
        ),
        (1, ["labels.audit.share=1"], "labels.audit.share"),
    ],
)
def test_what_cannot_be_audited_is_said(run: RunDirectory, iteration: int, overrides: list[str], what: str) -> None:
    with pytest.raises(UserError, match=what):
        audit_run(run, iteration, overrides)
    assert not (run.path / "iterations" / str(iteration) / "audit").exists()
