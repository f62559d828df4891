"""Who votes on a question, as `labels.votes` and `labels.panel` say it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

from rzero_mega.config.schema import Config, LabelsConfig


class Voter(StrEnum):
    """Which model votes."""

    SOLVER = "solver"
    """S_{i-1}, as in R-Zero."""

    BASE = "base"
    """The base model."""

    EARLIER = "earlier"
    """The Solver of the iteration before that of SOLVER, S_{i-2}; the base model where there is none."""


@dataclass(frozen=True)
class VoteSource:
    """A share of the votes: so many `samples` of one model, on the question as it stands or re-expressed.

    With `programs` the model writes programs, and what they print are the votes.
    """

    voter: Voter
    reexpressed: bool
    samples: int
    programs: bool = False

    @property
    def name(self) -> str:
        """For instance "base", "solver_reexpressed" or "solver_programs"."""
        if self.programs:
            return f"{self.voter}_programs"
        return f"{self.voter}_reexpressed" if self.reexpressed else str(self.voter)


def vote_sources(config: LabelsConfig) -> tuple[VoteSource, ...]:
    """Who gives the `votes.samples` votes of a question, those of one model in a row; who gives none is left out."""
    panel = config.panel
    sources = (
        VoteSource(Voter.SOLVER, False, config.votes.samples - panel.votes),
        VoteSource(Voter.SOLVER, True, panel.solver_reexpressed),
        VoteSource(Voter.SOLVER, False, panel.programs, programs=True),
        VoteSource(Voter.BASE, False, panel.base),
        VoteSource(Voter.BASE, True, panel.base_reexpressed),
        VoteSource(Voter.EARLIER, False, panel.earlier),
    )
    return tuple(source for source in sources if source.samples)


def asks_paraphrases(config: LabelsConfig) -> bool:
    """Whether paraphrases are written: somebody votes on re-expressed questions, and that is what they are."""
    reexpressed = any(source.reexpressed for source in vote_sources(config))
    return reexpressed and config.panel.reexpression == "paraphrase"


def panel_prompts(config: Config) -> list[Literal["paraphrase", "program"]]:
    """The keys of `prompts` that votes take besides the Solver's; the guard's panel may vote later on."""
    panels = [config.labels, *([widened(config).labels] if config.labels.guard.action == "widen" else [])]
    asked: dict[Literal["paraphrase", "program"], bool] = {
        "paraphrase": any(asks_paraphrases(labels) for labels in panels),
        "program": any(source.programs for labels in panels for source in vote_sources(labels)),
    }
    return [key for key, is_asked in asked.items() if is_asked]


def rounds_over_questions(config: LabelsConfig) -> int:
    """How often all questions are gone through: for each source of votes, to write paraphrases, and to check them."""
    return len(vote_sources(config)) + (2 if asks_paraphrases(config) else 0)


def widened(config: Config) -> Config:
    """The configuration with `labels.guard.panel` in place of `labels.panel`."""
    return replace(config, labels=replace(config.labels, panel=config.labels.guard.panel))
