"""Every key says what a run that has begun allows of it."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from rzero_mega.config import kinds as module
from rzero_mega.config import load_config
from rzero_mega.config.explain import all_keys, explain
from rzero_mega.config.kinds import changes_between, concerns, is_looked_at, kinds, values_of
from rzero_mega.config.schema.metadata import Change, Fixed, Switch
from rzero_mega.phase_name import PhaseName


def test_every_key_of_the_schema_has_a_kind() -> None:
    assert set(kinds()) == {name for name, key in all_keys().items() if key.section is None}
    assert {kind.change for kind in kinds().values()} == set(Change)


def test_a_key_without_a_kind_is_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass
    class Section:
        key: int = 0

    @dataclass
    class Root:
        section: Section = field(default_factory=Section)

    monkeypatch.setattr(module, "Config", Root)
    with pytest.raises(TypeError, match=r"section\.key"):
        kinds.__wrapped__()


@pytest.mark.parametrize(
    ("key", "change", "phases", "fixed"),
    [
        ("seed", Change.IDENTITY, list(PhaseName), None),
        ("prompts.solver", Change.IDENTITY, list(PhaseName), None),
        ("evaluation.benchmarks", Change.IDENTITY, ["evaluate"], None),
        ("challenger.start", Change.IDENTITY, ["challenger"], None),
        ("challenger.reward.memory.weight", Change.IDENTITY, ["challenger"], None),
        ("solver.accumulate", Change.IDENTITY, ["solver"], None),
        ("labels.curation.low", Change.PHASE, ["labels", "evaluate"], None),
        ("labels.votes.samples", Change.PHASE, ["labels"], Fixed.PARTS),
        ("challenger.votes.sampling.top_k", Change.PHASE, ["challenger"], None),
        ("solver.training.optimizer.learning_rate", Change.PHASE, ["solver"], None),
        ("solver.training.steps", Change.PHASE, ["solver"], Fixed.STEPS),
        (
            "learner.fp8.format",
            Change.PHASE,
            ["challenger", "verifier", "critic", "solver"],
            Fixed.CHECKPOINT,
        ),
        ("checks.too_long", Change.PHASE, ["challenger", "labels"], None),
    ],
)
def test_kinds_come_from_the_key_or_from_the_section_it_is_in(
    key: str, change: Change, phases: list[str], fixed: Fixed | None
) -> None:
    kind = kinds()[key]
    assert (kind.change, list(kind.phases), kind.fixed) == (change, phases, fixed)
    assert all(concerns(key, phase) == (phase in phases) for phase in PhaseName)


OPERATIONAL = (
    "learner.processes",
    "learner.layout.tp",
    "learner.tokens_per_micro_batch",
    "learner.recompute",
    "learner.offload",
    "rollout.batch_sequences",
    "rollout.sglang.request_timeout_s",
    "rollout.sglang.extra_arguments",
    "placement.nodes",
    "weights.verify.probe_tolerance",
    "tracking.wandb",
    "run.minimum_free_mb",
    "grading.workers",
)


@pytest.mark.parametrize("key", OPERATIONAL)
def test_what_decides_how_and_not_what_is_operational(key: str) -> None:
    assert kinds()[key].change is Change.OPERATIONAL
    assert not any(concerns(key, phase) for phase in PhaseName)


def test_changes_are_told_key_by_key() -> None:
    before, after = (values_of(load_config(overrides=[f"seed={n}", f"labels.curation.low=0.{n}"])) for n in (1, 2))
    assert [str(change) for change in changes_between(before, after)] == [
        "seed: 1 → 2",
        "labels.curation.low: 0.1 → 0.2",
    ]


def test_keys_of_a_verifier_have_changed_where_there_is_one_before_or_after() -> None:
    steps = "verifier.training.steps"

    def changed(before: str, after: str) -> list[str]:
        given = [[f"verifier.train={train}", f"{steps}={n}"] for n, train in enumerate((before, after), 1)]
        given[1].append("prompts.verifier=math_verifier")
        return [change.key for change in changes_between(*(values_of(load_config(overrides=keys)) for keys in given))]

    assert changed("false", "false") == []
    assert changed("true", "true") == ["prompts.verifier", steps]
    for one, other in (("false", "true"), ("true", "false")):
        assert changed(one, other) == ["prompts.verifier", "verifier.train", steps]


def test_keys_of_one_form_of_a_critic_have_not_changed_where_it_has_the_other() -> None:
    of_scalar, of_generative = "critic.steps", "critic.comparing.opponents"

    def changed(form: str, train: str = "true") -> list[str]:
        sizes = ["critic.comparing.training.sampling.max_new_tokens=16"]
        given = [
            [f"critic.train={train}", f"critic.form={form}", f"{of_scalar}={n}", f"{of_generative}={2 * n}", *sizes]
            for n in (1, 2)
        ]
        return [change.key for change in changes_between(*(values_of(load_config(overrides=keys)) for keys in given))]

    assert (changed("scalar"), changed("generative")) == ([of_scalar], [of_generative])
    assert changed("generative", train="false") == []


def test_a_key_has_a_switch_that_is_a_key_which_may_have_one_itself() -> None:
    switches = {kind.switch for kind in kinds().values() if kind.switch is not None}
    by_name = {f"{switch.key}={switch.value}" for switch in switches}
    assert by_name == {"verifier.train=True", "critic.train=True", "critic.form=scalar", "critic.form=generative"}
    assert all(kinds()[key].switch is None for key in ("verifier.train", "critic.train"))
    assert kinds()["critic.form"].switch == Switch("critic.train")
    assert is_looked_at("verifier.train", values_of(load_config()))


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("seed", "stays the same"),
        ("learner.layout.tp", "may change; last bits may differ"),
        ("tracking.project", "may change"),
        ("labels.votes.samples", "may change for phases that are not finished (labels), before their first part"),
        ("evaluation.samples", "stays the same, once evaluate has begun"),
    ],
)
def test_explain_says_what_a_run_allows(key: str, says: str) -> None:
    assert f" {says} " in f" {' '.join(explain(key).split())} "
