"""Training on labelled data, without a Challenger."""

from __future__ import annotations

from dataclasses import dataclass, field

from rzero_mega.config.schema.metadata import IDENTITY, Change, Kind, PathIf, choice, of, path, stating
from rzero_mega.config.schema.training import SftConfig
from rzero_mega.phase_name import PhaseName

VOTES, GRPO, SFT = "votes", "grpo", "sft"


@dataclass
class LabelledConfig:
    """Labelled fine-tuning: the Solver learns from data with known answers, and an iteration is its phase alone.

    `solver.training` says how. To go on from a Solver of R-Zero, `model.path` is the folder that its phase left,
    RUN/iterations/5/solver/model for instance.
    """

    method: str = choice(VOTES, GRPO, SFT, kind=IDENTITY)
    """What the Solver learns from. votes: R-Zero, its own majority answers to a Challenger's questions. grpo: the
    answers of `data`, by the same reward. sft: cross entropy of the completions of `data`."""

    data: str | None = path(None, Kind(Change.IDENTITY, (PhaseName.SOLVER,), named=True), PathIf.FILE)
    """A JSON-lines file: on every line an object with `question` (asked by the Solver's prompt) or `prompt` (given as
    it stands), and with `answer`, `completion` or both. grpo takes the answer; sft the completion, or else the answer
    in a box. Or `arithmetic:N`: N expressions of nano's world with answer and written steps, none of them held out."""

    sft: SftConfig = field(default_factory=SftConfig, metadata=stating(of(PhaseName.SOLVER)))
    """The loss of `method: sft`. Steps and optimizer are those of `solver.training`."""
