"""One set of weights, three implementations: the learner at TP 2 x PP 2, SGLang at TP 2, and transformers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from rzero_mega.rollout.protocol import Scored
from rzero_mega.rollout.sglang.pool.wire import Version, read_score, score_body
from tests.learner.ranks import TrainingCase, rollouts, run_cases

pytestmark = [pytest.mark.sglang, pytest.mark.gloo]

TOLERANCE = 1e-5
VOCABULARY = 61


MIXTURES = [pytest.param(family, marks=pytest.mark.slow) for family in ("qwen3_moe", "glm4_moe")]


@pytest.mark.parametrize("family", ["qwen3", *MIXTURES])
def test_learner_server_and_transformers_agree_on_every_logprob(
    family: str, tiny_model: Callable[..., Any], sglang_server: Callable[..., Any], tmp_path: Path
) -> None:
    model = tiny_model(family, num_hidden_layers=4, vocab_size=VOCABULARY)
    model.save_pretrained(tmp_path / "model")
    case = TrainingCase("learner", str(tmp_path / "model"), tp=2, pp=2, sequence_parallel=True, last=0)
    learner = run_cases([case], tmp_path)["learner"].scores_before
    sequences = [Scored(s.prompt, s.response) for s in rollouts(1, VOCABULARY)]
    client = sglang_server(tmp_path / "model", tp=2, replica=f"parity-{family}").client()
    answers = client.generate(score_body(sequences))
    version = Version(0, client.weight_version())
    server = [read_score(s, a, version) for s, a in zip(sequences, answers, strict=True)]
    reference = [logprobs(model, sequence) for sequence in sequences]
    differences = {
        "learner - server": largest(learner, server),
        "learner - transformers": largest(learner, reference),
        "server - transformers": largest(server, reference),
    }
    print(family, {name: f"{value:.1e}" for name, value in differences.items()})
    assert max(differences.values()) <= TOLERANCE, differences
    assert max(abs(value) for row in reference for value in row) > 3


def logprobs(model: Any, sequence: Scored) -> list[float]:
    tokens = torch.tensor([[*sequence.prompt_tokens, *sequence.response_tokens]])
    first = len(sequence.prompt_tokens)
    with torch.no_grad():
        logits = model(tokens).logits[0, first - 1 : -1]
    found: list[float] = logits.log_softmax(-1).gather(1, tokens[0, first:, None])[:, 0].tolist()
    return found


def largest(ours: Any, theirs: Any) -> float:
    pairs = [pair for a, b in zip(ours, theirs, strict=True) for pair in zip(a, b, strict=True)]
    return max(abs(a - b) for a, b in pairs)
