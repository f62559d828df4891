from __future__ import annotations

import re
from dataclasses import asdict
from operator import attrgetter
from pathlib import Path

import pytest

from rzero_mega.config import Config, config_from_yaml, load_config, preset_names, to_yaml, with_overrides
from rzero_mega.config.explain import all_keys
from rzero_mega.config.suggestions import SYNONYMS
from rzero_mega.errors import UserError


def error_of(*overrides: str, presets: tuple[str, ...] = ()) -> str:
    with pytest.raises(UserError) as caught:
        load_config(presets, overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_presets_of_the_specification_are_shipped() -> None:
    assert {"paper", "official_code", "nano"} <= set(preset_names())
    assert preset_names() == sorted(preset_names())


@pytest.mark.parametrize("preset", preset_names())
def test_every_preset_loads_and_survives_a_round_trip_through_yaml(preset: str, tmp_path: Path) -> None:
    config = load_config([preset], ["seed=7", "evaluation.benchmarks=[gsm8k,amc23]", "challenger.training.use_step=1"])
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(config), encoding="utf-8")
    again = config_from_yaml(path)
    assert again == config
    assert to_yaml(again) == to_yaml(config)


def test_without_arguments_the_defaults_are_loaded() -> None:
    assert load_config() == Config()


def test_later_presets_win_over_earlier_ones_and_overrides_over_all() -> None:
    config = load_config(["official_code", "nano"], ["challenger.votes.samples=12"])
    assert config.challenger.reward.uncertainty == "min"
    assert config.model.path == "asset:nano_base"
    assert config.challenger.votes.samples == 12
    assert config.labels.votes.samples == 15


def test_a_preset_can_be_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("solver:\n  training:\n    steps: 3\n", encoding="utf-8")
    assert load_config(["paper", str(path)]).solver.training.steps == 3


def test_loaded_configurations_share_nothing() -> None:
    one, other = load_config(["paper"]), load_config(["paper"])
    one.challenger.votes.sampling.top_k = 1
    one.labels.curation.drop_answers.append("x")
    assert other.challenger.votes.sampling.top_k == 40
    assert one.labels.votes.sampling.top_k == 40
    assert other == Config()


@pytest.mark.parametrize(
    ("override", "key", "hint"),
    [
        ("iteration=3", "iteration", "iterations"),
        ("challenger.training.step=3", "challenger.training.step", "steps"),
        ("labels.curation.lo=0.3", "labels.curation.lo", "low"),
        ("solver.reward.foo=1", "solver.reward.foo", "there are"),
        ("challenger.votes.sampling.topk=3", "challenger.votes.sampling.topk", "top_k"),
        ("lr=1e-4", "lr", "did you mean solver.training.optimizer.learning_rate or challenger.training.optimizer."),
        ("solver.lr=1e-4", "solver.lr", "did you mean solver.training.optimizer.learning_rate"),
        ("solver.trainig.steps=3", "solver.trainig", "did you mean solver.training?"),
        ("slover.training.steps=3", "slover", "did you mean solver?"),
        ("learning-rate=1", "learning-rate", "solver.training.optimizer.learning_rate"),
        ("max_tokens=9", "max_tokens", "sampling.max_new_tokens"),
        ("n_gpus=8", "n_gpus", "did you mean learner.processes?"),
        ("name=x", "name", "did you mean run.name?"),
    ],
)
def test_an_unknown_key_is_named_with_a_suggestion(override: str, key: str, hint: str) -> None:
    message = error_of(override)
    assert message.startswith(f"{key}: no such key") and hint in message


@pytest.mark.parametrize("meant", SYNONYMS.values())
def test_what_other_frameworks_call_otherwise_is_a_key_here(meant: str) -> None:
    assert any(name.rpartition(".")[2] == meant for name in all_keys())


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "evaluation.benchmarks=math500",
            "evaluation.benchmarks: 'math500' is not a list (in 'evaluation.benchmarks=math500'); "
            "write for instance evaluation.benchmarks=[math500]",
        ),
        ("seed=", "seed: has no value (in 'seed='); write for instance seed=0"),
        ("seed=one", "seed: 'one' is not a whole number (in 'seed=one'); write for instance seed=0"),
        (
            "challenger.training=3",
            "challenger.training: is a section (in 'challenger.training=3'); set a key of it, "
            "for instance challenger.training.steps=...",
        ),
        ("seed", "'seed': a setting is written key=value, for instance seed=1"),
        ("=3", "'=3': a setting is written key=value, for instance seed=1"),
    ],
)
def test_a_value_that_does_not_fit_is_answered_with_what_to_write(override: str, message: str) -> None:
    assert error_of(override) == message


ODD = ("", "null", "x", "3", "-1", "1e-4", "[1]", "[[x]]", "{a: 1}", "true", ".nan", ".inf", "1e308", str(10**400))


def test_any_value_of_any_key_is_taken_or_refused_in_one_line_that_names_it() -> None:
    for number, name in enumerate(all_keys()):  # each key with one of them: all with all take minutes
        try:
            load_config([], [f"{name}={ODD[number % len(ODD)]}"])
        except UserError as error:
            assert "\n" not in str(error) and "full_key" not in str(error)
            # Where two keys contradict each other, the other one may be named.
            assert name.rpartition(".")[2] in str(error) or f"{name.partition('.')[0]}." in str(error), str(error)


def test_an_unknown_key_in_a_file_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("solver: {trainig: {steps: 3}}\n", encoding="utf-8")
    message = error_of(presets=(str(path),))
    assert message.startswith("solver.trainig: no such key") and "mine.yaml" in message and "training" in message


@pytest.mark.parametrize(
    "override",
    [
        "iterations=many",
        "iterations=2.5",
        "challenger.training=3",
        "labels.curation.low=low",
        "labels.curation.drop_duplicates=perhaps",
        "solver.training.optimizer.learning_rate=[1]",
        "labels.curation.drop_answers=text",
    ],
)
def test_a_value_of_the_wrong_type_is_an_error_that_names_its_key(override: str) -> None:
    assert override.split("=")[0] in error_of(override)


def test_null_is_no_value_unless_the_field_allows_it() -> None:
    assert error_of("iterations=null").startswith("iterations")
    assert load_config([], ["solver.training.grpo.dual_clip=null"]).solver.training.grpo.dual_clip is None


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("iterations=0", "iterations"),
        ("seed=-1", "seed"),
        ("ablation=no_votes", "ablation"),
        ("challenger.reward.uncertainty=entropy", "challenger.reward.uncertainty"),
        ("challenger.reward.repetition.tokenizer=words", "challenger.reward.repetition.tokenizer"),
        ("challenger.reward.repetition.distance_threshold=1.5", "challenger.reward.repetition.distance_threshold"),
        ("challenger.votes.samples=0", "challenger.votes.samples"),
        ("labels.votes.unanswered=drop", "labels.votes.unanswered"),
        ("labels.curation.high=1.1", "labels.curation.high"),
        ("solver.training.rollouts_per_prompt=1", "solver.training.rollouts_per_prompt"),
        ("solver.training.sampling.top_p=1.01", "solver.training.sampling.top_p"),
        ("solver.training.grpo.advantage.ddof=2", "solver.training.grpo.advantage.ddof"),
        ("questions.sampling.temperature=-0.1", "questions.sampling.temperature"),
        ("learner.dtype=float16", "learner.dtype"),
    ],
)
def test_an_impossible_value_is_an_error_that_names_its_key(override: str, key: str) -> None:
    assert error_of(override).startswith(f"{key}: ")


@pytest.mark.parametrize(
    "bound", ["labels.curation.low=0", "labels.curation.high=1", "solver.training.sampling.top_p=1"]
)
def test_bounds_are_inclusive(bound: str) -> None:
    load_config([], [bound])


@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        (["labels.curation.low=0.8", "labels.curation.high=0.2"], "labels.curation.low"),
        (["challenger.training.use_step=6"], "challenger.training.use_step"),
        (["solver.training.average.share=1"], "solver.training.average.share"),
        (["solver.training.grpo.sequences_per_update=100"], "solver.training.grpo.sequences_per_update"),
        (["learner.layout.tp=2"], "learner.processes"),
        (["learner.profile=[1, 0]"], "learner.profile"),
        (["learner.profile=[1, 16]"], "learner.profile"),
        (["learner.layout.sequence_parallel=true"], "learner.layout.sequence_parallel"),
        (["learner.fp8.parameters=true"], "learner.fp8.parameters"),
        (["learner.lora.modules=[q_proj]"], "learner.lora.modules"),
        (["learner.lora.rank=8", "learner.lora.modules=[]"], "learner.lora.modules"),
        (["learner.lora.rank=8", "learner.fp8.format=hybrid"], "learner.lora.rank"),
        (["learner.tokens_per_micro_batch=4096"], "learner.tokens_per_micro_batch"),
    ],
)
def test_values_that_contradict_each_other_are_an_error_that_names_a_key(overrides: list[str], key: str) -> None:
    assert error_of(*overrides).startswith(f"{key}: ")


@pytest.mark.parametrize("role", ["challenger", "solver"])
def test_a_response_must_leave_room_for_a_prompt_in_a_micro_batch(role: str) -> None:
    load_config([], ["learner.tokens_per_micro_batch=4097"])
    message = error_of(f"{role}.training.sampling.max_new_tokens=16384")
    assert message.startswith("learner.tokens_per_micro_batch: 16384 tokens")
    assert f"{role}.training.sampling.max_new_tokens" in message


@pytest.mark.parametrize(
    ("presets", "complaint"),
    [
        (("pape",), "pape: no such recipe, preset or YAML file; did you mean paper?"),
        (("missing.yaml",), "missing.yaml: no such file; there are folklore, hardened, nano, nano_labelled, "),
    ],
)
def test_a_missing_preset_lists_those_that_exist(presets: tuple[str, ...], complaint: str) -> None:
    message = error_of(presets=presets)
    assert message.startswith(complaint)


@pytest.mark.parametrize("text", ["a: [", "- 1\n- 2\n", "just text\n", "seed: !!python/object/apply:os.getcwd []\n"])
def test_a_malformed_file_is_the_users_error(text: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text, encoding="utf-8")
    assert "bad.yaml" in error_of(presets=(str(path),))


@pytest.mark.parametrize("override", ["seed", "=3", "seed=[", ""])
def test_a_malformed_override_is_the_users_error(override: str) -> None:
    error_of(override)


def test_no_field_of_the_schema_is_left_out_of_the_yaml(tmp_path: Path) -> None:
    text = to_yaml(Config())

    def keys(node: dict[str, object]) -> set[str]:
        return {
            name
            for key, value in node.items()
            for name in ({key} | (keys(value) if isinstance(value, dict) else set()))
        }

    assert all(f"{key}:" in text for key in keys(asdict(Config())))


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_a_number_that_is_not_finite_is_refused(value: str) -> None:
    with pytest.raises(UserError, match=r"^labels\.curation\.low: "):
        load_config(["paper"], [f"labels.curation.low={value}"])


def test_overrides_win_over_a_configuration_built_in_python_and_leave_it_alone() -> None:
    built = load_config(["paper"])
    built.learner.layout.tp = 2
    built.learner.processes = 4
    changed = with_overrides(built, ["learner.processes=8", "seed=3"])
    assert (changed.learner.layout.tp, changed.learner.processes, changed.seed) == (2, 8, 3)
    assert (built.learner.processes, built.seed) == (4, 0)


def test_a_configuration_built_in_python_is_checked_like_a_loaded_one() -> None:
    built = load_config(["paper"])
    built.learner.layout.tp = 3
    with pytest.raises(UserError, match=r"^learner\.processes"):
        with_overrides(built, [])
    with pytest.raises(UserError, match=r"^learner\.layout\.tpp: no such key"):
        with_overrides(load_config(["paper"]), ["learner.layout.tpp=1"])


def test_colocated_servers_are_not_asked_to_draw_while_the_learner_trains() -> None:
    ahead = ["rollout.engine=sglang", "solver.training.ahead=1", "solver.training.grpo.importance_cap=2.0"]
    assert error_of(*ahead, presets=("paper",)).startswith("placement.servers: colocated")
    assert load_config(["paper"], [*ahead, "placement.servers=split"]).solver.training.ahead == 1
    assert load_config(["paper"], ["rollout.engine=embedded", *ahead[1:]]).solver.training.ahead == 1


LIMITS = (
    "rollout.sglang.request_timeout_s",
    "rollout.sglang.hang_timeout_s",
    "learner.hang_timeout_s",
    "learner.collective_timeout_s",
)


@pytest.mark.parametrize("number", range(3))
def test_who_waits_for_another_waits_longer_than_the_other_may_take(number: int) -> None:
    """A server's answer, a server's standstill, a rank's, a collective; a job's wall time: tests/cluster."""
    engine = "rollout.engine=sglang"
    values = [float(explained(key, engine)) for key in LIMITS]
    assert values == sorted(values)
    wrong = [engine, f"{LIMITS[number]}={values[number + 1]}"]
    message = f"{LIMITS[number]}: {values[number + 1]:g} s must be less than {LIMITS[number + 1]}, "
    with pytest.raises(UserError, match=re.escape(message)):
        load_config(["paper", "nano"], wrong)


def explained(key: str, *overrides: str) -> float:
    return float(attrgetter(key)(load_config(["paper", "nano"], list(overrides))))


@pytest.mark.parametrize("role", ["challenger", "solver"])
def test_greedy_rollouts_are_nothing_to_learn_from(role: str) -> None:
    key = f"{role}.training.sampling.temperature"
    assert f"{key}: 0 draws the same response" in error_of(f"{key}=0")


@pytest.mark.parametrize("role", ["challenger", "solver"])
@pytest.mark.parametrize(
    ("settings", "needs"),
    [
        ({"policy_loss": "gspo"}, {"loss_aggregation": "sequence_mean"}),
        ({"policy_loss": "gspo", "loss_aggregation": "constant"}, {"loss_aggregation": "sequence_mean"}),
        ({"policy_loss": "cispo"}, {"dual_clip": "null"}),
    ],
)
def test_losses_that_do_not_go_together_are_refused_by_what_to_set(
    role: str, settings: dict[str, str], needs: dict[str, str]
) -> None:
    key = f"{role}.training.grpo"
    given = [f"{key}.{name}={value}" for name, value in settings.items()]
    (name, value) = next(iter(needs.items()))
    message = error_of(*given)
    assert message.startswith(f"{key}.{name}: ") and message.endswith(f"set it to {value}")
    load_config(["paper"], [*given, f"{key}.{name}={value}"])


def test_fine_tuning_draws_nothing_that_could_be_drawn_again() -> None:
    sft = ["labelled.method=sft", "labelled.data=arithmetic:50", "solver.resampling_rounds=2"]
    assert error_of(*sft) == "solver.resampling_rounds: labelled.method sft draws no rollouts; set it to 0"
    sft[2] = "solver.over_provision=0.25"
    assert error_of(*sft) == "solver.over_provision: labelled.method sft draws no rollouts; set it to 0"


@pytest.mark.parametrize(
    "reader",
    ["labels.panel.base=2", "labels.guard.panel.base=2", "labels.replay.questions=8", "verifier.train=true"],
)
def test_votes_are_aborted_only_where_nothing_but_the_band_is_read_from_them(reader: str) -> None:
    message = error_of("labels.abort_decided=true", reader)
    assert message.startswith(f"labels.abort_decided: with {reader.split('.base')[0].split('=')[0]} more is read")
    load_config(["paper"], ["labels.abort_decided=true"])


def test_answers_go_on_under_newer_weights_only_where_some_are_stopped_and_corrected() -> None:
    partial, over = "solver.partial_rollouts=1", "solver.over_provision=0.25"
    assert error_of(partial).startswith("solver.partial_rollouts: ")
    uncorrected = "solver.training.grpo.importance_cap=null"
    assert error_of(partial, over, uncorrected).startswith("solver.training.grpo.importance_cap: ")
    load_config(["paper"], [partial, over])
