"""When a checkpoint is due by the time that they take."""

from __future__ import annotations


class CheckpointPace:
    """Tells when the last checkpoint has taken no more than a share of the time since it was begun.

    From one beginning to the next, then, training has waited for checkpoints for at most that share of the time. A
    process that has begun none is due: nothing is known of what one takes, and a run that is killed again and again
    gets on by a step each time. Times are seconds of any clock.
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self._began: float | None = None
        self._waited = 0.0

    def is_due(self, now: float) -> bool:
        """Whether another one may be begun."""
        return self._began is None or self._waited <= self._share * (now - self._began)

    def begin(self, now: float) -> None:
        """One is begun; what is waited for from now on is its."""
        self._began, self._waited = now, 0.0

    def wait(self, seconds: float) -> None:
        """Training has waited so long for the last one: for its copies, its commit, or a look at whether it is due."""
        self._waited += seconds
