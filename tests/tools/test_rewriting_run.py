"""Hidden quality and score of a run's Solvers on the benchmark, out of what its evaluations left."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from rzero_mega.coevolution.plan import BASE, EvaluateInputs
from rzero_mega.domains.rewriting.rows import best, brevity, measured_tasks
from rzero_mega.phase_name import PhaseName
from rzero_mega.phases import evaluate
from tests.phases.scripted import ScriptedRun
from tools.rewriting_run import Answer, Scored, answers_of

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


def test_what_a_judge_overrates_is_told_task_by_task() -> None:
    answers = [
        Answer("b a", "a b", 0.6, 1.0),
        Answer("b a", "x y", 0.9, 0.0),
        Answer("b a", "a", 0.7, 0.5),
        Answer("d c", "c d", 0.95, 1.0),
        Answer("d c", "d c", 0.9, 0.7),
    ]
    scored = Scored("1/critic/model@ab", tuple(answers))
    assert scored.overrated() == [answers[1], answers[4]]
    assert scored.agreement is not None and scored.agreement < 0
    assert Scored(None, tuple(answers[3:])).agreement == 1.0
