"""A judge in an evaluation: after the rules, in predictions, scores and figures alike; judged again, asked nothing."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from rzero_mega.atomic import read_jsonl
from rzero_mega.commands.kept_evaluation import regrade, write_finished
from rzero_mega.config import Config, load_config
from rzero_mega.domains.mathematics.domain import MATHEMATICS
from rzero_mega.evaluation.benchmarks import load_benchmarks
from rzero_mega.evaluation.judge import second_look_of
from rzero_mega.evaluation.judge_report import graded_by
from rzero_mega.evaluation.predictions import Response
from rzero_mega.evaluation.scores import evaluation_of
from rzero_mega.grading import GradingPool
from tests.evaluation.endpoint.chat_server import ChatServer, chat_server, said

SAID = ["\\boxed{fifty-fifty}", "\\boxed{3}", "\\boxed{wrong}", "nothing"]


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with chat_server() as chat:
        chat.answer = lambda body: said("CORRECT" if '"fifty-fifty"' in body["messages"][1]["content"] else "INCORRECT")
        yield chat


@pytest.fixture
def config(server: ChatServer, tmp_path: Path) -> Config:
    rows = [f'{{"question": "q{number}", "answer": "{answer}"}}' for number, answer in enumerate(("1/2", 3, 4, 5))]
    (tmp_path / "own.jsonl").write_text("\n".join(rows))
    judge = (
        f"evaluation.judge={{agreement_sample: 4, endpoint: {{url: '{server.url}', model: judge-1, concurrency: 1}}}}"
    )
    return load_config(overrides=[f"evaluation.benchmarks=['{tmp_path}/own.jsonl']", judge])


def test_a_judge_is_heard_in_predictions_scores_and_figures(config: Config, server: ChatServer, tmp_path: Path) -> None:
    benchmarks = load_benchmarks(config.evaluation)
    responses = [Response("own", number, None, text, 5, "stop") for number, text in enumerate(SAID)]
    folder = tmp_path / "kept"
    folder.mkdir()
    with GradingPool(1, 5.0, 1024) as grader:
        rules = evaluation_of(benchmarks, responses, MATHEMATICS, grader)
    assert [found.judgement.right for found in rules.predictions] == [False, True, False, False]
    assert graded_by(rules.summary) == "rule-based" and not server.asked
    write_finished(folder, "mark", config, benchmarks, rules)

    (judged,) = regrade(folder, config, partial(second_look_of, config))
    assert judged.changed == 1 and len(server.asked) == 3
    assert judged.evaluation.summary["value"] == 0.5
    words = "rules, then judge-1 (2 re-checked, 1 overturned, agreement with the rules on a sample of 3: 33.3 %"
    assert graded_by(judged.evaluation.summary).startswith(words)
    assert [row["right"] for row in read_jsonl(folder / "predictions.jsonl")] == [True, True, False, False]
    assert [row["score"] for row in read_jsonl(folder / "scores.jsonl")] == [1.0, 1.0, 0.0, 0.0]

    (again,) = regrade(folder, config, partial(second_look_of, config))
    assert again.evaluation.summary == judged.evaluation.summary and len(server.asked) == 3
    (ruled,) = regrade(folder, config)
    assert ruled.changed == 1 and ruled.evaluation.summary == rules.summary
