"""What a label is expected to teach, and what follows from it: which questions are kept, how much each counts."""

from __future__ import annotations

from typing import Any

import pytest

from rzero_mega.coevolution import teaching
from rzero_mega.coevolution.curation import Ranking, curate
from rzero_mega.coevolution.records import VotedQuestion, WrittenQuestion
from rzero_mega.coevolution.teaching import label_weights, teaching_values, weigh
from rzero_mega.coevolution.votes import SourceVotes, Vote
from rzero_mega.config import load_config
from rzero_mega.config.schema import CurationConfig
from rzero_mega.errors import UserError

PANEL = ("labels.votes.samples=10", "labels.panel.base=5")


def vote(own: int, base: int = 5) -> Vote:
    sources = (SourceVotes("solver", own, 5), SourceVotes("base", base, 5))
    return Vote("7", own + base, 10, 10, (("7", own + base),), by_source=sources)


def test_a_right_label_teaches_most_where_the_solver_is_split() -> None:
    sure, split, never = teaching_values([vote(5), vote(3), vote(0)], [1.0] * 3, cost=1.0)
    assert sure == never and 0 < sure < split


def test_a_label_is_worth_nothing_where_the_cost_of_an_error_weighs_as_much_as_it_brings() -> None:
    even, doubtful = teaching_values([vote(3), vote(3)], [0.5, 0.4], cost=1.0)
    assert even == 0 > doubtful
    assert teaching_values([vote(3)], [0.5], cost=0.0)[0] > 0
    assert teaching_values([vote(3)], [0.75], cost=3.0)[0] == pytest.approx(0)


def test_weights_go_from_nothing_to_one() -> None:
    assert label_weights([0.0, 0.5, 0.75, 1.0], cost=1.0) == [0.0, 0.0, 0.5, 1.0]
    assert label_weights([0.75, 0.87654321], cost=3.0) == [0.0, 0.5062]


@pytest.mark.parametrize(
    ("overrides", "ranked", "weighted"),
    [
        (["labels.selection=teaching_value"], True, False),
        (["labels.weighting=confidence"], False, True),
        (["labels.selection=teaching_value", "labels.weighting=confidence"], True, True),
    ],
)
def test_selection_and_weighting_are_asked_for_each_by_itself(
    overrides: list[str], ranked: bool, weighted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teaching, "label_confidence", lambda votes: [0.9] * len(votes))
    found = weigh([vote(3)] * 2, load_config(["paper"], [*PANEL, *overrides]).labels)
    assert found is not None and (found.ranking is not None) == ranked
    assert [opinion.weight for opinion in found.opinions] == ([pytest.approx(0.8)] if weighted else [None]) * 2


def test_without_either_no_confidence_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(teaching, "label_confidence")
    assert weigh([vote(3)], load_config(["paper"], PANEL).labels) is None


def questions(*texts: str) -> list[VotedQuestion]:
    return [VotedQuestion(WrittenQuestion(text, None), vote(5)) for text in texts]


def test_the_share_of_greatest_value_is_kept_whatever_the_band_says() -> None:
    asked = questions("a", "b", "c", "d", "a")
    found = curate(asked, CurationConfig(), ranking=Ranking([0.1, 0.4, 0.3, 0.2, 0.9], share=0.5))
    # The last is a duplicate, and what it may be worth is not asked.
    assert found.reasons == ("low_value", None, None, "low_value", "duplicate")
    assert [item.question.text for item in found.kept] == ["b", "c"] and found.dropped["low_value"] == 2


def test_what_is_expected_to_do_harm_is_not_kept_however_few_others_there_are() -> None:
    found = curate(questions("a", "b", "c"), CurationConfig(), ranking=Ranking([-0.1, 0.0, 0.2], share=1.0))
    assert found.reasons == ("low_value", "low_value", None)


def test_of_a_template_the_first_of_those_worth_keeping_are_kept() -> None:
    asked, config = questions("1+1", "2+2", "3+3", "4+4"), CurationConfig(maximum_per_template=1)
    found = curate(asked, config, ranking=Ranking([0.1, 0.3, 0.4, 0.2], share=0.5))
    assert found.reasons == ("low_value", None, "template", "low_value")


def test_a_share_that_keeps_nothing_says_which_key_to_raise() -> None:
    with pytest.raises(UserError, match=r"low_value 2 \(raise labels\.teaching\.share"):
        curate(questions("a", "b"), CurationConfig(), ranking=Ranking([0.1, 0.2], share=0.1))


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["labels.selection=teaching_value"], r"labels\.panel: labels\.selection teaching_value compares sources"),
        (["labels.weighting=confidence"], r"labels\.panel: labels\.weighting confidence compares sources"),
        (
            ["labels.weighting=confidence", "labels.votes.samples=5", "labels.panel.base=5"],
            r"labels\.panel: labels\.weighting",
        ),
        ([*PANEL, "labels.weighting=confidence", "ablation=true_labels"], r"labels\.weighting: true labels"),
        ([*PANEL, "labels.weighting=votes"], r"labels\.weighting: 'votes' is not one of none, confidence"),
        ([*PANEL, "labels.teaching.cost=-1"], r"labels\.teaching\.cost"),
        (
            [*PANEL, "labels.selection=teaching_value", "labels.teaching.share=0"],
            r"labels\.teaching\.share: 0 keeps no question",
        ),
    ],
)
def test_what_has_nothing_to_compare_is_refused(overrides: list[Any], line: str) -> None:
    with pytest.raises(UserError, match=line):
        load_config(["paper"], overrides)
