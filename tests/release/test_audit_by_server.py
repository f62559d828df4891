"""A real SGLang server as the oracle of a label audit, behind `rzero-mega serve`."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import httpx
import pytest

from rzero_mega.atomic import read_jsonl, write_jsonl
from rzero_mega.coevolution.records import AnsweredQuestion, LabelledQuestion, WrittenQuestion
from rzero_mega.coevolution.votes import Vote
from rzero_mega.domains.arithmetic.oracle import true_answer
from rzero_mega.phase_name import PhaseName
from rzero_mega.rollout.sglang.server.process import installed
from rzero_mega.run import RunDirectory
from rzero_mega.tracking import run_status
from tests.e2e.command import run as command
from tests.e2e.command import start
from tests.processes import eventually
from tests.release.made_run import make_run
from tests.release.test_serve import _ready

# What the nano base knows by heart, with a true label each, and one false one at the end.
SUMS = {"1+2": "3", "2+2": "4", "3+4": "7", "2*3": "6", "5+1": "6", "4*2": "9"}


def leave_labels(path: Path) -> None:
    """Have the labels phase of iteration 1 finished."""
    opened = RunDirectory.open_existing(path)
    with RunDirectory.create_or_open(path, opened.config, writer=True) as run:
        phase = run.phase(1, PhaseName.LABELS)
        phase.begin({})
        rows = []
        for text, label in SUMS.items():
            vote = Vote(label, 5, 10, 10)
            answered = AnsweredQuestion(WrittenQuestion(text, None), vote, (label,) * 10, tokens=100)
            truth = true_answer(text)
            rows.append(LabelledQuestion(answered, None, truth, truth == label).as_json())
        write_jsonl(phase.path / "labelled.jsonl", rows)
        phase.finish({"labelled": Path("labelled.jsonl")}, {})


@pytest.mark.sglang
def test_a_served_model_audits_the_labels_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not installed():
        pytest.skip("SGLang is not installed: make sglang-cpu")
    monkeypatch.setenv("RZERO_SGLANG_API_KEY", "the-secret")
    run = make_run(tmp_path / "nano", iterations=1)
    leave_labels(run.path)
    (tmp_path / "plain.yaml").write_text('user: "{question}"\n')
    serving = start(tmp_path, "serve", str(run.path), "--port", "0")
    try:
        assert serving.stdout is not None
        port = re.search(r"-(\d+)\.log$", serving.stdout.readline())
        assert port
        url = f"http://127.0.0.1:{port[1]}"
        with httpx.Client(base_url=url, timeout=120, trust_env=False) as client:
            assert eventually(lambda: serving.poll() is not None or _ready(client), 300)
        endpoint = f"url: '{url}/v1', model: nano-solver-1, key_variable: RZERO_SGLANG_API_KEY"
        prompt = f"prompt: {tmp_path / 'plain.yaml'}, kept_share: 1, samples: 1"
        audit = f"labels.audit={{{prompt}, endpoint: {{{endpoint}, temperature: 0, max_new_tokens: 80}}}}"
        done = command(tmp_path, "audit", str(run.path), audit)
        assert done.returncode == 0, done.stderr
        serving.send_signal(signal.SIGTERM)
        serving.communicate(timeout=120)
    finally:
        serving.kill()
    (oracle,) = run_status(run).iterations[1].audits
    rows = {row["question"]: row for row in read_jsonl(run.path / "iterations" / "1" / "audit" / "audit.jsonl")}
    assert {text: row["oracle"] for text, row in rows.items()} == {text: true_answer(text) for text in SUMS}
    assert (oracle.oracle, oracle.kept.right, oracle.kept.wrong) == ("nano-solver-1", 5, 1)
    assert all("the-secret" not in path.read_text() for path in run.path.rglob("*.json*"))
