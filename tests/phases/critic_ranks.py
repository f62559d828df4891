"""A Critic's phase, and those that it scores in, on several ranks: `python -m tests.phases.critic_ranks CASES.json`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rzero_mega.learner.megatron import compat

compat.install()

from rzero_mega import spmd  # noqa: E402
from rzero_mega.atomic import read_jsonl  # noqa: E402
from rzero_mega.coevolution.plan import BASE, CriticInputs, EarlierDataSets, LabelsInputs, SolverInputs, Source  # noqa: E402
from rzero_mega.domains.domain import ScoredAnswers  # noqa: E402
from rzero_mega.phase_name import PhaseName  # noqa: E402
from rzero_mega.phases import critic, labels, solver  # noqa: E402
from rzero_mega.phases.critic_scoring import scorer_of  # noqa: E402
from rzero_mega.run import PhaseDirectory  # noqa: E402
from tests.learner.forked_ranks import LayoutCase, main, run_program  # noqa: E402
from tests.phases.on_ranks import begin, leave, phase_on_ranks  # noqa: E402
from tests.phases.scored import SCORED  # noqa: E402

# The large epsilon makes AdamW a smooth function of the gradient, as in tests/learner/test_layouts.py.
OPTIMIZER = "{learning_rate: 0.03, epsilon: 0.1}"
SETTINGS = (
    "domain=rewriting",
    "model.path=asset:rewriting_base",
    "critic={train: true, steps: 2, loss: {pairs_per_update: 3}, gate: {share: 0.3, pairs: 3, minimum: 0.0}}",
    f"critic.optimizer={OPTIMIZER}",
    "labels.votes={samples: 3, sampling: {max_new_tokens: 24}}",
    "labels.curation={low: 0.0, high: 1.0}",
    "solver.training={steps: 1, prompts_per_step: 4, rollouts_per_prompt: 4, sampling: {max_new_tokens: 24}}",
    "solver.training.grpo.sequences_per_update=8",
    f"solver.training.optimizer={OPTIMIZER}",
    "learner.tokens_per_micro_batch=256",
    "evaluation.benchmarks=[]",
    "run.minimum_free_mb=0",
)
# By the beginning of a case's name.
FORMS = {
    "scalar": (),
    "generative": (
        "critic.form=generative",
        "critic.comparing={training: {steps: 1, prompts_per_step: 4, rollouts_per_prompt: 4}, max_new_tokens: 4}",
        "critic.comparing.training={sampling: {max_new_tokens: 4}, grpo: {sequences_per_update: 8}}",
        f"critic.comparing.training.optimizer={OPTIMIZER}",
        f"critic.comparing.warm_up={{steps: 40, sft: {{sequences_per_update: 16}}, optimizer: {OPTIMIZER}}}",
        "challenger.reward.uncertainty=spread",
    ),
}
ANSWERS, TRAINED = Source(1, PhaseName.LABELS, "scored"), Source(1, PhaseName.CRITIC, "model")


@dataclass(frozen=True)
class Outcome:
    """What a case left: what the Critic's phase says, scores by it, answers to other questions, a Solver's steps.

    Scores are what all ranks had alike. Answers are rows of the labels phase, steps rows of metrics.
    """

    critic: dict[str, Any]
    scores: list[float]
    answered: list[dict[str, Any]]
    steps: list[dict[str, Any]]


def run_cases(cases: Sequence[LayoutCase], folder: Path) -> dict[str, Outcome]:
    """Of every case by its name."""
    run_program(__name__, cases, folder)
    return {case.name: _outcome(folder / case.name) for case in cases}


def _outcome(folder: Path) -> Outcome:
    manifest = PhaseDirectory(folder, 1, PhaseName.CRITIC).manifest()
    assert manifest is not None
    first, *others = json.loads((folder / "scores.json").read_text())
    assert all(scores == first for scores in others)
    labels, solver = (PhaseDirectory(folder, 2, name) for name in (PhaseName.LABELS, PhaseName.SOLVER))
    return Outcome(dict(manifest.summary), first, list(read_jsonl(labels.output("scored"))), solver.metrics())


def _run(case: LayoutCase, folder: Path) -> None:
    settings = [*SETTINGS, *FORMS[case.name.partition("-")[0]], f"learner.processes={case.processes}"]
    with phase_on_ranks(folder, case.name, settings, PhaseName.CRITIC, "scored", SCORED) as (ctx, phase):
        # The base is the Solver whose answers are drawn here, too: the real engine, on all ranks.
        critic.run(ctx, phase, CriticInputs(BASE, ANSWERS, rival=BASE))
        domain = ctx.domain.answers
        assert isinstance(domain, ScoredAnswers)
        scorer = scorer_of(ctx, domain, TRAINED)
        found = spmd.all_gather(
            scorer.scores([(row.question.text, answer) for row in SCORED for answer in row.answers])
        )
        if spmd.rank() == 0:
            (folder / case.name / "scores.json").write_text(json.dumps(found))
        leave(ctx, 2, PhaseName.QUESTIONS, "questions", [row.question for row in SCORED])
        asked = LabelsInputs(BASE, Source(2, PhaseName.QUESTIONS, "questions"), EarlierDataSets(0), critic=TRAINED)
        labels.run(ctx, begin(ctx, 2, PhaseName.LABELS), asked)
        dataset = Source(2, PhaseName.LABELS, "dataset")
        solver.run(ctx, begin(ctx, 2, PhaseName.SOLVER), SolverInputs(BASE, dataset, critic=TRAINED))


if __name__ == "__main__":
    main(LayoutCase, _run)
