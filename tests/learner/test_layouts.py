"""Every parallel layout trains the model that a single process trains."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests import ROOT
from tests.learner.ranks import Outcome, TrainingCase, rollouts, run_cases

pytestmark = pytest.mark.gloo

TOLERANCE = 1e-5
LAYOUTS: dict[str, dict[str, Any]] = {
    "tp2": {"tp": 2},
    "pp2": {"pp": 2},
    "dp2": {"dp": 2},
    "tp2-sequence-parallel": {"tp": 2, "sequence_parallel": True},
    "tp2-pp2": {"tp": 2, "pp": 2},
    "tied-tp2-pp2": {"tp": 2, "pp": 2, "sequence_parallel": True},
    "moe-ep2": {"dp": 2, "ep": 2},
    "moe-tp2-ep2": {"tp": 2, "ep": 2, "etp": 1, "sequence_parallel": True},
    "moe-tp2-pp2": {"tp": 2, "pp": 2, "sequence_parallel": True},
    "one-kv-head-tp2": {"tp": 2},
    "pp2-vpp2": {"pp": 2, "vpp": 2},
    "tied-pp2-vpp2": {"pp": 2, "vpp": 2},
    "cp2": {"cp": 2},
    "tp2-cp2": {"tp": 2, "cp": 2, "sequence_parallel": True},
    "pp2-cp2": {"pp": 2, "cp": 2},
    "tp2-dp2": {"tp": 2, "dp": 2, "sequence_parallel": True},
    "moe-cp2-ep2": {"cp": 2, "ep": 2},
    "moe-tp2-etp2": {"tp": 2, "etp": 2, "sequence_parallel": True},
    "moe-ep2-etp2": {"dp": 4, "ep": 2, "etp": 2},
    "moe-pp2-vpp2": {"pp": 2, "vpp": 2},
    "glm-tp2-pp2": {"tp": 2, "pp": 2, "sequence_parallel": True},
    "glm-cp2-ep2": {"cp": 2, "ep": 2},
    "latent-tp2-pp2": {"tp": 2, "pp": 2, "sequence_parallel": True},
    "latent-cp2-ep2": {"cp": 2, "ep": 2},
    "one-micro-batch": {"tokens_per_micro_batch": 512},
    "reversed-order": {"reversed_order": True},
    "pp2-vpp2-one-micro-batch": {"pp": 2, "vpp": 2, "tokens_per_micro_batch": 512},
}
# Every layout, in a test of its own, takes the trained weights by both executors too: some buckets hold several
# tensors, and the embedding is larger than a bucket.
BUCKET_BYTES = 8000
# Three updates a step, so that ratios leave 1. The large epsilon makes AdamW a smooth function of the gradient:
# otherwise a gradient of 1e-9 that is rounding error decides the sign of a whole learning rate.
GRPO = {
    "sequences_per_update": 3,
    "kl_coefficient": 0.05,
    "kl_base_coefficient": 0.03,
    "clip_low": 0.02,
    "clip_high": 0.03,
}
OPTIMIZER = {"learning_rate": 3e-2, "epsilon": 1e-1}
VOCABULARY = 61
RESULTS = ROOT / "tools" / "RESULTS.md"
TABLE_START, TABLE_END = "<!-- parity -->", "<!-- /parity -->"
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("qwen3", {}),
    "tied": ("qwen3", {"tie_word_embeddings": True}),
    "moe": ("qwen3_moe", {}),
    "glm": ("glm4_moe", {}),
    "latent": ("deepseek_v3", {}),
    "one-kv-head": ("qwen2", {"num_key_value_heads": 1}),
    # Two stages of two virtual ones each have a layer.
    "plain-deep": ("qwen3", {"num_hidden_layers": 4}),
    "tied-deep": ("qwen3", {"num_hidden_layers": 4, "tie_word_embeddings": True}),
    "moe-deep": ("qwen3_moe", {"num_hidden_layers": 4}),
}
STEPS = 2


@pytest.fixture(scope="module")
def outcomes(tiny_model: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    folder = tmp_path_factory.mktemp("layouts")
    for model, (family, keys) in MODELS.items():
        tiny_model(family, vocab_size=VOCABULARY, **keys).save_pretrained(folder / model)
        tiny_model(family, seed=1, vocab_size=VOCABULARY, **keys).save_pretrained(folder / f"{model}-base")
    settings: dict[str, Any] = {"grpo": GRPO, "optimizer": OPTIMIZER, "last": STEPS}

    def case(name: str, model: str, **layout: Any) -> TrainingCase:
        return TrainingCase(name, str(folder / model), **layout, **settings, base=str(folder / f"{model}-base"))

    cases = [case(f"{model}-single", model) for model in MODELS]
    cases += [case(name, model_of(name), **layout, bucket_bytes=BUCKET_BYTES) for name, layout in LAYOUTS.items()]
    return run_cases(cases, folder)


def model_of(layout: str) -> str:
    model = next((model for model in MODELS if layout.startswith(model)), "plain")
    return f"{model}-deep" if "vpp" in LAYOUTS[layout] else model


def single(outcomes: dict[str, Outcome], layout: str) -> Outcome:
    return outcomes[f"{model_of(layout)}-single"]


def test_the_rollouts_exercise_what_the_layouts_must_agree_on(outcomes: dict[str, Outcome]) -> None:
    assert VOCABULARY % 2
    assert len({sequence.length for sequence in rollouts(1, VOCABULARY)}) > 4
    first, *_, last = outcomes["plain-single"].metrics
    assert first["updates"] == 3
    assert first["clip_fraction"] > 0.01
    assert first["ratio"] != pytest.approx(1.0, abs=1e-4)
    assert last["kl"] > 1e-3 and last["kl_base"] > 0.1
    assert first["grad_norm"] > 0.1


@pytest.mark.parametrize("layout", LAYOUTS)
def test_metrics_of_every_step_equal_those_of_one_process(layout: str, outcomes: dict[str, Outcome]) -> None:
    expected, found = single(outcomes, layout).metrics, outcomes[layout].metrics
    assert len(found) == STEPS
    for step, (ours, theirs) in enumerate(zip(found, expected, strict=True), start=1):
        for name, value in theirs.items():
            assert ours[name] == pytest.approx(value, abs=TOLERANCE, rel=TOLERANCE), f"step {step}: {name}"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_scores_before_and_after_equal_those_of_one_process(layout: str, outcomes: dict[str, Outcome]) -> None:
    expected = single(outcomes, layout)
    for ours, theirs in (
        (outcomes[layout].scores_before, expected.scores_before),
        (outcomes[layout].scores_after, expected.scores_after),
    ):
        for mine, other in zip(ours, theirs, strict=True):
            assert mine == pytest.approx(other, abs=TOLERANCE)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_exported_weights_equal_those_of_one_process(layout: str, outcomes: dict[str, Outcome]) -> None:
    expected, found = single(outcomes, layout).weights, outcomes[layout].weights
    assert found.keys() == expected.keys()
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, atol=TOLERANCE, rtol=0, msg=name)


@pytest.mark.parametrize("layout", ["tp2", "tp2-sequence-parallel", "tp2-pp2"])
def test_a_weight_that_tensor_parallel_ranks_share_counts_once_in_the_gradient_norm(
    layout: str, outcomes: dict[str, Outcome]
) -> None:
    """The norms' weights are on both ranks; counted twice, the first norm alone would be off by percents."""
    first = outcomes[layout].metrics[0]["grad_norm"]
    assert first == pytest.approx(outcomes["plain-single"].metrics[0]["grad_norm"], rel=TOLERANCE)


def test_the_table_of_results_is_of_these_layouts_and_within_the_tolerance(outcomes: dict[str, Outcome]) -> None:
    """With PARITY_TABLE=1 in the environment (`make parity-table`) the table is written anew."""
    rows = {layout: differences(outcomes[layout], single(outcomes, layout)) for layout in LAYOUTS}
    table = [
        "| layout (`moe`: Qwen3-MoE, `glm`: GLM-4.5, `latent`: DeepSeek-V3, `tied`: tied embeddings) "
        "| loss | gradient norm | weights |",
        "|---|---|---|---|",
        *(f"| {layout} | {' | '.join(f'{value:.0e}' for value in row)} |" for layout, row in rows.items()),
    ]
    text = RESULTS.read_text(encoding="utf-8")
    before, rest = text.split(TABLE_START)
    found, after = rest.split(TABLE_END)
    if os.environ.get("PARITY_TABLE"):
        found = "\n" + "\n".join(table) + "\n"
        RESULTS.write_text(f"{before}{TABLE_START}{found}{TABLE_END}{after}", encoding="utf-8")
    shown = [[cell.strip() for cell in line.strip("|").split("|")] for line in found.strip().splitlines()[2:]]
    assert [row[0] for row in shown] == list(LAYOUTS)
    assert all(float(cell) <= TOLERANCE for row in shown for cell in row[1:])


def differences(ours: Outcome, theirs: Outcome) -> tuple[float, float, float]:
    """Largest relative difference of loss and gradient norm over the steps, and largest difference of any weight."""
    loss, grad_norm = (
        max(abs(a[name] - b[name]) / abs(b[name]) for a, b in zip(ours.metrics, theirs.metrics, strict=True))
        for name in ("loss", "grad_norm")
    )
    weights = max(float((ours.weights[name] - weight).abs().max()) for name, weight in theirs.weights.items())
    return loss, grad_norm, weights
