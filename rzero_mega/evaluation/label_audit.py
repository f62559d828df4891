"""Label audits: what the oracle says is counted; an oracle behind an endpoint. Nothing trained on depends on them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean
from typing import Any

from rzero_mega.coevolution.label_audit import AuditedLabels, LabelAudit, Outcome
from rzero_mega.coevolution.label_quality import label_quality
from rzero_mega.coevolution.prompts import PromptTemplate
from rzero_mega.coevolution.records import LabelledQuestion
from rzero_mega.coevolution.streams import permutation
from rzero_mega.coevolution.votes import majority_vote
from rzero_mega.config.schema import LabelAuditConfig
from rzero_mega.domains.domain import Domain, Oracle
from rzero_mega.evaluation.endpoint.chat import ChatAnswer, ChatRequest
from rzero_mega.evaluation.endpoint.client import Asked, Endpoint
from rzero_mega.evaluation.statistics import accuracy
from rzero_mega.grading.grader import Grader

_KNOWN = (Outcome.RIGHT, Outcome.WRONG)
UNANSWERABLE = "unanswerable"
"""What the oracle's prompt has it answer where a question has no answer."""

NO_ORACLE = "none"
"""What an audit is called in a domain without an oracle, which has nothing to count."""


def exact_audit(
    labelled: Sequence[LabelledQuestion], oracle: Oracle | None, greedy: Sequence[tuple[bool, bool]] = ()
) -> LabelAudit:
    """The labels against the truth, of every question whose truth the oracle has; `greedy` as in `label_quality`."""
    return _counted(
        oracle.name if oracle else NO_ORACLE,
        [(question, _exactly(question)) for question in labelled],
        labelled,
        greedy,
    )


@dataclass(frozen=True)
class AuditRow:
    """A row of audit.jsonl: a question that the oracle was to answer, its answers by sample index, and the outcome.

    `oracle` is the majority of them, `agreement` its share; null where the oracle was not asked to the end.
    """

    question: str
    label: str | None
    share: float
    kept: bool
    oracle: str | None
    agreement: float | None
    answers: tuple[str | None, ...]
    outcome: Outcome

    def as_json(self) -> dict[str, Any]:
        """The row of the file."""
        return asdict(self)


@dataclass(frozen=True)
class OracleAudit:
    """What an oracle behind an endpoint found; see `Asked` for what it was not asked."""

    audit: LabelAudit
    rows: tuple[AuditRow, ...]
    asked: Asked


def chosen_for_audit(
    labelled: Sequence[LabelledQuestion], config: LabelAuditConfig, seed: int, iteration: int
) -> list[LabelledQuestion]:
    """The share of the kept and of the dropped questions that is audited, in their order.

    It follows from seed and iteration alone; a larger share holds a smaller one.
    """
    chosen: set[int] = set()
    for kept, share in ((True, config.kept_share), (False, config.dropped_share)):
        positions = [position for position, question in enumerate(labelled) if question.kept is kept]
        order = permutation(len(positions), seed, iteration, "audit", "kept" if kept else "dropped")
        # 0.1 of 30 is 3, whatever binary fractions make of it.
        wanted = math.ceil(round(share * len(positions), 9))
        chosen |= {positions[index] for index in order[:wanted]}
    return [labelled[position] for position in sorted(chosen)]


def oracle_audit(
    labelled: Sequence[LabelledQuestion],
    chosen: Sequence[LabelledQuestion],
    config: LabelAuditConfig,
    prompt: PromptTemplate,
    domain: Domain,
    endpoint: Endpoint,
    grader: Grader,
    advance: Callable[[int], object] = lambda _items: None,
) -> OracleAudit:
    """The labels of the chosen questions against a model's majority answers; `grader` is the domain's."""
    asking = [prompt.messages(question=question.answered.question.text) for question in chosen]
    messages = [tuple((turn["role"], turn["content"]) for turn in turns) for turns in asking]
    requests = [ChatRequest(turns, sample) for turns in messages for sample in range(config.samples)]
    asked = endpoint.ask(requests, advance)
    groups = [asked.answers[start : start + config.samples] for start in range(0, len(requests), config.samples)]
    answers = [[_final(answer, domain) for answer in group] for group in groups]
    rows = [
        _row(question, group, classes, given, config.least_agreement, grader)
        for question, group, classes, given in zip(
            chosen, groups, grader.equivalence_classes(answers), answers, strict=True
        )
    ]
    known = [row.agreement for row in rows if row.agreement is not None]
    pairs = [(question, row.outcome) for question, row in zip(chosen, rows, strict=True)]
    audit = replace(_counted(endpoint.model, pairs, labelled), agreement=fmean(known) if known else None)
    return OracleAudit(audit, tuple(rows), asked)


def _exactly(question: LabelledQuestion) -> Outcome:
    if question.truth is None:
        return Outcome.UNAUDITED
    if question.correct is None:
        return Outcome.UNLABELLED
    return Outcome.RIGHT if question.correct else Outcome.WRONG


def _final(answer: ChatAnswer | None, domain: Domain) -> str | None:
    """What the oracle answers in the end; None of an answer that was cut off, as of the Solver's."""
    if answer is None or not answer.finished:
        return None
    found = domain.answers.read(answer.text)
    return UNANSWERABLE if found is not None and UNANSWERABLE in found.casefold() else found


def _row(
    question: LabelledQuestion,
    group: Sequence[ChatAnswer | None],
    classes: Sequence[int | None],
    answers: Sequence[str | None],
    least_agreement: float,
    grader: Grader,
) -> AuditRow:
    vote, label = majority_vote(classes, answers), question.answered.vote.answer
    oracle: str | None = vote.answer
    agreement: float | None = vote.share
    if any(answer is None for answer in group):
        outcome, oracle, agreement = Outcome.UNAUDITED, None, None
    elif oracle is None or vote.share < least_agreement:
        outcome = Outcome.UNSURE
    elif oracle == UNANSWERABLE:
        outcome = Outcome.UNANSWERABLE
    elif label is None:
        outcome = Outcome.UNLABELLED
    else:
        outcome = Outcome.RIGHT if grader.equivalent_pairs([(label, oracle)])[0].equal else Outcome.WRONG
    text, share = question.answered.question.text, question.answered.vote.share
    return AuditRow(text, label, share, question.kept, oracle, agreement, tuple(answers), outcome)


def _counted(
    oracle: str,
    outcomes: Sequence[tuple[LabelledQuestion, Outcome]],
    labelled: Sequence[LabelledQuestion],
    greedy: Sequence[tuple[bool, bool]] = (),
) -> LabelAudit:
    """Outcomes of those audited, of which `labelled` are all that there are."""
    known = [(question, outcome is Outcome.RIGHT) for question, outcome in outcomes if outcome in _KNOWN]
    shares = sorted({question.answered.vote.share for question, _ in outcomes})
    kept = sum(question.kept for question in labelled)
    return LabelAudit(
        oracle,
        _accuracy((outcome for question, outcome in outcomes if question.kept), kept),
        _accuracy((outcome for question, outcome in outcomes if not question.kept), len(labelled) - kept),
        tuple(
            (share, _accuracy(outcome for question, outcome in outcomes if question.answered.vote.share == share))
            for share in shares
        ),
        quality=label_quality(known, greedy),
    )


def _accuracy(outcomes: Iterable[Outcome], questions: int | None = None) -> AuditedLabels:
    counts = Counter(outcomes)
    right, wrong = counts[Outcome.RIGHT], counts[Outcome.WRONG]
    estimate = accuracy([1.0] * right + [0.0] * wrong) if right + wrong else None
    return AuditedLabels(
        questions=counts.total() if questions is None else questions,
        low=estimate.low if estimate else None,
        high=estimate.high if estimate else None,
        **{outcome: counts[outcome] for outcome in Outcome},
    )
