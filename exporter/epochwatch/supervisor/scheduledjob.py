"""One job under a schedule: starts it when it is due, never twice at once, and tells of starts that made no run."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from ..errors import StateError
from ..phrases import Words
from ..troubles import LOGGER, Troubles
from . import jobevents
from .ended import Outcome
from .herald import JobHerald
from .jobbook import JobBook
from .jobspec import JobSpec
from .keeper import Keeper
from .lock import run_lock, schedule_lock
from .runner import Runner
from .signals import Signals
from .state import counted, cut_off, is_open
from .timetable import Due, is_to_be_told, timetable_of


class ScheduledJob:
    """A job that this process has charge of, from `take_up` to `let_go`.

    Args:
        directory: Where its state and its locks lie.
        make_runner: Gives what makes one run.
        on_end: Is called on the run's thread, once a run has ended.

    Raises:
        ScheduleError: If its schedule or zone is wrong.
        StateError: If its state cannot be used, or another scheduler has charge of it.
    """

    def __init__(
        self,
        spec: JobSpec,
        directory: Path,
        herald: JobHerald,
        troubles: Troubles,
        make_runner: Callable[[JobBook], Runner],
        *,
        now: Callable[[], float] = time.time,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        self.spec = spec
        self._timetable = timetable_of(spec)
        self._keeper = Keeper(spec, directory, troubles)
        self.book = self._keeper.book
        self._herald = herald
        self._troubles = troubles
        self._make_runner = make_runner
        self._now = now
        self._on_end = on_end
        self._charge = schedule_lock(directory, spec.name)
        self._lock = run_lock(directory, spec.name)
        self._signals = Signals()
        self._thread: threading.Thread | None = None

    @property
    def running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def next_after(self, now: float) -> str:
        """Gives its first regular start after `now`, as a wall clock shows it."""
        return self._when(self._timetable.cron.next_after(now))

    def take_up(self, now: float) -> None:
        """Begins to have charge of the job; from here on its next start is promised."""
        if not self._charge.acquire():
            raise StateError(
                f"job {self.spec.name} is scheduled by {self._charge.holder()} already, with the state in "
                f"{self._charge.path.parent}: end that one, or give this one another --state-dir"
            )
        self._keeper.change(lambda state: self._timetable.taken_up(state, now))

    def change_to(self, spec: JobSpec, now: float) -> None:
        """Takes another description of the job, which holds from its next start on.

        Raises:
            ScheduleError: If the schedule or zone is wrong; nothing is changed then.
        """
        self._timetable = timetable_of(spec)
        self.spec = self.book.spec = spec
        self._keeper.change(lambda state: self._timetable.taken_up(state, now))

    def step(self, now: float) -> None:
        """Does what is due now; whatever goes wrong with one job is nothing to the others."""
        try:
            self._step(now)
        except Exception as error:
            self._troubles.report_exception("job_step", error)

    def _step(self, now: float) -> None:
        if not self.running:
            self._keeper.refresh()
            if is_open(self._keeper.state):
                self._look_after_foreign_run(now)
        if self._timetable.is_ahead(self._keeper.state, now):
            # The clock was set back: until it has caught up, nothing would be due.
            self._keeper.change(lambda state: self._timetable.taken_up(state, now))
        due = self._timetable.due(self._keeper.state, now)
        if due is Due.MISSED:
            self._leave_out(now, jobevents.nobody_there())
        elif due is Due.START:
            self._start(now)

    def seconds_to_next(self, now: float) -> float:
        """Gives how long nothing will be due."""
        return max(0.0, self._timetable.next_attempt(self._keeper.state, now) - now)

    def signal(self, number: int) -> None:
        """Passes a signal to the run, if there is one."""
        if self.running:
            self._signals.put(number)

    def wait(self, seconds: float) -> bool:
        """Waits for the end of the run, so long at most, and tells whether none is left."""
        if self._thread is not None:
            self._thread.join(seconds)
        return not self.running

    def let_go(self) -> None:
        """Gives up charge of the job; its promise stays, so that it is seen if nobody takes it up."""
        self._charge.release()
        if not self.running:
            self._signals.close()

    def _look_after_foreign_run(self, now: float) -> None:
        """Sees whether a run that is not ours still goes on, or was cut off."""
        if self._lock.is_held():
            self.book.state = "running"
            return
        # Whoever ends a run writes that before it gives the lock back.
        self._keeper.refresh()
        self.book.state = "idle"
        began = self._keeper.state.last_start
        if began is not None and is_open(self._keeper.state):
            self._keeper.change(lambda state: cut_off(state, now))
            event = jobevents.cut_off(self.spec, now, self._when(began))
            LOGGER.warning("job %s: %s", self.spec.name, event.said.en)
            self._herald.tell(event, self.spec.env)

    def _start(self, now: float) -> None:
        if self.running or not self._is_free():
            self._leave_out(now, jobevents.still_running(self._keeper.state.last_start, now), skipped=True)
            return
        # Settled at once, so that the next step does not take the start that is under way for one that is due.
        due_at = self._settle(now)
        self._signals.take()  # what came too late for the last run is not for this one
        thread = threading.Thread(
            target=self._run, args=(due_at,), name=f"epochwatch-job-{self.spec.name}", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:  # no process more may be started here
            self._lock.release()
            self._tell_missed(now, due_at, jobevents.no_thread())
            return
        self._thread = thread

    def _is_free(self) -> bool:
        try:
            return self._lock.acquire()
        except StateError as error:
            # A run that is not made for want of a lock file would be the greater harm; ours are told apart anyway.
            self._troubles.report("job_lock", str(error))
            return True

    def _run(self, due_at: float) -> None:
        held = self._lock.descriptor
        try:
            ended = self._make_runner(self.book).run(
                self._signals,
                inherited=() if held is None else (held,),
                on_start=self._has_started,
                on_end=self._keeper.ended,
            )
            if ended.attempts == 0:
                self._tell_missed(self._now(), due_at, ended.cause)
        except Exception as error:
            self._troubles.report_exception("job_run", error)
        finally:
            self._lock.release()
            self._on_end()

    def _has_started(self, at: float) -> None:
        self._keeper.change(lambda state: self._timetable.started(state, at))

    def _leave_out(self, now: float, said: Words, skipped: bool = False) -> None:
        if skipped:
            self._keeper.change(lambda state: counted(state, Outcome.SKIPPED))
        self._tell_missed(now, self._settle(now), said)

    def _settle(self, now: float) -> float:
        """Takes that the starts up to now are dealt with, and gives when the first of them was due."""
        due_at = self._timetable.next_attempt(self._keeper.state, now)
        self._keeper.change(lambda state: self._timetable.left_out(state, now))
        return due_at

    def _tell_missed(self, now: float, due_at: float, said: Words) -> None:
        LOGGER.warning("job %s %s", self.spec.name, said.en)
        if not is_to_be_told(self._keeper.state, now):
            return
        self._keeper.change(lambda state: replace(state, missed_told=now))
        next_at = self._timetable.next_attempt(self._keeper.state, now)
        event = jobevents.missed_start(
            self.spec, now, self._when(due_at), self._when(next_at), said, next_at - now
        )
        self._herald.tell(event, self.spec.env)

    def _when(self, at: float) -> str:
        return datetime.fromtimestamp(at, self._timetable.cron.zone).strftime("%Y-%m-%d %H:%M %Z")
