"""Hidden quality and score of a run's Solvers on the benchmark, out of what its evaluations left."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from rzero_mega.coevolution.plan import BASE, EvaluateInputs
from rzero_mega.domains.rewriting.rows import best, brevity, measured_tasks
from rzero_mega.phase_name import PhaseName
from rzero_mega.phases import evaluate
from tests.phases.scripted import ScriptedRun
from tools.rewriting_run import answers_of

SETTINGS = (
    "domain=rewriting",
    "challenger.reward.uncertainty=spread",
    "labels.gauges.questions=0",
    "evaluation={benchmarks: ['rewriting:1'], samples: 2}",
)


def test_what_solvers_wrote_on_the_benchmark_is_judged_by_quality_and_by_score(tmp_path: Path) -> None:
    def say(prompt: str, index: int) -> str:
        row = best(prompt.removeprefix("R:").removesuffix("\nA:"))
        return row.split()[0] if index else row

    with closing(ScriptedRun(tmp_path, SETTINGS)) as run:
        run.script("solver", say)
        evaluate.run(run.ctx, run.begin(PhaseName.EVALUATE), EvaluateInputs(BASE))
        ((iteration, worth),) = answers_of(run.directory)
    tasks = [task for _, task in measured_tasks(1)]
    assert (iteration, worth.tasks, worth.greedy, worth.best) == (1, 4, 1.0, 1.0)
    assert 0.2 < worth.shortest < 0.4 and abs(worth.quality - (1 + worth.shortest) / 2) < 1e-3
    whole, first = (
        sum(brevity(task, row) for task, row in zip(tasks, rows, strict=True)) / 4
        for rows in ([best(task) for task in tasks], [best(task).split()[0] for task in tasks])
    )
    assert abs(worth.score - (whole + first) / 2) < 1e-3
