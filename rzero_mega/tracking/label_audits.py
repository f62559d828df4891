"""Label audits of a run: what the labels phase computed, and what a model said of it later (`rzero-mega audit`)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rzero_mega.coevolution.label_audit import AuditedLabels, LabelAudit
from rzero_mega.errors import UserError
from rzero_mega.records import record_if_sound
from rzero_mega.run import Manifest, RunDirectory
from rzero_mega.run.phase import ITERATIONS
from rzero_mega.run.sealed import read_sealed
from rzero_mega.tracking.summaries import NOTHING, percent

PAPER = (0.79, 0.69, 0.63)
"""The paper's label accuracy in iterations 1 to 3, by its oracle, on 200 questions each (arXiv 2508.05004)."""

FOLDER, SUMMARY, ROWS, ANSWERS = "audit", "summary.json", "audit.jsonl", "answers.jsonl"
"""Beside an iteration's phases: what a model said of its labels, question by question, and the answers themselves."""

HEADINGS = ("iteration", "oracle", "kept", "the paper's", "dropped", "unanswerable", "unsure", "not audited")
ACCURACY_COLUMNS = ("iteration", "oracle", "p̂", "right", "wrong", "accuracy", "low", "high")


def audit_folder(run: RunDirectory, iteration: int) -> Path:
    """Where a model's audit of an iteration lies."""
    return run.path / ITERATIONS / str(iteration) / FOLDER


def label_audits(run: RunDirectory, iteration: int, labels: Manifest | None) -> tuple[LabelAudit, ...]:
    """The audits of an iteration's labels: what was computed first, then a model's; none of labels that were redone.

    `labels` is the manifest of the labels phase. UserError names a model's audit that is damaged.
    """
    if labels is None:
        return ()
    found = record_if_sound(labels.summary.get("audit"), LabelAudit)
    # A run of an earlier version has none, and a world without computable truths has none to show.
    exact = (found,) if found is not None and found.kept.asked + found.dropped.asked else ()
    path = audit_folder(run, iteration) / SUMMARY
    if not path.is_file():
        return exact
    advice = "remove it, and audit again"
    summary = read_sealed(path, advice)
    audited = labels.outputs.get("labelled")
    if audited is None or summary.get("labels") != audited.sha256:
        return exact
    model = record_if_sound(summary.get("audit"), LabelAudit)
    if model is None:
        raise UserError(f"{path}: malformed: holds no audit; {advice}")
    return (*exact, model)


def paper_accuracy(iteration: int) -> float | None:
    """What the paper has for the iteration."""
    return PAPER[iteration - 1] if 1 <= iteration <= len(PAPER) else None


def audit_rows(audits: Iterable[tuple[int, LabelAudit]]) -> list[tuple[str, ...]]:
    """Cells in the order of HEADINGS, a row per iteration and oracle."""
    rows: list[tuple[str, ...]] = []
    for iteration, audit in audits:
        both = (audit.kept, audit.dropped)
        asked = sum(labels.asked for labels in both)
        left = sum(labels.unaudited for labels in both)
        rows.append(
            (
                str(iteration),
                _oracle(audit),
                accuracy_text(audit.kept),
                percent(paper_accuracy(iteration)),
                accuracy_text(audit.dropped),
                NOTHING if audit.computed else _share(sum(labels.unanswerable for labels in both), asked),
                NOTHING if audit.computed else _share(sum(labels.unsure for labels in both), asked),
                str(left) if left else NOTHING,
            )
        )
    return rows


def accuracy_text(labels: AuditedLabels) -> str:
    """For instance "79.0 % [72.8, 84.1] of 200"."""
    if labels.accuracy is None or labels.low is None or labels.high is None:
        return NOTHING
    return f"{percent(labels.accuracy)} [{100 * labels.low:.1f}, {100 * labels.high:.1f}] of {labels.known}"


def audit_lines(audits: Iterable[tuple[int, LabelAudit]]) -> list[str]:
    """For the terminal: a line per iteration and oracle."""
    lines = []
    for iteration, audit in audits:
        both = (audit.kept, audit.dropped)
        counts = {
            name: sum(getattr(labels, name) for labels in both) for name in ("unanswerable", "unsure", "unaudited")
        }
        more = [f"{count} {name}" for name, count in counts.items() if count]
        parts = [f"kept {accuracy_text(audit.kept)}", f"dropped {accuracy_text(audit.dropped)}", *more]
        lines.append(f"labels of iteration {iteration}, by {_oracle(audit)}: {'; '.join(parts)}")
    return lines


def accuracy_rows(iteration: int, audit: LabelAudit) -> list[tuple[object, ...]]:
    """Accuracy by p̂ in the order of ACCURACY_COLUMNS, as shares."""
    return [
        (iteration, audit.oracle, p_hat, labels.right, labels.wrong, labels.accuracy, labels.low, labels.high)
        for p_hat, labels in audit.by_p_hat
        if labels.known
    ]


def _oracle(audit: LabelAudit) -> str:
    """Its name, and how far a model agrees with itself."""
    return audit.oracle if audit.agreement is None else f"{audit.oracle}, agrees {percent(audit.agreement, 0)}"


def _share(count: int, of: int) -> str:
    return percent(count / of) if of else NOTHING
