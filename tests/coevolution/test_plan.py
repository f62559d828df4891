from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rzero_mega.coevolution.plan import (
    BASE,
    ChallengerInputs,
    QuestionsInputs,
    SolverInputs,
    iteration_plan,
    solver_batch,
)
from rzero_mega.config import Config, ablation_names, load_config
from rzero_mega.errors import UserError
from rzero_mega.phase_name import PhaseName


def config(*overrides: str) -> Config:
    return load_config(["paper"], ["labels.gauges.questions=0", *overrides])


def lines(plan_config: Config) -> list[str]:
    return [
        f"{phase.iteration} {phase.name}: {', '.join(map(str, phase.sources))} -> {phase.output.name}"
        for phase in iteration_plan(plan_config)
    ]


def test_two_iterations_use_the_models_that_the_paper_says() -> None:
    assert lines(config("iterations=2", "evaluation.benchmarks=[arithmetic]")) == [
        "0 evaluate: base -> scores",
        "1 challenger: base, base -> model",
        "1 questions: 1/challenger/model -> questions",
        "1 labels: base, 1/questions/questions -> dataset",
        "1 solver: base, 1/labels/dataset -> model",
        "1 evaluate: 1/solver/model -> scores",
        "2 challenger: 1/challenger/model, 1/solver/model -> model",
        "2 questions: 2/challenger/model -> questions",
        "2 labels: 1/solver/model, 2/questions/questions, 1/labels/dataset -> dataset",
        "2 solver: 1/solver/model, 2/labels/dataset -> model",
        "2 evaluate: 2/solver/model -> scores",
    ]


def test_the_roles_of_the_challenger_phase_are_not_mixed_up() -> None:
    phase = next(p for p in iteration_plan(config()) if p.iteration == 2 and p.name is PhaseName.CHALLENGER)
    assert isinstance(phase.inputs, ChallengerInputs)
    assert str(phase.inputs.challenger) == "1/challenger/model"
    assert str(phase.inputs.solver) == "1/solver/model"


@pytest.mark.parametrize("method", ["grpo", "sft"])
def test_with_labelled_data_an_iteration_is_the_solver_s_phase_alone(method: str) -> None:
    data = (f"labelled.method={method}", "labelled.data=my.jsonl")
    assert lines(config("iterations=2", "evaluation.benchmarks=[arithmetic]", *data)) == [
        "0 evaluate: base -> scores",
        "1 solver: base, labelled.data -> model",
        "1 evaluate: 1/solver/model -> scores",
        "2 solver: 1/solver/model, labelled.data -> model",
        "2 evaluate: 2/solver/model -> scores",
    ]


def test_roles_may_start_from_the_base_and_still_play_against_the_newest() -> None:
    restarted = config("iterations=3", "solver.start=base", "solver.accumulate=true", "challenger.start=base")
    assert lines(restarted)[8:] == [
        "3 challenger: base, 2/solver/model -> model",
        "3 questions: 3/challenger/model -> questions",
        "3 labels: 2/solver/model, 3/questions/questions, 1/labels/dataset, 2/labels/dataset -> dataset",
        "3 solver: base, 3/labels/dataset, 1/labels/dataset, 2/labels/dataset -> model",
    ]
    assert lines(restarted)[:4] == lines(config("iterations=1"))
    accumulated = config("iterations=2", "solver.accumulate=true")
    assert (
        str(iteration_plan(accumulated)[-1]) == "2/solver: 1/solver/model, 2/labels/dataset, 1/labels/dataset -> model"
    )
    restarted_alone = config("iterations=2", "solver.start=base")
    assert lines(restarted_alone)[-1] == "2 solver: base, 2/labels/dataset -> model"


def test_a_memory_is_made_of_what_earlier_iterations_trained_on() -> None:
    phases = iteration_plan(config("challenger.reward.memory.weight=1"))
    trained = [phase for phase in phases if phase.name is PhaseName.CHALLENGER]
    assert [str(phase) for phase in trained] == [
        "1/challenger: base, base -> model",
        "2/challenger: 1/challenger/model, 1/solver/model, 1/labels/dataset -> model",
        "3/challenger: 2/challenger/model, 2/solver/model, 1..2/labels/dataset -> model",
    ]


@pytest.mark.parametrize("override", ["solver.start=base", "solver.accumulate=true"])
def test_with_labelled_data_nothing_adds_up(override: str) -> None:
    with pytest.raises(UserError, match=r"^labelled\.method: with sft all iterations have the same data"):
        config("labelled.method=sft", "labelled.data=my.jsonl", override)


def test_what_is_trained_on_anyway_is_not_replayed() -> None:
    with pytest.raises(UserError, match=r"^labels\.replay\.questions: with solver\.accumulate all earlier questions"):
        config("labels.replay.questions=5", "solver.accumulate=true")


def test_true_labels_are_not_put_to_the_vote_again() -> None:
    with pytest.raises(UserError, match=r"^labels\.replay\.questions: votes say whether an earlier label still stands"):
        config("labels.replay.questions=5", "labels.label=truth")


@pytest.mark.parametrize("role", ["challenger", "solver"])
def test_the_base_is_an_input_of_the_role_whose_loss_compares_with_it(role: str) -> None:
    without, compared = (
        iteration_plan(config("iterations=2", *overrides))
        for overrides in ((), (f"{role}.training.grpo.kl_base_coefficient=0.1",))
    )
    changed = [(a, b) for a, b in zip(without, compared, strict=True) if a != b]
    assert [(b.iteration, b.name) for _, b in changed] == [(1, role), (2, role)]
    assert all(b.sources == (*a.sources, BASE) for a, b in changed)


@pytest.mark.parametrize(("average", "needed"), [("{share: 0.1, anchor: base}", 2), ("{share: 0.1, anchor: start}", 0)])
def test_the_base_is_an_input_of_a_phase_that_averages_with_it(average: str, needed: int) -> None:
    plan = iteration_plan(config("iterations=2", f"solver.training.average={average}"))
    solvers = [phase.sources for phase in plan if phase.name is PhaseName.SOLVER]
    assert sum(sources[-1] == BASE for sources in solvers) == needed


def test_supervised_fine_tuning_has_no_kl_term() -> None:
    data = ("labelled.data=my.jsonl", "solver.training.grpo.kl_base_coefficient=0.1", "iterations=2")
    assert all(BASE in phase.sources for phase in iteration_plan(config("labelled.method=grpo", *data)))
    with pytest.raises(
        UserError, match=r"^solver\.training\.grpo\.kl_base_coefficient: labelled\.method sft has no KL"
    ):
        config("labelled.method=sft", *data)


def test_evaluation_needs_benchmarks_or_gauges_and_the_base_can_be_left_out() -> None:
    trained = [(1, name) for name in ("challenger", "questions", "labels", "solver")]
    for questions, evaluated in ((200, [(1, "evaluate")]), (0, [])):
        plan = iteration_plan(config("iterations=1", f"labels.gauges.questions={questions}"))
        assert [(phase.iteration, phase.name) for phase in plan] == trained + evaluated
    without_base = config("iterations=1", "evaluation.benchmarks=[gsm8k]", "evaluation.base_model=false")
    assert [p.iteration for p in iteration_plan(without_base) if p.name is PhaseName.EVALUATE] == [1]


def test_an_untrained_challenger_is_the_base_in_every_iteration() -> None:
    plan = iteration_plan(config("challenger.train=false"))
    assert all(phase.name is not PhaseName.CHALLENGER for phase in plan)
    writers = [phase.inputs.challenger for phase in plan if isinstance(phase.inputs, QuestionsInputs)]
    assert writers == [BASE] * 3
    assert isinstance(plan[-1].inputs, SolverInputs) and str(plan[-1].inputs.solver) == "2/solver/model"


@pytest.mark.parametrize("ablation", ["none", *ablation_names()])
def test_nothing_is_read_before_it_is_written(ablation: str) -> None:
    written = {"base"}
    for phase in iteration_plan(config(f"ablation={ablation}", "evaluation.benchmarks=[arithmetic]")):
        assert {str(source) for source in phase.sources} <= written
        written.add(str(phase.output))
    assert "3/solver/model" in written


def test_a_critic_is_trained_after_the_labels_and_scores_its_solver_and_the_next_labels() -> None:
    plan = [str(phase) for phase in iteration_plan(config("critic={train: true, rival_answers: 1}", "iterations=2"))]
    assert plan == [
        "1/challenger: base, base -> model",
        "1/questions: 1/challenger/model -> questions",
        "1/labels: base, 1/questions/questions -> dataset",
        "1/critic: base, 1/labels/scored -> model",
        "1/solver: base, 1/labels/dataset, 1/critic/model -> model",
        "2/challenger: 1/challenger/model, 1/solver/model, 1/critic/model -> model",
        "2/questions: 2/challenger/model -> questions",
        "2/labels: 1/solver/model, 2/questions/questions, 1/labels/dataset, 1/critic/model -> dataset",
        "2/critic: 1/critic/model, 2/labels/scored, base, 1/critic/model, 1/labels/scored -> model",
        "2/solver: 1/solver/model, 2/labels/dataset, 2/critic/model -> model",
    ]
    without = iteration_plan(config("critic={train: true, fixed_answers: 0}", "iterations=2"))
    assert "2/critic: 1/critic/model, 2/labels/scored -> model" in map(str, without)


def test_the_solver_that_gave_a_critic_s_answers_is_asked_for_parts_of_questions() -> None:
    plan = iteration_plan(config("critic={train: true, recombined_answers: 2, fixed_answers: 0}"))
    assert [str(phase) for phase in plan if phase.name is PhaseName.CRITIC][:2] == [
        "1/critic: base, 1/labels/scored, base -> model",
        "2/critic: 1/critic/model, 2/labels/scored, 1/solver/model -> model",
    ]


def test_a_frozen_critic_is_trained_no_more_and_scores_on() -> None:
    frozen = config("critic={train: true, frozen_after: 2}", "iterations=4")
    plan = iteration_plan(frozen)
    assert [phase.iteration for phase in plan if phase.name is PhaseName.CRITIC] == [1, 2]
    scorers = [str(source) for phase in plan for source in phase.sources if source.phase is PhaseName.CRITIC]
    # The Solver of iteration 1, then Challenger and labels; what the second is trained from and held against.
    assert scorers == ["1/critic/model"] * 5 + ["2/critic/model"] * 7


def test_the_phases_are_named_as_folders_and_jobs_are() -> None:
    names = ["challenger", "questions", "labels", "verifier", "critic", "solver", "evaluate"]
    assert [str(name) for name in PhaseName] == names


@pytest.mark.parametrize(
    ("preset", "challenger", "solver"), [("paper", 16, 20), ("official_code", 32, 4), ("nano", 1, 1)]
)
def test_updates_of_a_step(preset: str, challenger: int, solver: int) -> None:
    loaded = load_config([preset] if preset != "nano" else ["paper", "nano"])
    for training, updates in ((loaded.challenger.training, challenger), (loaded.solver.training, solver)):
        sequences = training.prompts_per_step * training.rollouts_per_prompt
        assert divmod(sequences, training.grpo.sequences_per_update) == (updates, 0)


@given(st.integers(1, 30), st.integers(1, 12), st.integers(1, 40), st.integers(0, 2**63))
def test_batches_walk_through_whole_epochs(n_kept: int, steps: int, size: int, seed: int) -> None:
    row = [index for step in range(1, steps + 1) for index in solver_batch(n_kept, step, size, seed)]
    assert len(row) == steps * size
    for start in range(0, len(row), n_kept):
        epoch = row[start : start + n_kept]
        assert len(set(epoch)) == len(epoch)
        assert set(epoch) <= set(range(n_kept))
    counts = Counter(row)
    assert max(counts.values()) - min(counts.get(index, 0) for index in range(n_kept)) <= 1


def test_batches_are_shuffled_anew_by_epoch_and_seed() -> None:
    first, second = solver_batch(64, 1, 64, seed=0), solver_batch(64, 2, 64, seed=0)
    assert first != list(range(64)) and first != second
    assert solver_batch(64, 1, 64, seed=1) != first
    assert solver_batch(64, 1, 64, seed=0) == first


def test_trap_4_fewer_questions_than_a_batch_wrap_around() -> None:
    assert Counter(solver_batch(3, 1, 8, seed=0)).most_common()[0][1] == 3
    assert solver_batch(1, 5, 4, seed=0) == [0, 0, 0, 0]


def test_batches_need_a_question_and_a_step() -> None:
    for n_kept, step in ((0, 1), (5, 0)):
        with pytest.raises(ValueError):
            solver_batch(n_kept, step, 4, seed=0)


def test_a_verifier_follows_the_labels_and_has_a_say_in_those_of_the_next_iteration() -> None:
    plan = lines(config("iterations=2", "verifier.train=true"))
    assert plan == [
        "1 challenger: base, base -> model",
        "1 questions: 1/challenger/model -> questions",
        "1 labels: base, 1/questions/questions -> dataset",
        "1 verifier: base, 1/labels/labelled -> model",
        "1 solver: base, 1/labels/dataset -> model",
        "2 challenger: 1/challenger/model, 1/solver/model -> model",
        "2 questions: 2/challenger/model -> questions",
        "2 labels: 1/solver/model, 2/questions/questions, 1/labels/dataset, 1/verifier/model -> dataset",
        "2 verifier: 1/verifier/model, 2/labels/labelled -> model",
        "2 solver: 1/solver/model, 2/labels/dataset -> model",
    ]
    without = lines(config("iterations=2"))
    assert without == [line.replace(", 1/verifier/model", "") for line in plan if " verifier: " not in line]


def test_a_verifier_that_is_held_to_the_base_starts_from_it_too() -> None:
    held = iteration_plan(config("verifier.train=true", "verifier.training.grpo.kl_base_coefficient=0.1"))
    assert [phase.sources[-1] for phase in held if phase.name is PhaseName.VERIFIER] == [BASE] * 3
