"""What a Critic learns from and is measured by: pairs of known order, reliability, bias of length, drift."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from rzero_mega.coevolution.critic_measures import (
    Drift,
    LengthBias,
    MeasuredCritic,
    Reliability,
    length_bias,
    rank_correlation,
    reliabilities,
    sigmoid,
)
from rzero_mega.coevolution.critic_pairs import RankedPair, balanced_batch, divided, of_kinds
from rzero_mega.coevolution.critic_pairs.intact_over_corrupted import intact_over_corrupted
from rzero_mega.coevolution.critic_pairs.recombined_over_one_shot import recombined_over_one_shot
from rzero_mega.coevolution.critic_pairs.solver_over_base import KIND, solver_over_base
from rzero_mega.coevolution.scores import one_scorer
from rzero_mega.config import load_config
from rzero_mega.config.schema import CriticGateConfig


def test_the_solver_s_answers_are_paired_with_other_ones_of_the_base() -> None:
    solver = {"q": ("a", None, "a", "b", "c"), "alone": ("a",), "same": ("a",)}
    base = {"q": ("x", "b", None), "same": ("a",), "unasked": ("z",)}
    assert solver_over_base(solver, base) == [RankedPair(KIND, "q", "a", "x")], "b is no better than b"


def test_answers_out_of_parts_are_paired_with_other_ones_at_once() -> None:
    recombined, at_once = {"q": ("a", None, "b")}, {"q": ("x", "b", None), "whole": ("z",)}
    assert recombined_over_one_shot(recombined, at_once) == [RankedPair("recombined_over_one_shot", "q", "a", "x")]


def test_an_answer_is_paired_with_itself_spoilt_in_every_way_that_applies_the_same_in_every_run() -> None:
    drawn: list[float] = []

    def shuffled(question: str, answer: str, rng: Random) -> str:
        drawn.append(rng.random())
        return f"{answer}{question}"

    ways: dict[str, Any] = {"longer": shuffled, "never": lambda *_: None, "unchanged": lambda _q, a, _r: a}
    pairs = intact_over_corrupted({"q": ("a", None, "b", "a"), "r": (None,)}, ways, seed=3)
    assert pairs == [RankedPair("longer", "q", "a", "aq"), RankedPair("longer", "q", "b", "bq")]
    intact_over_corrupted({"q": ("b",)}, ways, seed=3)
    intact_over_corrupted({"q": ("b",)}, ways, seed=4)
    assert drawn[2] == drawn[1] != drawn[3], "a stream is named by seed, question and answer, and by nothing else"


def test_questions_set_aside_are_measured_on_and_never_trained_on() -> None:
    pairs = [RankedPair(kind, f"q{number}", "a", "b") for number in range(400) for kind in ("one", "other")]
    trained, measured = divided(pairs, CriticGateConfig(share=0.25, pairs=20))
    assert {pair.question for pair in trained}.isdisjoint(pair.question for pair in measured)
    assert 540 < len(trained) < 660 and [pair.kind for pair in measured] == ["one"] * 20 + ["other"] * 20
    assert of_kinds(trained, ["one"]) == [pair for pair in trained if pair.kind == "other"]


def test_a_kind_is_as_reliable_as_the_share_of_its_pairs_that_are_ordered_rightly() -> None:
    pairs = [RankedPair(kind, "q", "a", "b") for kind in ("x", "y", "x", "x")]
    found = reliabilities(pairs, [1.0, 0.0, 0.5, -1.0], [0.0, 1.0, 0.5, -2.0])
    assert found == {"x": Reliability(3, 2.5), "y": Reliability(1, 0.0)}


def test_a_step_has_as_many_pairs_of_longer_and_of_shorter_answers_and_in_these_of_each_kind() -> None:
    """However many there are."""
    longer, shorter, alike = (RankedPair("", "q", *answers) for answers in (("aa", "a"), ("a", "aa"), ("a", "b")))
    counts = {"many": (longer, 50), "few": (shorter, 3), "some": (shorter, 10), "other": (alike, 4)}
    pairs = [replace(pair, kind=kind) for kind, (pair, count) in counts.items() for _ in range(count)]
    steps = [balanced_batch(pairs, step, 8, seed=1) for step in range(1, 13)]
    shown = [Counter(pairs[index].kind for index in batch) for batch in steps]
    assert all(
        len(batch) == 8 and found["few"] + found["some"] in (2, 3) for batch, found in zip(steps, shown, strict=True)
    )
    assert sum(shown, Counter()) == {"many": 32, "few": 16, "some": 16, "other": 32}
    drawn = Counter(index for batch in steps for index in batch)
    times = {kind: {drawn[i] for i, pair in enumerate(pairs) if pair.kind == kind} for kind in counts}
    assert times == {"many": {0, 1}, "few": {5, 6}, "some": {1, 2}, "other": {8}}, "within a kind, whole epochs"
    assert steps == [balanced_batch(pairs, step, 8, seed=1) for step in range(1, 13)]


def measured(**shares: float) -> MeasuredCritic:
    kinds = {kind: Reliability(100, 100 * share) for kind, share in shares.items()}
    return MeasuredCritic(kinds, 0.6, LengthBias(0.2, 0.1, 9.0), Drift(0.9, -0.1), quality=0.4, close_below=0.6)


def test_the_gate_closes_kinds_and_without_any_kind_the_critic_takes_no_part() -> None:
    assert measured(good=0.6, bad=0.59).closed == ("bad",) and measured(good=0.6, bad=0.59).takes_part
    assert not measured(bad=0.5).takes_part and not measured().takes_part


def test_nothing_is_closed_by_default_and_whether_it_scores_is_another_question() -> None:
    assert load_config(["paper", "rewriting"]).critic.gate.close_below == 0.0
    found = replace(measured(good=0.6, bad=0.0), close_below=0.0)
    assert found.closed == () and found.takes_part
    assert not replace(found, minimum=0.7).takes_part


def test_a_kind_that_a_critic_was_not_trained_on_is_tried_again() -> None:
    again = replace(measured(good=0.6, bad=0.1, worse=0.2), untrained=("bad",))
    assert again.closed == ("worse",) and MeasuredCritic.from_json(again.as_json()) == again
    shut = replace(measured(bad=0.1), untrained=("bad",))
    assert shut.closed == () and not shut.takes_part


def test_what_was_measured_is_read_as_it_was_written_and_nothing_impossible_is() -> None:
    found = measured(good=0.75, bad=0.5)
    assert MeasuredCritic.from_json(found.as_json()) == found
    alone = MeasuredCritic({}, 0.6, length_bias([], []))
    assert MeasuredCritic.from_json(alone.as_json()) == alone
    for key, value in (
        ("minimum", 2.0),
        ("close_below", -0.1),
        ("quality", 1.5),
        ("kinds", {"x": {"pairs": 2, "right": 3}}),
    ):
        with pytest.raises(ValueError, match="not between"):
            MeasuredCritic.from_json({**found.as_json(), key: value})


def test_ranks_are_compared_with_ties_in_the_middle_and_what_does_not_vary_has_none() -> None:
    assert rank_correlation([1, 2, 3, 4], [10, 20, 30, 4000]) == pytest.approx(1)
    assert rank_correlation([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    # Ranks 0, 1.5, 1.5, 3 against 0, 1, 2, 3.
    assert rank_correlation([1, 2, 2, 3], [1, 2, 3, 4]) == pytest.approx(4.5 / math.sqrt(4.5 * 5))
    assert rank_correlation([1, 1], [1, 2]) is None and rank_correlation([], []) is None


def test_bias_of_length_is_told_within_questions_and_can_be_taken_away() -> None:
    answered = [("q", "a" * n) for n in (2, 4, 6)] + [("r", "a" * n) for n in (20, 30)]
    # Half a point a character, whatever a question is worth.
    scores = [1.0, 2.0, 3.0, -50.0, -45.0]
    bias = length_bias(answered, scores)
    assert (bias.slope, bias.mean, bias.correlation) == (pytest.approx(0.5), 12.4, pytest.approx(1))
    left = [bias.removed(score, answer) for (_, answer), score in zip(answered, scores, strict=True)]
    assert left[0] == pytest.approx(left[1]) == pytest.approx(left[2]) and left[3] == pytest.approx(left[4])
    assert length_bias(answered, left).slope == pytest.approx(0)
    assert length_bias([("q", "aa")], [1.0]).slope == 0.0


def test_drift_is_how_orders_and_means_have_come_apart() -> None:
    drift = Drift.of([0.0, 1.0, 2.0], [5.0, 7.0, 6.0])
    assert drift.correlation == pytest.approx(0.5)
    expected = sum(map(sigmoid, (5, 7, 6))) / 3 - sum(map(sigmoid, (0, 1, 2))) / 3
    assert drift.shift == pytest.approx(expected) and sigmoid(0) == 0.5 and sigmoid(-1e4) == 0.0


def test_scores_of_two_critics_are_not_put_together() -> None:
    assert one_scorer([None, None]) is None and one_scorer([]) is None
    assert one_scorer(["1/critic/model@ab"] * 2) == "1/critic/model@ab"
    with pytest.raises(ValueError, match="1/critic/model@ab and 2/critic/model@cd can't be put together"):
        one_scorer(["2/critic/model@cd", "1/critic/model@ab"])
    with pytest.raises(ValueError, match="the domain can't"):
        one_scorer(["1/critic/model@ab", None])
