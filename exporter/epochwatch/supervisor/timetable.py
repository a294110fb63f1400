"""What is to be done about a job's schedule now: wait, start a run, or say that a start was missed.

A start may be late by the grace, after which it is missed: it is told, and the next regular one is waited for. A
training of the night is not caught up on in the morning, when people need the GPUs. The promised time moves on only
when a run really starts, so that Prometheus sees the missed one until then.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto

from .cron import Cron
from .jobspec import JobSpec
from .state import JobState

# A scheduler that looks once a second, on a busy machine, is never as late as this.
SHORTEST_LATENESS_SECONDS = 60.0
# As the shipped routes repeat what the rules have found out.
TOLD_EVERY_SECONDS = 12 * 3600.0


class Due(Enum):
    """What a job's schedule asks for."""

    NOTHING = auto()
    START = auto()
    MISSED = auto()


@dataclass(frozen=True)
class Timetable:
    """The schedule of one job.

    Args:
        grace_seconds: How late a start may be.
    """

    cron: Cron
    grace_seconds: float

    def taken_up(self, state: JobState, now: float) -> JobState:
        """Gives the state with which a scheduler begins; what was promised by this schedule still holds."""
        holds = self._is_ours(state) and state.settled is not None and state.settled <= now
        return replace(
            state,
            schedule=self.cron.expression,
            timezone=self.cron.timezone,
            grace_seconds=self.grace_seconds,
            next_start=state.next_start if holds else self.cron.next_after(now),
            settled=state.settled if holds else now,
        )

    def _is_ours(self, state: JobState) -> bool:
        """Tells whether this schedule has made the state's promise; the machine's own zone may have changed since."""
        if (state.schedule, state.timezone) != (self.cron.expression, self.cron.timezone):
            return False
        return state.next_start is not None and self.cron.next_after(state.next_start - 1) == state.next_start

    def due(self, state: JobState, now: float) -> Due:
        """Tells what is to be done now."""
        waiting = self.next_attempt(state, now)
        if waiting > now:
            return Due.NOTHING
        late = max(self.grace_seconds, SHORTEST_LATENESS_SECONDS)
        # A later regular time may have come within the grace: one run serves both.
        return Due.START if self.cron.next_after(max(waiting - 1, now - late)) <= now else Due.MISSED

    def next_attempt(self, state: JobState, now: float) -> float:
        """Gives the first start that is not settled, a Unix time."""
        return self.cron.next_after(now if state.settled is None else state.settled)

    def is_ahead(self, state: JobState, now: float) -> bool:
        """Tells whether the clock has been set back by so much that what is settled lies in the future."""
        late = max(self.grace_seconds, SHORTEST_LATENESS_SECONDS)
        return state.settled is not None and state.settled > now + late

    def started(self, state: JobState, now: float) -> JobState:
        """Gives the state once a run has really started."""
        next_start = self.cron.next_after(now)
        return replace(state, last_start=now, settled=now, next_start=next_start, missed_told=None)

    def left_out(self, state: JobState, now: float) -> JobState:
        """Gives the state once it is clear that the starts up to now make no run; the promise stays."""
        return replace(state, settled=now)


def is_to_be_told(state: JobState, now: float) -> bool:
    """Tells whether people should hear of a missed start now: not of each one that a long run keeps from coming."""
    return state.missed_told is None or not 0 <= now - state.missed_told < TOLD_EVERY_SECONDS


def timetable_of(spec: JobSpec) -> Timetable:
    """Gives a job's timetable.

    Raises:
        ScheduleError: If its schedule or zone is wrong.
    """
    return Timetable(Cron(spec.schedule or "", spec.timezone or ""), spec.grace_seconds)
