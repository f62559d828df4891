"""What the guard decides about known gauges, and what the plan makes of its decisions."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rzero_mega.coevolution.gauges import Gauges
from rzero_mega.coevolution.label_guard import Decision, decide, last_sound, objections
from rzero_mega.coevolution.plan import GUARDS_PANEL, PhasePlan, iteration_plan
from rzero_mega.config import Config, load_config
from rzero_mega.config.schema import LabelsGuardConfig
from rzero_mega.errors import UserError
from rzero_mega.phase_name import PhaseName

FIRST = Gauges(200, 80, agreement=0.9, agreement_in_band=0.9, greedy_agreement=0.8, entropy=1.0, p_hat=0.6)
SOUND = replace(FIRST, agreement_in_band=0.7, greedy_agreement=0.7, entropy=0.4)
LEFT = replace(FIRST, agreement_in_band=0.69)
GUARD = LabelsGuardConfig()


@pytest.mark.parametrize(
    ("gauges", "key"),
    [
        (LEFT, "least_agreement"),
        (replace(FIRST, greedy_agreement=0.69), "greedy_fall"),
        (replace(FIRST, entropy=0.39), "entropy_left"),
    ],
)
def test_a_bound_that_is_crossed_is_named(gauges: Gauges, key: str) -> None:
    (reason,) = objections(3, {1: FIRST, 3: gauges}, GUARD)
    assert f" {key} " in reason
    off = LabelsGuardConfig(least_agreement=0.0, greedy_fall=1.0, entropy_left=0.0)
    assert objections(3, {1: FIRST, 3: gauges}, off) == ()


def test_the_bounds_themselves_are_sound() -> None:
    assert objections(2, {1: FIRST, 2: replace(SOUND, greedy_agreement=0.71)}, GUARD) == ()


def test_an_agreement_of_few_questions_tells_nothing() -> None:
    assert objections(1, {1: replace(LEFT, in_band=19)}, GUARD) == ()
    assert objections(1, {1: replace(LEFT, in_band=20)}, GUARD) != ()


def test_without_the_first_iterations_gauges_only_the_base_is_compared_with() -> None:
    assert objections(3, {3: replace(FIRST, entropy=0.01, greedy_agreement=0.0)}, GUARD) == ()
    assert len(objections(3, {3: LEFT}, GUARD)) == 1


@pytest.mark.parametrize(
    ("action", "start", "widened"),
    [("warn", 3, False), ("stop", 3, False), ("widen", 3, True), ("roll_back", 2, False)],
)
def test_an_action_decides_how_the_run_goes_on(action: str, start: int, widened: bool) -> None:
    decision = decide(3, {1: FIRST, 2: SOUND, 3: LEFT}, LabelsGuardConfig(action=action))
    assert decision is not None and not decision.sound
    assert (decision.action, decision.start, decision.widened) == (action, start, widened)
    assert Decision.from_json(decision.as_json()) == decision


def test_nothing_comes_of_a_sound_iteration() -> None:
    for action in ("warn", "stop", "widen", "roll_back"):
        decision = decide(2, {1: FIRST, 2: SOUND}, LabelsGuardConfig(action=action))
        assert decision == Decision(action, (), start=2, widened=False)


def test_a_panel_that_was_widened_stays_so() -> None:
    decision = decide(3, {1: FIRST, 3: SOUND}, LabelsGuardConfig(action="warn"), widened=True)
    assert decision is not None and decision.widened


def test_nobody_decides_with_the_guard_off_or_without_gauges() -> None:
    assert decide(3, {3: LEFT}, LabelsGuardConfig(action="off")) is None
    assert decide(3, {1: FIRST}, GUARD) is None


def test_the_last_sound_iteration_is_the_base_where_none_is() -> None:
    assert last_sound(3, {1: FIRST, 2: LEFT, 3: LEFT}, GUARD) == 1
    assert last_sound(2, {1: LEFT, 2: LEFT, 3: FIRST}, GUARD) == 0
    assert last_sound(0, {}, GUARD) == 0


def config(*overrides: str) -> Config:
    return load_config(["paper", "nano"], ["iterations=3", *overrides])


def phase(settings: Config, decided: dict[int, Decision], iteration: int, name: PhaseName) -> PhasePlan:
    plans = iteration_plan(settings, decided)
    return next(plan for plan in plans if (plan.iteration, plan.name) == (iteration, name))


def test_after_a_roll_back_all_of_an_iteration_starts_from_the_sound_solver() -> None:
    decided = {2: Decision("roll_back", ("unsound",), start=1, widened=False)}
    assert [str(plan) for plan in iteration_plan(config("labels.panel.earlier=3"), decided) if plan.iteration == 3] == [
        "3/challenger: 2/challenger/model, 1/solver/model -> model",
        "3/questions: 3/challenger/model -> questions",
        "3/labels: 1/solver/model, 3/questions/questions, 1..2/labels/dataset, base -> dataset",
        "3/solver: 1/solver/model, 3/labels/dataset -> model",
        "3/evaluate: 3/solver/model -> scores",
    ]


def test_with_no_sound_iteration_the_run_starts_again_from_the_base() -> None:
    decided = {1: Decision("roll_back", ("unsound",), start=0, widened=False)}
    assert str(phase(config(), decided, 2, PhaseName.SOLVER)) == "2/solver: base, 2/labels/dataset -> model"


def test_models_of_a_widened_panel_become_inputs_of_the_labels() -> None:
    settings = config("labels.guard={action: widen, panel: {base: 5}}")
    decided = {2: Decision("widen", ("unsound",), start=2, widened=True)}
    before, after = (phase(settings, decided, number, PhaseName.LABELS) for number in (2, 3))
    assert str(before) == str(phase(config(), {}, 2, PhaseName.LABELS))
    assert (
        str(after)
        == "3/labels: 2/solver/model, 3/questions/questions, 1..2/labels/dataset, base, labels.guard.panel -> dataset"
    )


def test_a_widened_panel_is_told_from_one_of_the_same_models() -> None:
    settings = config("labels.panel={base: 1}", "labels.guard={action: widen, panel: {base: 5}}")
    decided = {2: Decision("widen", ("unsound",), start=2, widened=True)}
    asked = [phase(settings, decisions, 3, PhaseName.LABELS).sources for decisions in ({}, decided)]
    assert asked[1] == (*asked[0], GUARDS_PANEL)


def test_where_solvers_start_from_the_base_a_roll_back_is_of_who_votes() -> None:
    decided = {2: Decision("roll_back", ("unsound",), start=1, widened=False)}
    labels, solver = (
        str(phase(config("solver.start=base"), decided, 3, name)) for name in (PhaseName.LABELS, PhaseName.SOLVER)
    )
    assert labels.startswith("3/labels: 1/solver/model, ") and solver.startswith("3/solver: base, ")


@pytest.mark.parametrize("action", ["off", "warn", "stop", "roll_back"])
def test_as_long_as_nothing_is_unsound_the_plan_is_what_it_is_without_a_guard(action: str) -> None:
    sound = {number: Decision(action, (), start=number, widened=False) for number in (1, 2)}
    guarded = iteration_plan(config(f"labels.guard.action={action}"), sound)
    assert guarded == iteration_plan(config("labels.guard.action=off"))


def test_phases_are_the_same_whatever_is_decided() -> None:
    decided = {1: Decision("roll_back", ("unsound",), start=0, widened=True)}
    names = [(plan.iteration, plan.name) for plan in iteration_plan(config())]
    assert [(plan.iteration, plan.name) for plan in iteration_plan(config(), decided)] == names


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["labels.guard.action=widen"], r"labels\.guard\.panel: gives nobody a vote"),
        (["labels.guard={action: widen, panel: {base: 16}}"], r"labels\.guard\.panel: gives away 16 votes of 15"),
        (["labels.guard={action: warn, panel: {base: 16}}"], r"labels\.guard\.panel: gives away 16 votes of 15"),
        (
            ["labels.guard={action: widen, panel: {base: 15}}", "labels.panel.base=5", "labels.weighting=confidence"],
            r"labels\.guard\.panel: labels\.weighting confidence compares sources",
        ),
        (
            ["labels.guard={action: widen, panel: {base: 1}}", "labels.curation.minimum_support=2"],
            r"labels\.curation\.minimum_support: is 2, and by labels\.guard\.panel the source base has 1 of 15 votes",
        ),
        (["labels.guard.action=stop", "labels.gauges.questions=0"], r"labels\.guard\.action: stop goes by gauges"),
        (
            ["labels.guard.action=stop", "labelled={method: sft, data: my.jsonl}"],
            r"labels\.guard\.action: stop goes by the gauges of votes, and with labelled\.method sft nobody votes",
        ),
        (
            ["labels.guard.action=roll_back", "solver={start: base, accumulate: true}"],
            r"labels\.guard\.action: after a roll_back solver\.accumulate would go on training",
        ),
    ],
)
def test_a_guard_that_could_not_act_is_refused_before_anything_starts(overrides: list[str], line: str) -> None:
    with pytest.raises(UserError, match=line):
        config(*overrides)
