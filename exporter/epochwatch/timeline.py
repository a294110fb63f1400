"""What the loop is doing now, since when, and where its time went.

Written by the training thread, read by the server's. Every change swaps one tuple, so that a reader never
sees half of one and nobody needs a lock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from .catalogue import END_STATES, TIMED_PHASES
from .trends import Pace

TIMED_AS = {
    "starting": "startup",
    "training": "train",
    "evaluating": "evaluate",
    "checkpointing": "checkpoint",
    "finished": "idle",
    "failed": "idle",
    "interrupted": "idle",
}
# With no more work between them, two saved files are one checkpoint: the best and the last, say.
SAME_CHECKPOINT_SECONDS = 1.0


class Now(NamedTuple):
    """The state, what its time counts as, since when (clock seconds), and the seconds spent before it."""

    state: str
    timed_phase: str
    since: float
    spent: dict[str, float]


class Timeline:
    """The states of one run in their order, and its signs of life."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        started = clock()
        self._now = Now("starting", "startup", started, dict.fromkeys(TIMED_PHASES, 0.0))
        self._paces = {state: Pace() for state in ("evaluating", "checkpointing")}
        self.last_sign = started
        self.last_checkpoint: float | None = None
        self.checkpoint_interval_seconds: float | None = None
        self._worked_at_checkpoint = 0.0

    @property
    def state(self) -> str:
        return self._now.state

    @property
    def position(self) -> tuple[str, str]:
        """Gives the state and what its time counts as, for `enter` to come back to."""
        return self._now.state, self._now.timed_phase

    def enter(self, state: str, timed_phase: str | None = None) -> None:
        """Goes over to `state`; its time counts as `timed_phase`, or as what goes with the state.

        A state of the end is final.
        """
        at = self._clock()
        before = self._now
        if before.state in END_STATES:
            return
        spent = dict(before.spent)
        spent[before.timed_phase] += max(0.0, at - before.since)
        self._now = Now(state, timed_phase or TIMED_AS[state], at, spent)

    def sign(self) -> None:
        """Takes a sign of life; in evaluation and checkpoints their pace is learned from it."""
        at = self._clock()
        pace = self._paces.get(self._now.state)
        if pace is not None:
            # What came before the state began is not its pace.
            pace.recent_seconds.append(at - max(self.last_sign, self._now.since))
        self.last_sign = at

    def checkpoint_made(self) -> None:
        """Takes that a checkpoint is complete now; files that are saved one after the other are one checkpoint."""
        at = self._clock()
        spent = self.spent_seconds()
        worked = sum(spent.values()) - spent["checkpoint"]
        if self.last_checkpoint is not None and worked - self._worked_at_checkpoint > SAME_CHECKPOINT_SECONDS:
            self.checkpoint_interval_seconds = at - self.last_checkpoint
        self.last_checkpoint, self._worked_at_checkpoint = at, worked

    def spent_seconds(self) -> dict[str, float]:
        """Gives the seconds by timed phase, the one going on included."""
        now = self._now
        spent = dict(now.spent)
        spent[now.timed_phase] += max(0.0, self._clock() - now.since)
        return spent

    def stall_timeout_seconds(self, training: Pace) -> float:
        """Gives the silence after which the state counts as stalled; `training` is the steps' pace."""
        return self._paces.get(self._now.state, training).stall_timeout_seconds()
