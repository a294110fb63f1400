"""Has charge of several jobs: looks what is due, waits for what comes next, ends everything in order."""

from __future__ import annotations

import select
import signal
import time
from collections.abc import Callable, Sequence

from ..errors import EpochwatchError
from ..troubles import LOGGER
from .jobbook import JobBook
from .jobspec import JobSpec
from .scheduledjob import ScheduledJob
from .signals import Signals

# A machine that slept, or whose clock was set, is noticed after this.
LONGEST_WAIT_SECONDS = 10.0
SHORTEST_WAIT_SECONDS = 0.05

ENDING = (signal.SIGTERM, signal.SIGINT)


class Scheduler:
    """Starts jobs by their schedules until it is told to end.

    Args:
        make_job: Makes a job that ends by calling `wake`.
        books: Those of the jobs, for /metrics; kept up to date here.
        reap: Is called each time the scheduler wakes, for orphans that a container's process 1 has to bury.
    """

    def __init__(
        self,
        make_job: Callable[[JobSpec, Callable[[], None]], ScheduledJob],
        books: list[JobBook],
        *,
        reap: Callable[[], None] = lambda: None,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._make_job = make_job
        self._books = books
        self._reap = reap
        self._now = now
        self._clock = clock
        self._wakes = Signals()
        self.jobs: dict[str, ScheduledJob] = {}
        # Taken out of the file while they ran.
        self._leaving: list[ScheduledJob] = []

    def take_up(self, specs: Sequence[JobSpec], now: float) -> None:
        """Begins to have charge of these jobs.

        Raises:
            ScheduleError: If a schedule is wrong.
            StateError: If a state cannot be used, or another scheduler has charge of a job.
        """
        try:
            for spec in specs:
                self._add(spec, now)
        except EpochwatchError:
            self.let_go()
            raise

    def step(self, now: float) -> None:
        """Does what is due now in every job."""
        for job in self.jobs.values():
            job.step(now)

    def seconds_to_next(self, now: float) -> float:
        """Gives how long the scheduler may sleep."""
        waits = [job.seconds_to_next(now) for job in self.jobs.values()]
        return max(SHORTEST_WAIT_SECONDS, min([*waits, LONGEST_WAIT_SECONDS]))

    def change_to(self, specs: Sequence[JobSpec], now: float) -> None:
        """Takes the jobs of a file that was read again; what runs goes on, and ends under its old description.

        Raises:
            StateError: If a job that is new cannot be taken up; the others are.
        """
        wanted = {spec.name: spec for spec in specs}
        for name in self.jobs.keys() - wanted.keys():
            self._drop(name)
        problems = []
        for name, spec in wanted.items():
            try:
                if name not in self.jobs:
                    self._add(spec, now)
                elif self.jobs[name].spec != spec:
                    self.jobs[name].change_to(spec, now)
            except EpochwatchError as error:
                problems.append(error)
        if problems:
            raise problems[0]

    def serve(self, signals: Signals, reload: Callable[[], Sequence[JobSpec]] | None = None) -> None:
        """Works until SIGTERM or SIGINT comes, and ends the runs then.

        Args:
            signals: Where this process's own signals come to.
            reload: Reads the jobs anew, at SIGHUP; without it SIGHUP is a reason to end too.
        """
        ending = ENDING if reload is not None else (*ENDING, signal.SIGHUP)
        while True:
            self.step(self._now())
            self._reap()
            self._wait(signals, self.seconds_to_next(self._now()))
            for number in signals.take():
                if number in ending:
                    self.end(number, signals)
                    return
                if number == signal.SIGHUP and reload is not None:
                    self._reload(reload)
                else:
                    self._pass_on(number)

    def end(self, number: int, signals: Signals) -> None:
        """Passes the signal on to what runs and waits for its end; after its grace, or at a second one, kills it."""
        began = self._clock()
        self._pass_on(number)
        while running := [job for job in self._all() if job.running]:
            self._wait(signals, 1.0)
            again = any(other in ENDING for other in signals.take())
            for job in running:
                if again or self._clock() - began > job.spec.stop_grace_seconds:
                    job.signal(signal.SIGKILL)

    def let_go(self) -> None:
        """Gives up charge of all jobs."""
        for name in list(self.jobs):
            self._drop(name)

    def close(self) -> None:
        """Gives up charge of all jobs, for good."""
        self.let_go()
        self._wakes.close()

    def _add(self, spec: JobSpec, now: float) -> None:
        job = self._make_job(spec, lambda: self._wakes.put(0))
        try:
            job.take_up(now)
        except EpochwatchError:
            job.let_go()
            raise
        self.jobs[spec.name] = job
        self._books.append(job.book)

    def _drop(self, name: str) -> None:
        job = self.jobs.pop(name)
        self._books.remove(job.book)
        job.let_go()
        self._leaving = [other for other in (*self._leaving, job) if other.running]

    def _reload(self, reload: Callable[[], Sequence[JobSpec]]) -> None:
        try:
            self.change_to(reload(), self._now())
            LOGGER.info("jobs read again: %s", ", ".join(self.jobs))
        except EpochwatchError as error:
            LOGGER.error("the jobs stay as they are where this is about them: %s", error)
        except Exception:  # a mistake of ours must not end the trainings that run
            LOGGER.exception("the jobs stay as they are: their file could not be read")

    def _pass_on(self, number: int) -> None:
        for job in self._all():
            job.signal(number)

    def _all(self) -> list[ScheduledJob]:
        return [*self.jobs.values(), *self._leaving]

    def _wait(self, signals: Signals, seconds: float) -> None:
        select.select([signals, self._wakes], [], [], seconds)
        self._wakes.take()
