"""What a run does besides drawing samples, by the names under which its timeline has it."""

from __future__ import annotations

from enum import StrEnum


class Activity(StrEnum):
    """A kind of span. An update holds the sending of weights, and may hold parking and the start of servers."""

    START_SERVERS = "start servers"
    START_LEARNER = "start learner"
    TRAIN = "train"
    UPDATE = "update"
    SEND = "send weights"
    VERIFY = "verify"
    PROBE = "probe"
    PARK = "park"
    CHECKPOINT = "checkpoint"
    FINISH_CHECKPOINT = "finish checkpoint"
    WRITE_MODEL = "write model"

    @property
    def seconds(self) -> str:
        """The key of its seconds in a step's metrics."""
        return f"{self}_seconds"


BEGUN = "begun"
"""The count of a CHECKPOINT that says whether one was begun in it; else it was a look at whether one is due."""
