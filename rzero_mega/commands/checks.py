"""What is wrong with a start can be known before anything is started: from the configuration and the files it names.

No torch, no network, under a second. Whoever types a command is told at once, with `--dry-run` too; ranks and jobs that
follow from the command do not check again.
"""

from __future__ import annotations

import logging
import os

from rzero_mega.coevolution.plan import iteration_plan
from rzero_mega.coevolution.solver_reward import format_pieces
from rzero_mega.coevolution.uncertainty import UNCERTAINTIES
from rzero_mega.commands.scored_checks import check_scored
from rzero_mega.config.layout import ParallelLayout
from rzero_mega.config.panel import asks_paraphrases, panel_prompts, vote_sources
from rzero_mega.config.placement import placement_of
from rzero_mega.config.schema import Config
from rzero_mega.config.schema.labelled import VOTES
from rzero_mega.config.suggestions import alike
from rzero_mega.domains.domain import CheckableAnswers, Domain
from rzero_mega.domains.prompts import PLACEHOLDERS, has_prompt, prompt_of
from rzero_mega.domains.registry import domain_of
from rzero_mega.errors import UserError
from rzero_mega.evaluation.benchmarks import load_benchmarks
from rzero_mega.evaluation.endpoint.key import check_key
from rzero_mega.evaluation.readings import reading_named
from rzero_mega.evaluation.texts import ROLES, run_texts
from rzero_mega.phase_name import PhaseName
from rzero_mega.planning.layout_rules import check_learner
from rzero_mega.planning.models import known_model
from rzero_mega.rollout.sglang.server.command import check_extra_arguments
from rzero_mega.run import RunDirectory, run_path
from rzero_mega.run.determinism import deterministic_variables
from rzero_mega.tracking.gauges import halt_of

_log = logging.getLogger(__name__)
HOW_TO_EVALUATE = (
    "evaluation.benchmarks=[FILE.jsonl], a file whose lines are objects with question and answer, measures accuracy"
)


def check_start(config: Config, as_job: bool = False) -> None:
    """As `check_run`; and a warning is logged where the run would show no accuracy."""
    check_run(config, as_job)
    warn_without_accuracy(config)


def warn_without_accuracy(config: Config) -> None:
    """Log a warning where the run would show none."""
    if not config.evaluation.benchmarks:
        _log.warning("evaluation.benchmarks: empty, the run will show no accuracy; %s", HOW_TO_EVALUATE)


def check_run(config: Config, as_job: bool = False) -> None:
    """UserError for the first fault.

    `as_job` says that a job has the nodes; otherwise all processes are started on this machine.
    """
    placement, shape = placement_of(config), known_model(config.model.path)
    if shape is not None:
        layout = ParallelLayout.from_config(config.learner.layout, config.learner.processes)
        check_learner(shape, layout, config.learner.lora)
    if not as_job:
        check_key(config.evaluation.judge.endpoint, "evaluation.judge.endpoint")
    if not as_job and any(place.node for place in placement.servers):
        raise UserError("placement.nodes: servers on several nodes need a job; `rzero-mega submit` makes one")
    if config.learner.deterministic and not as_job:
        deterministic_variables(os.environ)
    if config.rollout.engine == "sglang":
        check_extra_arguments(config.rollout.sglang.extra_arguments)
    check_inference(config)
    format_pieces(config.solver.reward.format_pattern)
    path = run_path(config)
    RunDirectory.check_opening(path, config, writer=not as_job, texts=run_texts(config))
    halt = halt_of(RunDirectory.open_existing(path), config) if (path / "run.json").is_file() else None
    if halt is not None:
        raise UserError(f"{path}: {halt}")


def check_inference(config: Config) -> None:
    """UserError for a domain that lacks what is asked of it, another role's prompt, a benchmark that can't be read."""
    domain = domain_of(config)
    _check_domain(config, domain)
    asked = {"challenger", "solver", *panel_prompts(config), *(["verifier"] if config.verifier.train else [])}
    asked |= {"critic"} if config.critic.generative else set()
    for role in (role for role in ROLES if role in asked or has_prompt(config, role)):
        try:
            prompt_of(config, role).check_role(PLACEHOLDERS.get(role, ("question",)))
        except UserError as error:
            raise UserError(f"prompts.{role}: {error}") from None
    for benchmark in load_benchmarks(config.evaluation):
        reading_named(benchmark.reading, domain)


def _check_domain(config: Config, domain: Domain) -> None:
    labels, answers = config.labels, domain.answers
    if not isinstance(answers, CheckableAnswers):
        check_scored(config, domain)
        return
    unsure = config.challenger.reward.uncertainty
    if unsure not in UNCERTAINTIES:
        raise UserError(
            f"challenger.reward.uncertainty: {unsure} is of scores, and answers of domain {domain.name} are right or "
            f"wrong; set it to {' or '.join(UNCERTAINTIES)}"
        )
    if labels.label == "truth" and answers.oracle is None:
        raise UserError(f"labels.label: domain {domain.name} has no oracle that knows the truth; set it to votes")
    if config.verifier.train and answers.verdicts is None:
        raise UserError(
            f"verifier.train: domain {domain.name} does not say how a verdict is read (Verdicts); set it to false"
        )
    if config.critic.train:
        raise UserError(
            f"critic.train: answers of domain {domain.name} are right or wrong, and a Critic's are better or worse; "
            "set it to false, and maybe verifier.train to true"
        )
    exact = any(source.reexpressed for source in vote_sources(labels)) and not asks_paraphrases(labels)
    if exact and answers.reexpress is None:
        raise UserError(
            f"labels.panel.reexpression: domain {domain.name} has no exact forms; set it to paraphrase, or give nobody "
            "votes on re-expressed questions"
        )


def check_evaluation(config: Config) -> None:
    """UserError where there is nothing to score a model on, or no way to ask it."""
    if not config.evaluation.benchmarks:
        raise UserError(f"evaluation.benchmarks: empty, there is nothing to score the model on; {HOW_TO_EVALUATE}")
    check_key(config.evaluation.judge.endpoint, "evaluation.judge.endpoint")
    check_inference(config)


def check_stretch(config: Config, iteration: int, name: str | None) -> None:
    """UserError for an iteration or a phase that the run does not have; says which one may have been meant."""
    if name is not None and name not in list(PhaseName):
        close = alike(name, list(PhaseName))
        hint = f"did you mean {close}?" if close else f"there are {', '.join(PhaseName)}"
        raise UserError(f"{name}: no such phase; {hint}")
    if not 0 <= iteration <= config.iterations:
        raise UserError(
            f"iteration {iteration}: the run has 1 to {config.iterations} (iterations), and 0 for the base's evaluation"
        )
    plan = [phase.name for phase in iteration_plan(config) if phase.iteration == iteration]
    if plan if name is None else name in plan:
        return
    name = name or PhaseName.EVALUATE  # every iteration has something, but for the base's
    if iteration == 0 and name != PhaseName.EVALUATE:
        raise UserError(
            f"iteration 0: has only {PhaseName.EVALUATE}, of the base model; {name} begins with iteration 1"
        )
    if config.labelled.method != VOTES and name not in (PhaseName.SOLVER, PhaseName.EVALUATE):
        raise UserError(f"labelled.method: {config.labelled.method} trains the Solver alone; there is no phase {name}")
    keys = {
        PhaseName.EVALUATE: "evaluation.benchmarks, evaluation.base_model, labels.gauges.questions",
        PhaseName.CHALLENGER: "challenger.train",
        PhaseName.VERIFIER: "verifier.train",
        PhaseName.CRITIC: "critic.train, critic.frozen_after",
    }
    raise UserError(f"iteration {iteration}: has no phase {name} by this configuration ({keys[PhaseName(name)]})")
