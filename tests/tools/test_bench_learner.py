"""The benchmark's rollouts and padded trainers; what it measures is for a person to read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT
from tools import bench_learner as tool


def test_rollouts_come_in_groups_within_the_limits_and_the_same_again() -> None:
    from tools.learner_benchmarks import rollouts as made

    for role in made.ROLES:
        found = made.rollouts(role, 200)
        assert found == made.rollouts(role, 200)
        for start in range(0, 200, made.GROUP):
            assert len({sequence.prompt for sequence in found.sequences[start : start + made.GROUP]}) == 1
        longest = max(len(sequence.response) for sequence in found.sequences)
        assert longest <= made.LONGEST_RESPONSE // made.SCALE
        assert max(sequence.length for sequence in found.sequences) <= made.MODEL["max_position_embeddings"]


def test_a_padded_trainer_computes_padding_and_trains_the_same(tmp_path: Path) -> None:
    from rzero_mega.learner.learner import Learner
    from tools.learner_benchmarks import packed
    from tools.learner_benchmarks.rollouts import rollouts, write_model

    model, batch = write_model(tmp_path / "model"), rollouts("solver", 8)
    kinds = (Learner, packed.PaddedLearner, packed.PaddedToUpdateLearner)
    learners = [packed.new_learner(kind, model) for kind in kinds]
    computed = [
        [micro_batch.tokens.numel() for micro_batch in learner._micro_batches(batch.sequences)] for learner in learners
    ]
    assert sum(computed[0]) == batch.tokens
    longest = [max(s.length for s in batch.sequences[i : i + 4]) for i in (0, 4)]
    assert computed[1] == [4 * longest[0], 4 * longest[1]]
    assert computed[2] == [4 * max(longest)] * 2
    ours, *others = [learner.train_step(batch.sequences) for learner in learners]
    for other in others:
        assert other.loss == pytest.approx(ours.loss, rel=1e-4)
        assert other.grad_norm == pytest.approx(ours.grad_norm, rel=1e-4)
        assert other.tokens == ours.tokens


def test_both_ways_of_log_probabilities_and_of_the_reference_give_the_same(tmp_path: Path) -> None:
    import torch

    from rzero_mega.config.layout import ParallelLayout
    from rzero_mega.config.schema import GrpoConfig, LearnerConfig, OptimizerConfig
    from rzero_mega.learner.megatron.process_groups import start_process_groups
    from tools.learner_benchmarks import logprob_memory, reference
    from tools.learner_benchmarks.rollouts import rollouts, write_model

    layout = ParallelLayout()
    start_process_groups(layout, 0)
    hidden, weight, targets = torch.randn(9, 8), torch.randn(50, 8), torch.randint(50, (9,))
    torch.testing.assert_close(*(way(hidden, weight, targets) for way in logprob_memory.WAYS.values()))
    model, batch = write_model(tmp_path / "model"), rollouts("solver", 8)
    settings = (LearnerConfig(dtype="float32"), GrpoConfig(sequences_per_update=4), OptimizerConfig(), 512)
    steps = []
    for kind in reference.WAYS.values():
        learner = kind(model, layout, *settings)
        steps.append([learner.train_step(batch.sequences) for _ in range(2)])
    assert steps[0] == steps[1]
    assert steps[0][1].kl > 0


def test_without_trl_its_part_says_how_to_install_it() -> None:
    text = "\n".join(tool._tables(tool.Results("a machine", 1, trl=None)))
    assert tool.INSTALL_TRL in text and "not installed" in text


def test_an_unknown_comparison_is_refused_and_help_is_there() -> None:
    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tools.bench_learner", *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    assert call("--what", "speed").returncode == 2
    assert "--json" in call("--help").stdout
