"""Names of the code, and text that models wrote, as people can read them."""

from __future__ import annotations

import re

from rzero_mega.config import Config
from rzero_mega.config.schema import CHECK_LABELS
from rzero_mega.tracking.summaries import NOTHING

_LONGEST_TEXT = 1200
# Control characters, and those that turn the direction of the text after them.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_REASONS = {
    **CHECK_LABELS,
    "duplicate": "same question again",
    "seen_before": "near-duplicate of earlier data",
    "near_duplicate": "near-duplicate in its batch",
    "overlong": "prompt too long for the context or a micro-batch",
    "unanswered": "no sample has an answer",
    "support": "too few votes of one source",
    "below_band": "p̂ below the band",
    "above_band": "p̂ above the band",
    "scores_alike": "spread of scores below the band",
    "scores_apart": "spread of scores above the band",
    "question_text": "unwanted words in the question",
    "answer": "unwanted answer",
    "answer_text": "unwanted words in the answer",
    "held_out": "asked by the evaluation",
    "no_truth": "no exact answer to train on",
    "rejected": "not accepted by the Verifier",
    "low_value": "expected to teach less than others",
    "template": "too many that differ in numbers alone",
}


def diagnostic_text(config: Config) -> str | None:
    """What has to be said of a run whose Solver is trained on true answers; None of any other."""
    if config.labels.label != "truth":
        return None
    return (
        "a diagnostic, not self-play: the Solver is trained on the exact answers (labels.label truth); label accuracy "
        "is that of the votes, which only choose the questions"
    )


def reason_text(reason: str) -> str:
    """Why curation dropped a question, in words; a reason that has none loses its underscores."""
    return _REASONS.get(reason, model_text(reason.replace("_", " ")))


def model_text(text: str | None) -> str:
    """Text that a model wrote, at a length for reading, with unprintable characters made visible."""
    if text is None:
        return NOTHING
    shown = text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT] + " […]"
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", shown)
