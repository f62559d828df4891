"""A Critic in the learner: transformers' scores on the same weights, the loss of its definition, in every layout."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

from rzero_mega.config.layout import ParallelLayout
from rzero_mega.config.schema import PairwiseConfig
from rzero_mega.learner.learner import Learner
from rzero_mega.learner.losses.pairwise import pairs_loss, pairwise_loss
from rzero_mega.learner.scorer import SequenceScorer, scored_sequence
from tests.learner.critic_ranks import LEARNER, OPTIMIZER, STEPS, VOCABULARY, CriticCase, answers, run_cases

TOLERANCE = 1e-5
LAYOUTS: dict[str, dict[str, Any]] = {
    "dp2": {"dp": 2},
    "tp2": {"tp": 2},
    "tp2-sequence-parallel": {"tp": 2, "sequence_parallel": True},
    "pp2": {"pp": 2},
}


def test_a_pair_costs_the_surprise_at_its_order() -> None:
    better, worse = torch.tensor([0.0, 2.0, -1.0, 500.0]), torch.tensor([0.0, 0.0, 1.0, -500.0])
    expected = [math.log(2), math.log1p(math.exp(-2)), math.log1p(math.exp(2)), 0.0]
    assert pairwise_loss(better, worse).tolist() == pytest.approx(expected)
    scores = torch.stack([better, worse], 1).flatten().requires_grad_()
    loss, statistics = pairs_loss(scores, torch.full((8,), 0.25))
    assert loss.item() == pytest.approx(sum(expected) / 4) and statistics[:2].tolist() == [loss.item(), 8.0]
    (gradient,) = torch.autograd.grad(loss, scores)
    # d/ds+ of -log σ(d) is -σ(-d).
    chances = [1 / (1 + math.exp(d)) / 4 for d in (0.0, 2.0, -2.0)]
    assert gradient[0:6:2].tolist() == pytest.approx([-c for c in chances])
    assert gradient[1:6:2].tolist() == pytest.approx(chances)
    nothing, _ = pairs_loss(torch.empty(0, requires_grad=True), torch.empty(0))
    assert nothing.item() == 0.0


@pytest.fixture
def classifier(tiny_model: Callable[..., Any], tmp_path: Path) -> tuple[Any, Path]:
    """transformers' model with the folder that has it: a base with a head."""
    tiny_model("qwen3", vocab_size=VOCABULARY).save_pretrained(tmp_path)
    hf = AutoModelForSequenceClassification.from_pretrained(tmp_path, num_labels=1, dtype=torch.float32)
    torch.manual_seed(0)
    torch.nn.init.normal_(hf.score.weight, std=0.5)
    with_head = {**AutoModelForCausalLM.from_pretrained(tmp_path).state_dict(), "score.weight": hf.score.weight}
    AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(tmp_path)).save_pretrained(
        tmp_path, state_dict=with_head
    )
    return hf.eval(), tmp_path


def by_transformers(hf: Any, given: list[tuple[int, ...]]) -> torch.Tensor:
    hidden = [hf.model(torch.tensor([tokens])).last_hidden_state[0, -1] for tokens in given]
    return hf.score(torch.stack(hidden))[:, 0]


def test_scores_loss_and_gradient_are_those_of_transformers(
    classifier: tuple[Any, Path], alone: ParallelLayout
) -> None:
    hf, folder = classifier
    expected = by_transformers(hf, answers(1))
    assert SequenceScorer(folder, alone, LEARNER).score(answers(1)) == pytest.approx(expected.tolist(), abs=TOLERANCE)
    loss = pairwise_loss(expected[::2], expected[1::2]).mean()
    loss.backward()
    norm = math.sqrt(sum(p.grad.square().sum().item() for p in hf.parameters() if p.grad is not None))
    learner = Learner(folder, alone, LEARNER, PairwiseConfig(6), OPTIMIZER, 1)
    step = learner.train_step([scored_sequence(tokens) for tokens in answers(1)])
    assert step.loss == pytest.approx(loss.item(), abs=TOLERANCE)
    assert step.grad_norm == pytest.approx(norm, rel=1e-4) and norm > 0.1
    steps = [learner.train_step([scored_sequence(tokens) for tokens in answers(1)]) for _ in range(10)]
    assert steps[-1].loss < 0.5 * step.loss and steps[-1].updates == 1


@pytest.mark.gloo
def test_every_layout_trains_the_critic_that_a_single_process_trains(
    tiny_model: Callable[..., Any], tmp_path: Path
) -> None:
    model = tmp_path / "base"
    tiny_model("qwen3", num_hidden_layers=2, vocab_size=VOCABULARY).save_pretrained(model)
    cases = [CriticCase(name, model=str(model), **layout) for name, layout in {"single": {}, **LAYOUTS}.items()]
    found = run_cases(cases, tmp_path)
    expected = found["single"]
    assert len(expected.metrics) == STEPS and expected.metrics[0]["updates"] == 2
    # A base's head is zero: the first pairs are tosses of a coin.
    assert expected.metrics[0]["loss"] <= math.log(2) + 0.5 and expected.weights["score.weight"].shape == (1, 48)
    assert max(expected.scores) - min(expected.scores) > 0.1
    for name in LAYOUTS:
        for ours, theirs in zip(found[name].metrics, expected.metrics, strict=True):
            assert ours == pytest.approx(theirs, abs=TOLERANCE, rel=TOLERANCE), name
        assert found[name].scores == pytest.approx(expected.scores, abs=10 * TOLERANCE), name
        assert found[name].weights.keys() == expected.weights.keys()
        for tensor, weight in expected.weights.items():
            torch.testing.assert_close(found[name].weights[tensor], weight, atol=TOLERANCE, rtol=0, msg=name)
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "single" / "model")
    scored = AutoModelForSequenceClassification.from_pretrained(tmp_path / "single" / "model", num_labels=1)
    torch.testing.assert_close(scored.score.weight, expected.weights["score.weight"])
    assert base.config.vocab_size == VOCABULARY, "the trunk is a language model still"
