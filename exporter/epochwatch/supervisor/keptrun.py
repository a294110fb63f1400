"""One run, now, of a job with a name: never beside another of that name, kept in its state, and published.

For people who keep their system's cron, and for runs by hand of a job that a scheduler has charge of.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from ..errors import ScheduleError
from ..phrases import Words
from ..troubles import LOGGER
from . import jobevents
from .cron import Cron, zone_of
from .ended import Outcome
from .jobspec import JobSpec
from .keeper import Keeper
from .lock import run_lock
from .publishing import Publisher
from .signals import Signals
from .state import JobState, counted, cut_off, is_open
from .supervisor import Supervisor
from .timetable import Timetable, is_to_be_told, timetable_of

# EX_TEMPFAIL of sysexits.h: nothing is wrong, try again later.
SKIPPED_EXIT_CODE = 75


@dataclass(frozen=True)
class Places:
    """Where a run leaves word: its state, node_exporter's textfiles, a Pushgateway."""

    state_dir: Path
    textfile_dir: Path | None = None
    pushgateway: str | None = None


class KeptRun:
    """A run whose job's past and promise outlive it; from here on, no other of that name starts.

    Args:
        spec: Its schedule, if it has one, is what starts this command: it is only promised here, not kept.

    Raises:
        StateError: If the state cannot be used or locked, or a newer epochwatch wrote it.
        JobError: If a place to publish to cannot be right.
        ScheduleError: If the schedule or zone is wrong.
    """

    def __init__(
        self, spec: JobSpec, places: Places, supervisor: Supervisor, now: Callable[[], float] = time.time
    ) -> None:
        self._spec = spec
        self._supervisor = supervisor
        self._now = now
        self._timetable = None if spec.schedule is None else timetable_of(spec)
        self._keeper = Keeper(spec, places.state_dir, supervisor.troubles)
        self.book = self._keeper.book
        self._publisher = Publisher(self.book, supervisor.troubles, places.textfile_dir, places.pushgateway)
        self._lock = run_lock(places.state_dir, spec.name)
        self._is_free = self._lock.acquire()

    def run(self, signals: Signals) -> int:
        """Makes the run, unless there is one already, and gives the exit code to pass out."""
        if not self._is_free:
            return self._left_out()
        try:
            self._take_up()
            held = self._lock.descriptor
            ended = self._supervisor.runner(self.book, interactive=True).run(
                signals,
                inherited=() if held is None else (held,),
                on_start=self._has_started,
                on_end=self._keeper.ended,
            )
            if ended.attempts == 0:
                self._tell_missed(ended.cause)
            return ended.exit_code
        finally:
            self._publisher.close()
            self._lock.release()

    def _take_up(self) -> None:
        now, timetable = self._now(), self._timetable
        if is_open(self._keeper.state):  # and the lock is ours
            began = self._keeper.state.last_start or now
            self._keeper.change(lambda state: cut_off(state, now))
            self._supervisor.herald.tell(
                jobevents.cut_off(self._spec, now, self._when(began)), self._spec.env
            )
        if timetable is not None:
            self._keeper.change(lambda state: timetable.taken_up(state, now))

    def _has_started(self, at: float) -> None:
        timetable = self._timetable or _timetable_in(self._keeper.state)
        if timetable is None:
            self._keeper.change(lambda state: replace(state, last_start=at))
        else:
            self._keeper.change(lambda state: timetable.started(state, at))
        self._publisher.publish_soon()

    def _left_out(self) -> int:
        said = jobevents.still_running(self._keeper.state.last_start, self._now())
        LOGGER.warning("job %s %s (%s)", self._spec.name, said.en, self._lock.holder())
        self._keeper.change(lambda state: counted(state, Outcome.SKIPPED))
        self.book.state = "running"  # by that other process
        self._tell_missed(said)
        self._publisher.close()
        return SKIPPED_EXIT_CODE

    def _tell_missed(self, said: Words) -> None:
        now = self._now()
        if self._timetable is None:
            return  # started by hand, by somebody who sees what is said
        if not is_to_be_told(self._keeper.state, now):
            return
        self._keeper.change(lambda state: replace(state, missed_told=now))
        next_at = self._timetable.cron.next_after(now)
        event = jobevents.missed_start(
            self._spec, now, self._when(now), self._when(next_at), said, next_at - now
        )
        self._supervisor.herald.tell(event, self._spec.env)

    def _when(self, at: float) -> str:
        return datetime.fromtimestamp(at, zone_of(self._spec.timezone or "")).strftime("%Y-%m-%d %H:%M %Z")


def _timetable_in(state: JobState) -> Timetable | None:
    """Gives the schedule by which somebody else has promised the job's next start; this run keeps the promise."""
    try:
        return (
            Timetable(Cron(state.schedule, state.timezone), state.grace_seconds or 0)
            if state.schedule
            else None
        )
    except ScheduleError:  # a zone that this machine does not know
        return None
