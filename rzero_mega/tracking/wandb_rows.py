"""What W&B is sent: names of metrics by section, tags, and the table of questions. Pure; knows nothing of wandb.

W&B puts keys with the same beginning into one section of its page:

    eval/       accuracy, per iteration; results: a table of them with intervals and gains
    labels/     what the votes gave, what curation kept and what labels are worth, per iteration
    gauges/     what the Solver's answers to the fixed questions tell of its labels, per iteration
    verifier/   what the Verifier does on known pairs, and on real votes by the truth, per iteration
    critic/     how the Critic orders pairs, kind by kind, its bias of length and of position, its drift, per iteration
    questions/  written questions per iteration; challenger/ below it: a step's questions
    train/      challenger/ and solver/: reward, loss, KL, per step
    perf/       challenger/ and solver/: seconds and tokens per step, the learner's MFU, what servers do, what is sent
                to them; seconds/: wall time of phases, per iteration
    gpus/       where the GPU-hours of a phase went, per iteration
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from rzero_mega.coevolution.critic_measures import MeasuredCritic
from rzero_mega.coevolution.label_audit import LabelAudit
from rzero_mega.coevolution.records import LabelledQuestion
from rzero_mega.coevolution.verdicts import Measured
from rzero_mega.config import Config, presets_within
from rzero_mega.config.schema import NO_ABLATION
from rzero_mega.phase_name import TRAINING_PHASES, PhaseName
from rzero_mega.run import Manifest, RunInfo
from rzero_mega.tracking.answer_scores import SCORES
from rzero_mega.tracking.gauges import BASE_GAUGES, DECISION, GAUGES, decision_in, gauges_in
from rzero_mega.tracking.label_audits import paper_accuracy
from rzero_mega.tracking.measured import measured_if_sound
from rzero_mega.tracking.summaries import flat_numbers
from rzero_mega.tracking.words import diagnostic_text, model_text, reason_text

ITERATION = "iteration"
HISTOGRAM = "p_hat_histogram"
RESULTS = "eval/results"
ACCURACY_TABLE = "labels/accuracy_by_p_hat"
TABLE = "labels/sample"
TABLE_COLUMNS = (
    "iteration",
    "question",
    "label",
    "share",
    "kept",
    "dropped because",
    "truth",
    "label is true",
    "votes",
)
_SECTIONS = {PhaseName.QUESTIONS: "questions", PhaseName.LABELS: "labels", PhaseName.EVALUATE: "eval"}
_MEASURED: dict[PhaseName, type[Measured | MeasuredCritic]] = {
    PhaseName.VERIFIER: Measured,
    PhaseName.CRITIC: MeasuredCritic,
}
_PERFORMANCE = ("mfu", "staleness")
_PERFORMANCE_ENDS = ("_seconds", "_gb", "_mb", "_megabytes", "tokens_per_second", "slots_used")
_BY_ITERATION = ("eval", "labels", "gauges", "verifier", "critic", "questions", "perf/seconds", "gpus")
_OF_QUESTIONS = (
    "well_formed_rate",
    "p_hat_mean",
    "difficulty",
    "score_mean",
    "spread_mean",
    "uncertainty_mean",
    "repetition_mean",
    "memory_mean",
    "remembered_rate",
    "unanswered_rate",
    "unique_share",
    "clusters_share",
    "question_length",
    "answer_length",
    "flawed_rate",
)
# In a section of their own, or the same in every iteration.
_ELSEWHERE = (HISTOGRAM, GAUGES, BASE_GAUGES, DECISION)
_LONGEST_TAG = 64  # characters, W&B's limit


def step_axis(role: PhaseName) -> str:
    """The key of a role's steps, counted over all iterations: x axis of everything that is logged per step."""
    return f"train/{role}/step"


def axes() -> dict[str, str]:
    """Which axis a key is drawn over, as W&B's patterns; a pattern with more characters goes before one with fewer."""
    sections = ("train", "perf", "questions")
    by_step = {f"{section}/{role}/*": step_axis(role) for role in TRAINING_PHASES for section in sections}
    return {
        **by_step,
        **{f"{section}/*": ITERATION for section in _BY_ITERATION},
    }


def step_values(role: PhaseName, row: Mapping[str, Any], step: int, iteration: int) -> dict[str, float]:
    """A row of metrics.jsonl; `step` counts over all iterations."""
    values = {f"{_section(key)}/{role}/{_short(key)}": value for key, value in flat_numbers(row) if key != "step"}
    return {**values, step_axis(role): step, f"train/{role}/iteration": iteration}


def summary_values(manifest: Manifest) -> dict[str, float]:
    """What a finished phase came to. Of training phases only the time: the rest are means of what steps have sent."""
    values: dict[str, float] = {f"perf/seconds/{manifest.phase}": manifest.seconds, ITERATION: manifest.iteration}
    section = _SECTIONS.get(manifest.phase)
    if section is not None:
        plain = {key: value for key, value in manifest.summary.items() if key not in _ELSEWHERE}
        values |= {f"{section}/{_short(key)}": value for key, value in flat_numbers(plain)}
        values |= _gauge_values(manifest)
    kind = _MEASURED.get(manifest.phase)
    measured = None if kind is None else measured_if_sound(manifest, kind)
    if measured is not None:
        shown = {**measured.as_json(), "takes_part": float(measured.takes_part)}
        values |= {f"{manifest.phase}/{key}": value for key, value in flat_numbers(shown)}
    paper = paper_accuracy(manifest.iteration)
    if manifest.phase is PhaseName.LABELS and paper is not None and SCORES not in manifest.summary:
        values["labels/paper_label_accuracy"] = paper
    return values


def _gauge_values(manifest: Manifest) -> dict[str, float]:
    """The gauges of an evaluation, and whether the guard has found the iteration sound."""
    gauges, decision = gauges_in(manifest.summary), decision_in(manifest.summary)
    values = dict(flat_numbers({"gauges": gauges.as_json()})) if gauges is not None else {}
    return values if decision is None else {**values, "gauges/sound": float(decision.sound)}


def audit_values(iteration: int, audit: LabelAudit) -> dict[str, float]:
    """A model's audit of an iteration's labels, which comes after the phase."""
    return {ITERATION: iteration, **{f"labels/oracle/{key}": value for key, value in flat_numbers(audit.as_json())}}


def table_row(iteration: int, labelled: LabelledQuestion) -> tuple[Any, ...]:
    """A question with its votes, in the order of TABLE_COLUMNS."""
    vote = labelled.answered.vote
    return (
        iteration,
        model_text(labelled.answered.question.text),
        None if vote.answer is None else model_text(vote.answer),
        vote.share,
        labelled.kept,
        reason_text(labelled.dropped) if labelled.dropped else None,
        None if labelled.truth is None else model_text(labelled.truth),
        labelled.correct,
        ", ".join(f"{model_text(answer)} \N{MULTIPLICATION SIGN} {count}" for answer, count in vote.tally[:8]),
    )


def tags(info: RunInfo, config: Config) -> tuple[str, ...]:
    """Recipe, presets whose values the run has, ablation, base model and version, each with its kind before it.

    A run whose Solver is trained on the truth is said to be a diagnostic.
    """
    found = [f"recipe:{config.recipe}", *(f"preset:{name}" for name in presets_within(config))]
    if config.ablation != NO_ABLATION:
        found.append(f"ablation:{config.ablation}")
    if diagnostic_text(config) is not None:
        found.append("diagnostic:true_labels")
    found.append(f"model:{PurePath(config.model.path.removeprefix('asset:').removeprefix('gguf:')).name}")
    found.append(f"version:{info.versions.get('rzero-mega', 'unknown')}")
    return tuple(dict.fromkeys(tag[:_LONGEST_TAG] for tag in found))


def _section(key: str) -> str:
    if key in _PERFORMANCE or key.endswith(_PERFORMANCE_ENDS):
        return "perf"
    return "questions" if key.startswith("hacking/") or key in _OF_QUESTIONS else "train"


def _short(key: str) -> str:
    """`hacking/no_question` lies flat in a section, so that W&B makes no section of its own of it."""
    return key.replace("hacking/", "exploit_").replace("audit/quality/", "")
