"""A Critic's phase in several processes, for tests: `python -m tests.phases.critic_ranks CASES.json`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rzero_mega.learner.megatron import compat

compat.install()

from rzero_mega import spmd  # noqa: E402
from rzero_mega.coevolution.plan import BASE, CriticInputs, Source  # noqa: E402
from rzero_mega.domains.domain import ScoredAnswers  # noqa: E402
from rzero_mega.phase_name import PhaseName  # noqa: E402
from rzero_mega.phases import critic  # noqa: E402
from rzero_mega.phases.judging import judge_of  # noqa: E402
from rzero_mega.run import PhaseDirectory  # noqa: E402
from tests.learner.forked_ranks import LayoutCase, main, run_program  # noqa: E402
from tests.phases.on_ranks import phase_on_ranks  # noqa: E402
from tests.phases.scored import SCORED  # noqa: E402

SETTINGS = (
    "domain=rewriting",
    "critic={train: true, steps: 2, loss: {pairs_per_update: 3}, gate: {share: 0.3, pairs: 3, minimum: 0.0}}",
    # The large epsilon makes AdamW a smooth function of the gradient, as in tests/learner/test_layouts.py.
    "critic.optimizer={learning_rate: 0.03, epsilon: 0.1}",
    "labels.votes.sampling.max_new_tokens=8",
    "learner.tokens_per_micro_batch=256",
    "evaluation.benchmarks=[]",
    "run.minimum_free_mb=0",
)
ANSWERS = Source(1, PhaseName.LABELS, "scored")


def run_cases(cases: Sequence[LayoutCase], folder: Path) -> dict[str, tuple[dict[str, Any], list[float]]]:
    """Of every case by its name: what the phase says, and scores by its Critic, which all ranks had alike."""
    run_program(__name__, cases, folder)
    return {case.name: _outcome(folder / case.name) for case in cases}


def _outcome(folder: Path) -> tuple[dict[str, Any], list[float]]:
    manifest = PhaseDirectory(folder, 1, PhaseName.CRITIC).manifest()
    assert manifest is not None
    first, *others = json.loads((folder / "scores.json").read_text())
    assert all(scores == first for scores in others)
    return dict(manifest.summary), first


def _run(case: LayoutCase, folder: Path) -> None:
    settings = [*SETTINGS, f"learner.processes={case.processes}"]
    with phase_on_ranks(folder, case.name, settings, PhaseName.CRITIC, "scored", SCORED) as (ctx, phase):
        # The base is the Solver whose answers are drawn here, too: the real engine, on all ranks.
        critic.run(ctx, phase, CriticInputs(BASE, ANSWERS, rival=BASE))
        domain = ctx.domain.answers
        assert isinstance(domain, ScoredAnswers)
        judge = judge_of(ctx, domain, Source(1, PhaseName.CRITIC, "model"))
        found = spmd.all_gather(judge.scores([(row.question.text, answer) for row in SCORED for answer in row.answers]))
        if spmd.rank() == 0:
            (folder / case.name / "scores.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(LayoutCase, _run)
