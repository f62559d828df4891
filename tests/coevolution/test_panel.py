"""The vote of a panel: the plurality of all sources, with what each of them said to it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rzero_mega.coevolution.panel import panel_vote
from rzero_mega.coevolution.plan import iteration_plan
from rzero_mega.coevolution.votes import SourceVotes, majority_vote
from rzero_mega.config import load_config
from rzero_mega.config.panel import Voter, VoteSource, vote_sources
from rzero_mega.errors import UserError

SOLVER, BASE = VoteSource(Voter.SOLVER, False, 3), VoteSource(Voter.BASE, False, 2)


def test_the_plurality_of_all_votes_wins_and_every_source_is_counted() -> None:
    vote = panel_vote((SOLVER, BASE), [0, 1, 0, 1, 1], ["7", "8", "7.0", "8", "8"])
    assert (vote.answer, vote.count, vote.samples) == ("8", 3, 5)
    assert vote.by_source == (SourceVotes("solver", 1, 3, (1, 2)), SourceVotes("base", 2, 2, (2, 0)))
    assert vote.tally == (("8", 3), ("7", 2))


def test_a_tie_goes_to_the_source_that_stands_first() -> None:
    assert panel_vote((SOLVER, BASE), [0, 0, None, 1, 1], ["7", "7", None, "8", "8"]).answer == "7"


def test_nobody_supports_a_label_that_is_not_there() -> None:
    vote = panel_vote((SOLVER, BASE), [None] * 5, [None] * 5)
    assert vote.answer is None and [votes.count for votes in vote.by_source] == [0, 0]


@given(st.lists(st.sampled_from([None, 0, 1, 2]), min_size=1, max_size=12))
def test_a_panel_of_one_source_is_the_plain_vote(classes: list[int | None]) -> None:
    answers = [None if label is None else str(label) for label in classes]
    alone = VoteSource(Voter.SOLVER, False, len(classes))
    assert panel_vote((alone,), classes, answers) == majority_vote(classes, answers)


@given(st.lists(st.sampled_from([None, 0, 1, 2]), min_size=5, max_size=5))
def test_the_sources_votes_add_up_to_the_count(classes: list[int | None]) -> None:
    vote = panel_vote((SOLVER, BASE), classes, [None if label is None else str(label) for label in classes])
    assert sum(votes.count for votes in vote.by_source) == vote.count
    for number, (_, count) in enumerate(vote.tally):
        assert sum(votes.tally[number] for votes in vote.by_source) == count


def test_the_votes_of_a_question_are_split_and_not_multiplied() -> None:
    config = load_config(["paper", "nano"], ["labels.panel={base: 4, solver_reexpressed: 5}"]).labels
    assert [(source.name, source.samples) for source in vote_sources(config)] == [
        ("solver", 6),
        ("solver_reexpressed", 5),
        ("base", 4),
    ]
    assert [source.name for source in vote_sources(load_config(["paper"]).labels)] == ["solver"]
    programs = load_config(["paper", "nano"], ["labels.panel={programs: 5, base: 4}"]).labels
    assert [(source.name, source.samples) for source in vote_sources(programs)] == [
        ("solver", 6),
        ("solver_programs", 5),
        ("base", 4),
    ]


def test_models_of_the_panel_are_inputs_of_the_phase() -> None:
    config = load_config(["paper", "nano"], ["iterations=3", "labels.panel={base: 4, earlier: 5}"])
    labels = [str(phase) for phase in iteration_plan(config) if phase.name == "labels"]
    assert labels == [
        "1/labels: base, 1/questions/questions, base, base -> dataset",
        "2/labels: 1/solver/model, 2/questions/questions, 1/labels/dataset, base, base -> dataset",
        "3/labels: 2/solver/model, 3/questions/questions, 1..2/labels/dataset, base, 1/solver/model -> dataset",
    ]


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["labels.panel.base=16"], r"labels\.panel: gives away 16 votes of 15 \(labels\.votes\.samples\)"),
        (["labels.panel.base=15", "labels.curation.band_of=solver"], r"labels\.panel: gives away 15 votes of 15"),
        (["labels.panel.base=3", "labels.votes.unanswered=answer"], r"labels\.votes\.unanswered: a panel counts votes"),
        (["labels.panel.base=-1"], r"labels\.panel\.base"),
    ],
)
def test_a_panel_that_cannot_be_is_named(overrides: list[str], line: str) -> None:
    with pytest.raises(UserError, match=line):
        load_config(["paper", "nano"], overrides)
