"""A run directory as a real run would leave it, with made-up numbers, written through the run's own interface."""

from __future__ import annotations

import math
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from rzero_mega.atomic import write_jsonl
from rzero_mega.coevolution.gauges import Gauges
from rzero_mega.coevolution.label_guard import decide
from rzero_mega.coevolution.records import AnsweredQuestion, LabelledQuestion, WrittenQuestion
from rzero_mega.coevolution.votes import Vote
from rzero_mega.config import Config, load_config
from rzero_mega.config.schema import LabelsGuardConfig
from rzero_mega.domains.arithmetic.oracle import EXACT_ARITHMETIC
from rzero_mega.evaluation.label_audit import exact_audit
from rzero_mega.run import PhaseDirectory, RunDirectory
from rzero_mega.run.sealed import read_sealed, write_sealed

ITERATIONS, CHALLENGER_STEPS, SOLVER_STEPS, VOTES = 3, 6, 15, 10
HOSTILE = "</p><script>alert('owned')</script><img src=x onerror=alert(1)> \u202egnp.exe \x1b[31m {{ 7*7 }} \ud800"


def synthetic_config(*overrides: str) -> Config:
    """The configuration of the made-up run."""
    settings = (
        "recipe=nano",
        f"iterations={ITERATIONS}",
        f"challenger.training.steps={CHALLENGER_STEPS}",
        f"solver.training.steps={SOLVER_STEPS}",
        "evaluation.benchmarks=[arithmetic]",
        "labels.curation.low=0.3",
        "labels.curation.high=0.8",
        "tracking.wandb=offline",
        "questions.count=1500",
        "questions.per_part=500",
    )
    return load_config(overrides=[*settings, *overrides])


def write_synthetic_run(path: Path, phases: int = 1 + 5 * ITERATIONS, half_next: bool = False) -> RunDirectory:
    """The first `phases` phases of a run, and on request half of the steps of the one after; open for writing."""
    run = RunDirectory.create_or_open(path, synthetic_config(), writer=True)
    plan = [(0, "evaluate")]
    plan += [(i, name) for i in range(1, ITERATIONS + 1) for name in ("challenger", "questions", "labels", "solver")]
    plan = sorted([*plan, *((i, "evaluate") for i in range(1, ITERATIONS + 1))], key=lambda item: _order(*item))
    for number, (iteration, name) in enumerate(plan[: phases + half_next]):
        phase = run.phase(iteration, name)  # type: ignore[arg-type]
        if not phase.is_finished({}):
            _write_phase(phase, random.Random(f"{iteration} {name}"), finish=number < phases)
    return run


def _order(iteration: int, name: str) -> tuple[int, int]:
    return iteration, ("challenger", "questions", "labels", "solver", "evaluate").index(name)


def _write_phase(phase: PhaseDirectory, rng: random.Random, finish: bool) -> None:
    phase.begin({})
    outputs: dict[str, Path] = {}
    if phase.phase in ("challenger", "solver"):
        steps = CHALLENGER_STEPS if phase.phase == "challenger" else SOLVER_STEPS
        rows = [_step(phase, step / steps, rng) for step in range(1, steps + 1)]
        for step, row in enumerate(rows if finish else rows[: steps // 2], start=1):
            phase.log_step(step, row)
        summary: dict[str, Any] = {key: sum(row[key] for row in rows) / steps for key in rows[0]}
    elif phase.phase == "questions":
        summary = {
            "asked": 1500,
            "well_formed": 1410 + 20 * phase.iteration,
            "unique_share": 0.97 - 0.07 * phase.iteration,
        }
    elif phase.phase == "labels":
        rows, summary = _labels(phase.iteration, rng)
        outputs["labelled"] = phase.path / "labelled.jsonl"
        write_jsonl(outputs["labelled"], rows)
    else:
        summary = _evaluation(phase.iteration)
        outputs["scores"] = phase.path / "scores.jsonl"
        write_jsonl(outputs["scores"], _scores(phase.iteration))
    if finish:
        phase.finish(outputs, summary)
        _pretend_time(phase, rng)


def _step(phase: PhaseDirectory, done: float, rng: random.Random) -> dict[str, float]:
    noise = rng.gauss(0, 0.015)
    row = {
        "reward_mean": 0.42 + 0.2 * done + noise,
        "reward_std": 0.3 - 0.05 * done,
        "loss": -0.01 + noise / 10,
        "learning_rate": 1e-6,
        "kl": 0.02 * done**2 * (1 + rng.random() / 3),
        "entropy": 0.62 - 0.15 * done - 0.05 * phase.iteration + noise,
        "clip_fraction": 0.004 + 0.003 * rng.random(),
        "grad_norm": 0.8 + 0.4 * rng.random(),
        "response_length": 31 + 6 * done + 3 * phase.iteration + 30 * noise,
        "truncated_rate": 0.012 * rng.random(),
        "tokens_per_second": 14_000 + 900 * rng.random(),
        "generate_seconds": 2.1 + rng.random() / 3,
        "reward_seconds": 0.4 + rng.random() / 9,
        "train_seconds": 1.3 + rng.random() / 5,
        "logprob_difference": 2e-6 * (1 + rng.random()),
    }
    if phase.phase == "challenger":
        p_hat = 0.78 - 0.1 * done - 0.05 * phase.iteration + noise
        row |= {
            "p_hat_mean": p_hat,
            "difficulty": 1 - p_hat,
            "uncertainty_mean": 0.5 + 0.2 * done + noise,
            "repetition_mean": 0.06 + 0.05 * done,
            "well_formed_rate": 0.9 + 0.08 * done,
            "unique_share": 0.95 - 0.1 * done,
            "clusters_share": 0.3 - 0.1 * done,
            "answer_length": 120 + 40 * done,
            "hacking/any": 0.02 + 0.02 * done,
            "hacking/closed": 0.01,
            "hacking/several_questions": 0.02 * done,
            "hacking/template": 0.3,
            "hacking/question_chars_p50": 140.0,
        }
    return row


def _labels(iteration: int, rng: random.Random) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    rows = [_labelled(iteration, index, rng) for index in range(1500)]
    hostile = Vote(HOSTILE, 1, 3, 2, ((HOSTILE, 1), ("<b>7</b>", 1)))
    answers = (HOSTILE, None, "<b>7</b>")
    answered = AnsweredQuestion(WrittenQuestion(HOSTILE, None), hostile, answers, tokens=450)
    rows[0] = replace(rows[0], answered=answered, dropped=None)
    kept = [row for row in rows if row.kept]
    shares = [row.answered.vote.share for row in rows]
    counts = [sum(round(share * VOTES) == votes for share in shares) for votes in range(VOTES + 1)]
    reasons = [row.dropped for row in rows if row.dropped]
    return [row.as_json() for row in rows], {
        "labelled": len(rows),
        "kept": len(kept),
        "dropped": {reason: reasons.count(reason) for reason in sorted(set(reasons))},
        "p_hat_mean": sum(shares) / len(rows),
        "p_hat_histogram": {"edges": [(2 * votes - 1) / 20 for votes in range(VOTES + 2)], "counts": counts},
        "label_accuracy": sum(row.correct is True for row in kept) / len(kept),
        "label_accuracy_all": sum(row.correct is True for row in rows) / len(rows),
        "audit": exact_audit(rows, EXACT_ARITHMETIC, _greedy(kept, rng)).as_json(),
        "timeouts": 0,
        "answer_length": 150.0,
        "label_tokens": 2_250_000,
        "costs": {
            "solver": {"samples": 10_000, "tokens": 1_500_000, "seconds": 80.0, "load_seconds": 2.0},
            "base": {"samples": 5_000, "tokens": 750_000, "seconds": 40.0, "load_seconds": 3.0},
        },
        "hacking": {
            "any": 0.04 * iteration,
            "closed": 0.01 * iteration,
            "several_questions": 0.01 * iteration,
            "random_choice": 0.03 * iteration,
            "near_duplicate": 0.05,
            "seen_before": 0.02 * (iteration - 1),
            "question_chars_p50": 150.0,
            "question_chars_p90": 300.0,
            "question_chars_p99": 900.0,
        },
    }


def _greedy(kept: list[LabelledQuestion], rng: random.Random) -> list[tuple[bool, bool]]:
    """Whether the label is true and the greedy answer, which is mostly where the label is."""
    return [(label, label if rng.random() < 0.9 else not label) for label in (row.correct is True for row in kept)]


def _labelled(iteration: int, index: int, rng: random.Random) -> LabelledQuestion:
    a, b, c = rng.randint(2, 99), rng.randint(2, 99), rng.randint(2, 12)
    truth = a - b * c
    votes = min(VOTES, max(1, round(rng.gauss(7.4 - 0.9 * iteration, 2.2))))
    correct = rng.random() < 1 / (1 + math.exp(-(votes - 2 - iteration) / 1.2))
    label = truth if correct else truth + rng.choice((-20, -10, 10, 1, 100))
    others = [rng.choice([str(truth + rng.randint(-30, 30)), None]) for _ in range(VOTES - votes)]
    answers: list[str | None] = [*([str(label)] * votes), *others]
    share = votes / VOTES
    dropped = "below_band" if share < 0.3 else "above_band" if share > 0.8 else None
    if dropped is None and index % 9 == 0:
        dropped = "duplicate"
    tally = Counter(answer for answer in answers if answer is not None).most_common()
    vote = Vote(str(label), votes, VOTES, sum(count for _, count in tally), tuple(tally))
    question = WrittenQuestion(f"Compute {a} - {b} * {c}.", str(truth))
    answered = AnsweredQuestion(question, vote, tuple(rng.sample(answers, len(answers))), tokens=150 * VOTES)
    return LabelledQuestion(answered, dropped, str(truth), correct)


MEAN, GREEDY, PROBLEMS, SAMPLES = (0.351, 0.442, 0.487, 0.479), (0.468, 0.502, 0.517, 0.489), 500, 8


def _scores(iteration: int) -> list[dict[str, Any]]:
    """Each problem has a difficulty of its own, the same in every iteration; greedy answers are exactly those many."""
    difficulties, drawn = random.Random("problems"), random.Random(f"scores {iteration}")
    rows = []
    for number in range(PROBLEMS):
        easy = min(1.0, max(0.0, MEAN[iteration] + difficulties.gauss(0, 0.25)))
        mean = sum(drawn.random() < easy for _ in range(SAMPLES)) / SAMPLES
        greedy = (number * 7) % PROBLEMS < GREEDY[iteration] * PROBLEMS
        measured = {"score": mean, "mean": mean, "greedy": greedy, "vote": mean > 0.5}
        level = str(1 + number % 5)
        rows.append(
            {"benchmark": "arithmetic", "level": level, "question": f"{number}+1", "answers": ["1"], **measured}
        )
    return rows


def _evaluation(iteration: int) -> dict[str, Any]:
    mean, greedy = MEAN[iteration], GREEDY[iteration]
    by_level = {
        str(level): {"mean": max(0.02, mean + 0.27 - 0.13 * level), "greedy": max(0.03, greedy + 0.27 - 0.13 * level)}
        for level in range(1, 6)
    }
    accuracy = {"value": mean, "pass1_mean": mean, "pass1_greedy": greedy, "vote_accuracy": greedy + 0.05}
    intervals = {key: [value - 0.03, value + 0.03] for key, value in accuracy.items()}
    found = {**accuracy, "intervals": intervals, "by_level": by_level, "problems": 500}
    if not iteration:
        return found
    history = {number: _gauges(number) for number in range(iteration + 1)}
    decision = decide(iteration, {number: gauges for number, gauges in history.items() if number}, LabelsGuardConfig())
    assert decision is not None
    gauges = {"gauges": history[iteration].as_json(), "base_gauges": history[0].as_json()}
    return {**found, **gauges, "guard": decision.as_json()}


def _gauges(iteration: int) -> Gauges:
    """Of the base as 0; agreement falls below the guard's bound in the third iteration."""
    done = iteration / ITERATIONS
    return Gauges(
        questions=200,
        in_band=90 - 10 * iteration,
        agreement=1 - 0.2 * done,
        agreement_in_band=1 - 0.36 * done,
        greedy_agreement=None if iteration == 0 else 0.7 + 0.1 * done,
        entropy=1.1 - 0.6 * done,
        p_hat=0.6 + 0.2 * done,
        vote_accuracy=0.8 - 0.05 * done,
        vote_accuracy_in_band=0.93 - 0.3 * done,
        greedy_accuracy=None if iteration == 0 else 0.78 - 0.08 * done,
    )


def _pretend_time(phase: PhaseDirectory, rng: random.Random) -> None:
    """Give the finished phase a plausible duration: the manifest is otherwise as `finish` wrote it."""
    seconds = {"challenger": 26, "questions": 7, "labels": 11, "solver": 58, "evaluate": 9}[phase.phase]
    path = phase.path / "manifest.json"
    write_sealed(path, {**read_sealed(path, ""), "seconds": round(seconds * (0.9 + 0.2 * rng.random()), 1)})
