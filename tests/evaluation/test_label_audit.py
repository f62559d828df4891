"""Label audits: who is asked, what counts as what, and numbers that were worked out by hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rzero_mega.coevolution.label_audit import LabelAudit, Outcome
from rzero_mega.coevolution.records import AnsweredQuestion, LabelledQuestion, WrittenQuestion
from rzero_mega.coevolution.votes import Vote
from rzero_mega.config.schema import EndpointConfig, LabelAuditConfig
from rzero_mega.domains.arithmetic.oracle import EXACT_ARITHMETIC
from rzero_mega.domains.mathematics.domain import MATHEMATICS
from rzero_mega.domains.prompts import load_prompt
from rzero_mega.evaluation.endpoint.client import Endpoint
from rzero_mega.evaluation.label_audit import OracleAudit, chosen_for_audit, exact_audit, oracle_audit
from rzero_mega.grading import GradingPool
from tests.evaluation.endpoint.chat_server import ChatServer, Reply, said


def labelled(
    text: str,
    label: str | None,
    count: int = 5,
    kept: bool = True,
    truth: str | None = None,
    correct: bool | None = None,
) -> LabelledQuestion:
    vote = Vote(label, count, 10, 10)
    answered = AnsweredQuestion(WrittenQuestion(text, None), vote, (label,) * 10, tokens=100)
    return LabelledQuestion(answered, None if kept else "below_band", truth, correct)


@pytest.fixture(scope="module")
def grader() -> Iterator[GradingPool]:
    with GradingPool(1, 5.0, 1024) as pool:
        yield pool


def test_exact_arithmetic_is_counted_as_by_hand() -> None:
    audit = exact_audit(
        [
            labelled("1+1", "2", 5, True, "2", True),
            labelled("1+2", "4", 5, True, "3", False),
            labelled("1+3", "4", 7, True, "4", True),
            labelled("why?", "x", 7, True),
            labelled("2*2", "4", 2, False, "4", True),
            labelled("2*3", None, 0, False, "6"),
            labelled("2*4", "9", 10, False, "8", False),
            labelled("2*5", "9", 10, False, "10", False),
        ],
        EXACT_ARITHMETIC,
    )
    kept, dropped = audit.kept, audit.dropped
    assert (audit.oracle, audit.agreement) == ("exact arithmetic", None) and audit.computed
    assert (kept.questions, kept.right, kept.wrong, kept.unaudited, kept.accuracy) == (4, 2, 1, 1, 2 / 3)
    assert (dropped.questions, dropped.right, dropped.wrong, dropped.unlabelled) == (4, 1, 2, 1)
    # Wilson's interval of 2 in 3 at 95 %, z = 1.95996: centre (2/3 + z²/6) / (1 + z²/3), from tables.
    assert (kept.low, kept.high) == (pytest.approx(0.2077, abs=1e-4), pytest.approx(0.9385, abs=1e-4))
    bins = [(p_hat, labels.right, labels.wrong, labels.accuracy) for p_hat, labels in audit.by_p_hat]
    assert bins == [(0.0, 0, 0, None), (0.2, 1, 0, 1.0), (0.5, 1, 1, 0.5), (0.7, 1, 0, 1.0), (1.0, 0, 2, 0.0)]
    assert LabelAudit.from_json(json.loads(json.dumps(audit.as_json()))) == audit


def test_an_iteration_whose_truths_cannot_be_computed_has_no_accuracy() -> None:
    audit = exact_audit([labelled("why?", "x"), labelled("how?", "y", kept=False)], None)
    assert (audit.kept.accuracy, audit.kept.low, audit.kept.high, audit.kept.asked) == (None, None, None, 0)


QUESTIONS = [labelled(f"question {number}", "42", kept=number % 3 > 0) for number in range(90)]


def names(chosen: list[LabelledQuestion]) -> list[str]:
    return [question.answered.question.text for question in chosen]


def test_the_share_follows_from_seed_and_iteration_alone_and_grows_by_addition() -> None:
    small = LabelAuditConfig(kept_share=0.1, dropped_share=0.5)
    chosen = chosen_for_audit(QUESTIONS, small, 0, 1)
    assert sum(question.kept for question in chosen) == 6 and sum(not question.kept for question in chosen) == 15
    assert names(chosen) == names(chosen_for_audit(QUESTIONS, small, 0, 1))
    assert names(chosen) != names(chosen_for_audit(QUESTIONS, small, 1, 1))
    assert names(chosen) != names(chosen_for_audit(QUESTIONS, small, 0, 2))
    assert names(chosen) == sorted(names(chosen), key=names(QUESTIONS).index)
    large = chosen_for_audit(QUESTIONS, LabelAuditConfig(kept_share=0.4, dropped_share=0.5), 0, 1)
    assert {*names(chosen)} < {*names(large)}


@pytest.mark.parametrize(("share", "count"), [(0.0, 0), (0.01, 1), (1.0, 60)])
def test_a_share_of_few_questions_is_rounded_up(share: float, count: int) -> None:
    config = LabelAuditConfig(kept_share=share, dropped_share=0.0)
    assert len(chosen_for_audit(QUESTIONS, config, 0, 1)) == count


AskOracle = Callable[..., OracleAudit]


@pytest.fixture
def ask_oracle(server: ChatServer, tmp_path: Path, grader: GradingPool) -> AskOracle:
    """The audit of questions, where the oracle gives these answers to them, by question and in turns."""

    def ask(questions: list[LabelledQuestion], answers: dict[str, list[Reply]], **endpoint: Any) -> OracleAudit:
        left = {text: list(replies) for text, replies in answers.items()}
        server.answer = lambda body: left[body["messages"][1]["content"]].pop(0)
        config = LabelAuditConfig(
            EndpointConfig(url=server.url, model="oracle-1", concurrency=1, attempts=1, **endpoint), samples=3
        )
        with Endpoint(config.endpoint, "labels.audit.endpoint", tmp_path / "answers.jsonl") as asked:
            return oracle_audit(QUESTIONS, questions, config, load_prompt("math_oracle"), MATHEMATICS, asked, grader)

    return ask


def boxed(*answers: str) -> list[Reply]:
    return [said(f"It is \\boxed{{{answer}}}.") for answer in answers]


CASES: dict[str, tuple[str | None, list[Reply], Outcome, float | None]] = {
    "agrees": ("1/2", boxed("0.5", "\\frac12", "0.5"), Outcome.RIGHT, 1.0),
    "majority": ("1/2", boxed("0.5", "7", "1/2"), Outcome.RIGHT, 2 / 3),
    "differs": ("1/2", boxed("2", "2", "2"), Outcome.WRONG, 1.0),
    "disagrees with itself": ("1/2", boxed("1", "2", "3"), Outcome.UNSURE, 1 / 3),
    "has no box": ("1/2", [said("I can't")] * 3, Outcome.UNSURE, 0.0),
    "is cut off": ("1/2", [said("\\boxed{1/2} and", "length")] * 3, Outcome.UNSURE, 0.0),
    "finds no answer": ("1/2", boxed("unanswerable", "\\text{Unanswerable}", "3"), Outcome.UNANSWERABLE, 2 / 3),
    "finds none, nor did the Solver": (None, boxed("unanswerable", "unanswerable", "3"), Outcome.UNANSWERABLE, 2 / 3),
    "has an answer and the Solver none": (None, boxed("5", "5", "5"), Outcome.UNLABELLED, 1.0),
    "is refused once": ("1/2", [*boxed("1/2", "1/2"), Reply(400)], Outcome.UNAUDITED, None),
}


@pytest.mark.parametrize("name", CASES)
def test_what_the_oracle_says_decides_the_outcome(name: str, ask_oracle: AskOracle) -> None:
    label, replies, outcome, agreement = CASES[name]
    found = ask_oracle([labelled("q", label)], {"q": replies})
    (row,) = found.rows
    assert row.outcome is outcome and row.agreement == (None if agreement is None else pytest.approx(agreement))
    counts = found.audit.kept.as_json()
    assert {kind: counts[kind] for kind in Outcome} == {kind: int(kind is outcome) for kind in Outcome}


def test_an_audit_states_its_oracle_and_how_far_it_agrees_with_itself(ask_oracle: AskOracle) -> None:
    questions = [labelled("a", "1"), labelled("b", "1", 3), labelled("c", "1", 1, kept=False)]
    found = ask_oracle(questions, {"a": boxed("1", "1", "1"), "b": boxed("1", "2", "2"), "c": boxed("9", "9", "9")})
    audit = found.audit
    assert audit.oracle == "oracle-1" and audit.agreement == pytest.approx((1 + 2 / 3 + 1) / 3)
    assert (audit.kept.questions, audit.kept.right, audit.kept.wrong, audit.dropped.wrong) == (60, 1, 1, 1)
    assert [row.oracle for row in found.rows] == ["1", "2", "9"]
    assert json.loads(json.dumps(found.rows[1].as_json())) == {
        "question": "b",
        "label": "1",
        "share": 0.3,
        "kept": True,
        "oracle": "2",
        "agreement": pytest.approx(2 / 3),
        "answers": ["1", "2", "2"],
        "outcome": "wrong",
    }


def test_a_used_up_budget_leaves_questions_unaudited(ask_oracle: AskOracle) -> None:
    found = ask_oracle(
        [labelled("a", "1"), labelled("b", "1")], {"a": boxed("1", "1", "1"), "b": boxed("1")}, max_requests=4
    )
    assert [row.outcome for row in found.rows] == [Outcome.RIGHT, Outcome.UNAUDITED]
    assert (found.asked.over_budget, found.audit.kept.unaudited) == (2, 1)
