"""A run with a Critic is told of with it: its phase, its steps, and what it was measured to do."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

from rzero_mega.coevolution.comparisons import OrderEffects
from rzero_mega.coevolution.critic_measures import Drift, LengthBias, MeasuredCritic, Reliability
from rzero_mega.phase_name import PhaseName
from rzero_mega.run import RunDirectory
from rzero_mega.tracking.critic import critic_lines
from rzero_mega.tracking.report import write_report
from rzero_mega.tracking.status import run_status
from rzero_mega.tracking.wandb_rows import summary_values
from tests.tracking.synthetic import synthetic_config

KINDS = {"solver_over_base": Reliability(40, 31.0), "broken_order": Reliability(40, 18.0)}
MEASURED = MeasuredCritic(KINDS, 0.6, LengthBias(-0.25, -0.1, 30.0), Drift(0.75, 0.125), 0.5, close_below=0.6)


def test_status_report_and_wandb_tell_what_it_was_measured_to_do(tmp_path: Path) -> None:
    config = synthetic_config("critic.train=true", "critic.steps=2", "iterations=2")
    with closing(RunDirectory.create_or_open(tmp_path / "run", config, writer=True)) as run:
        phase, base = run.phase(1, PhaseName.CRITIC), run.phase(0, PhaseName.EVALUATE)
        base.begin({})
        base.finish({}, {})
        phase.begin({})
        for step in (1, 2):
            phase.log_step(step, {"loss": 0.5, "grad_norm": 1.0})
        phase.finish({}, {"measured": MEASURED.as_json()})
        status = run_status(run)
        assert status.iterations[1].phases[PhaseName.CRITIC].state == "finished"
        assert PhaseName.VERIFIER not in status.phases
        (line,) = critic_lines((row.iteration, row.critic) for row in status.iterations)
        assert line == "C1: right order of solver_over_base 77.5 %, broken_order 45.0 % (closed)"
        write_report(run, run.path / "report.html")
        shown = (run.path / "report.html").read_text()
        for words in ("Can the Critic be trusted?", "Critic: loss", "77.5 % of 40", "+0.75", "-0.25"):
            assert words in shown, words
        manifest = phase.manifest()
        assert manifest is not None
        sent = summary_values(manifest)
    assert sent["critic/kinds/broken_order/share"] == 0.45 and sent["critic/takes_part"] == 1.0
    assert "names the first" not in shown and not any(key.startswith("critic/order/") for key in sent)


def test_what_the_order_of_two_answers_does_to_verdicts_is_told_with_it(tmp_path: Path) -> None:
    compared = ("critic.form=generative", "critic.comparing.training.sampling.max_new_tokens=16")
    config = synthetic_config("critic.train=true", *compared, "challenger.reward.uncertainty=spread", "iterations=2")
    measured = replace(MEASURED, drift=Drift(0.75, None), order=OrderEffects(120, 0.625, 0.71, None))
    with closing(RunDirectory.create_or_open(tmp_path / "run", config, writer=True)) as run:
        phase = run.phase(1, PhaseName.CRITIC)
        phase.begin({})
        for step in (1, 2):
            phase.log_step(step, {"loss": 0.5, "grad_norm": 1.0, "reward_mean": 0.5, "reward_std": 0.1})
        phase.finish({}, {"measured": measured.as_json()})
        (line,) = critic_lines((row.iteration, row.critic) for row in run_status(run).iterations)
        assert line.endswith("broken_order 45.0 % (closed); names the first 62.5 %, orders agree 71.0 %, unread –")
        write_report(run, run.path / "report.html")
        shown = (run.path / "report.html").read_text()
        for words in ("names the first", "62.5 %", "71.0 %", "Critic: reward"):
            assert words in shown, words
        assert "Critic: loss" not in shown
        manifest = phase.manifest()
        assert manifest is not None
        sent = summary_values(manifest)
    assert sent["critic/order/position_bias"] == 0.625 and sent["critic/order/agreement"] == 0.71
