"""The command `audit`: a model answers a share of each iteration's questions, and the labels are held against it."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from rzero_mega.atomic import write_jsonl
from rzero_mega.coevolution.records import LabelledQuestion
from rzero_mega.config import Config
from rzero_mega.config.kinds import changes_between, values_of
from rzero_mega.config.load import with_overrides
from rzero_mega.domains.domain import CheckableAnswers
from rzero_mega.domains.prompts import prompt_of
from rzero_mega.domains.registry import domain_of
from rzero_mega.errors import UserError
from rzero_mega.evaluation.endpoint.client import Endpoint
from rzero_mega.evaluation.label_audit import OracleAudit, chosen_for_audit, oracle_audit
from rzero_mega.grading.grader import Grader
from rzero_mega.phase_name import PhaseName
from rzero_mega.records import read_records
from rzero_mega.run import PhaseDirectory, RunDirectory
from rzero_mega.run.sealed import write_sealed
from rzero_mega.terminal import say
from rzero_mega.tracking import Progress, WandbRun
from rzero_mega.tracking.label_audits import ANSWERS, ROWS, SUMMARY, audit_folder, audit_lines
from rzero_mega.tracking.status import run_status

SECTION = "labels.audit"
_log = logging.getLogger(__name__)


def audit_run(run: RunDirectory, iteration: int | None, overrides: Sequence[str]) -> None:
    """Audit one iteration's labels, or all that there are, print what came out, and tell W&B.

    What the overrides say holds for this audit; the run keeps its configuration. A run that is at work may be audited.
    """
    config = _configured(run.config, overrides)
    domain = domain_of(config)
    if not isinstance(domain.answers, CheckableAnswers):
        raise UserError(f"domain: answers of {domain.name} have scores, and there are no labels to audit")
    _check_prompt(config)
    labelled = _finished(run, iteration)
    with (
        Progress(f"audit of {run.path.name}", len(labelled)) as progress,
        domain.open_grader(config.grading) as grader,
    ):
        for labels in labelled:
            _audit(run, labels, config, grader, progress)
    for line in audit_lines((row.iteration, audit) for row in run_status(run).iterations for audit in row.audits):
        say(line)
    _tell_wandb(run)


def _configured(config: Config, overrides: Sequence[str]) -> Config:
    audited = with_overrides(config, overrides)
    others = [c.key for c in changes_between(values_of(config), values_of(audited)) if not c.key.startswith(SECTION)]
    if others:
        raise UserError(f"{others[0]}: decides nothing about an audit; it takes keys of {SECTION} alone")
    if audited.labels.audit.endpoint.url is None:
        raise UserError(
            f"{SECTION}.endpoint.url: is null; name a server with OpenAI's interface, for instance "
            f"{SECTION}.endpoint.url=http://127.0.0.1:30000/v1 {SECTION}.endpoint.model=NAME"
        )
    return audited


def _check_prompt(config: Config) -> None:
    prompt = prompt_of(config, "oracle")
    try:
        prompt.messages(question="")
    except UserError as error:
        raise UserError(f"{SECTION}.prompt: {error}") from None


def _finished(run: RunDirectory, iteration: int | None) -> list[PhaseDirectory]:
    wanted = [number for number in run.iterations() if number > 0] if iteration is None else [iteration]
    found = [run.phase(number, PhaseName.LABELS) for number in wanted]
    finished = [labels for labels in found if labels.manifest() is not None]
    if not finished:
        which = "" if iteration is None else f"iteration {iteration} of "
        raise UserError(f"{which}{run.path}: has no labels yet; an audit begins when its labels phase is finished")
    return finished


def _audit(run: RunDirectory, labels: PhaseDirectory, config: Config, grader: Grader, progress: Progress) -> None:
    settings, artefact, folder = config.labels.audit, labels.artefact("labelled"), audit_folder(run, labels.iteration)
    labelled = read_records(labels.output("labelled"), LabelledQuestion, sha256=artefact.sha256)
    chosen = chosen_for_audit(labelled, settings, config.seed, labels.iteration)
    with (
        Endpoint(settings.endpoint, f"{SECTION}.endpoint", folder / ANSWERS) as endpoint,
        progress.phase(labels.iteration, "audit", len(chosen) * settings.samples) as bar,
    ):
        done = 0

        def advance(items: int) -> None:
            nonlocal done
            done += items
            bar.advance(done)

        found = oracle_audit(
            labelled, chosen, settings, prompt_of(config, "oracle"), domain_of(config), endpoint, grader, advance
        )
    if found.asked.problem is not None:
        raise UserError(f"{found.asked.problem}; answers so far are kept, and the same command goes on")
    _warn_of_gaps(found)
    write_jsonl(folder / ROWS, (row.as_json() for row in found.rows))
    write_sealed(
        folder / SUMMARY,
        {
            "labels": artefact.sha256,
            "audit": found.audit.as_json(),
            "samples": settings.samples,
            "kept_share": settings.kept_share,
            "dropped_share": settings.dropped_share,
            "least_agreement": settings.least_agreement,
            "over_budget": found.asked.over_budget,
            "failed": found.asked.failed,
        },
    )


def _warn_of_gaps(found: OracleAudit) -> None:
    if found.asked.over_budget:
        _log.warning(
            "%d requests were not sent: the budget is used up (%s.endpoint.max_requests, max_total_tokens)",
            found.asked.over_budget,
            SECTION,
        )
    if found.asked.failed:
        _log.warning("%d requests stay unanswered; the same command asks them again", found.asked.failed)


def _tell_wandb(run: RunDirectory) -> None:
    """A run at work sends its audits itself, with its next step."""
    if run.config.tracking.wandb == "disabled" or run.is_alive():
        return
    try:
        opened = RunDirectory.create_or_open(run.path, run.config, writer=True)
    except UserError as error:
        _log.warning("W&B is told of the audit when the run goes on: %s", error)
        return
    with opened:
        opened.event("audited")
        WandbRun(opened).finish()
