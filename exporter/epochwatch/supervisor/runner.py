"""Makes one run of a job: starts the command, again if it fails and may, and says how it ended."""

from __future__ import annotations

import contextlib
import math
import os
import secrets
import select
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..phrases import Words
from ..supervised import Supervised
from ..troubles import Troubles
from . import jobevents
from .aftermath import Aftermath
from .attempt import Attempt, End
from .cgroup import OomKills, own_cgroup
from .ended import Ended, Outcome
from .herald import JobHerald
from .jobbook import JobBook
from .jobspec import JobSpec
from .judge import Evidence, judge
from .logfile import LogFile
from .nursery import Nursery
from .output import Output
from .signals import ENDING_SIGNALS, Signals
from .spawn import CannotStartError, Child, located, spawn
from .testimony import heard

LONGEST_DELAY_SECONDS = 300.0
# Between the kernel's kill and the end that it has brought about, what was left running ended in between.
JUST_NOW_SECONDS = 15.0


@dataclass
class Course:
    """A run while it goes on.

    Attributes:
        deadline: When its time is up, by the clock.
        may_start: Whether the command may be started again: it could be when it was tried last, and nobody has asked
            for the end.
        directory: Where the attempts' runs leave word.
    """

    run_id: str
    started_at: float
    deadline: float
    directory: Path
    log: LogFile | None
    inherited: tuple[int, ...]
    on_start: Callable[[float], None]
    attempts: int = 0
    may_start: bool = True
    matches: Counter[str] = field(default_factory=Counter)


class Runner:
    """Runs one job, once for each call of `run`; `Supervisor.runner` makes one.

    Args:
        spec: The job, as it is described for these runs.
        book: Is written when a run starts and ends.
        herald: Is told of ends and restarts.
        nursery: The process's one.
        aftermath: Ends the runs that a death leaves open.
        interactive: Whether somebody is in front of it, whose terminal and input the command gets; only for one run at
            a time, on the main thread.
        environ: What the command inherits.
        port: Where the supervisor serves, so that the command's own endpoints keep clear of it.
        now: Seconds since the epoch.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        spec: JobSpec,
        book: JobBook,
        herald: JobHerald,
        nursery: Nursery,
        aftermath: Aftermath,
        troubles: Troubles,
        *,
        interactive: bool = False,
        environ: Mapping[str, str] = os.environ,
        port: int | None = None,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._spec = spec
        self._book = book
        self._herald = herald
        self._nursery = nursery
        self._aftermath = aftermath
        self._troubles = troubles
        self._interactive = interactive
        self._environ = environ
        self._port = port
        self._now = now
        self._clock = clock
        self._oom_kills = OomKills(own_cgroup(), clock=clock)

    def run(
        self,
        signals: Signals,
        *,
        inherited: Sequence[int] = (),
        on_start: Callable[[float], None] = lambda at: None,
        on_end: Callable[[Ended], None] = lambda ended: None,
    ) -> Ended:
        """Runs the command until its end and gives that; what comes to `signals` meanwhile is passed on.

        Whatever the command does is a value here; nothing is raised for it.

        Args:
            inherited: File descriptors that the command gets: it holds a scheduler's lock if the supervisor is killed.
            on_start: Is called once the command really runs, with the time; not called for one that cannot start.
            on_end: Is called before the end is told; not called for a start that the scheduler has to tell of.
        """
        with self._course(inherited, on_start) as course:
            ended = self._attempt(course, signals)
            while (delay := self._seconds_to_restart(course, ended)) is not None:
                if not self._pause(course, ended, delay, signals):
                    ended = replace(ended, stopped=True)
                    break
                ended = self._attempt(course, signals)
            if ended.attempts == 0 and self._spec.schedule is not None:
                return ended  # no run: the scheduler tells of a start that was missed
            self._book.end(ended)
            on_end(ended)
            if not ended.told:
                self._herald.tell(jobevents.ended_event(self._spec, ended, course.run_id), self._spec.env)
            return ended

    @contextlib.contextmanager
    def _course(self, inherited: Sequence[int], on_start: Callable[[float], None]) -> Iterator[Course]:
        spec = self._spec
        timeout = math.inf if spec.timeout_seconds is None else spec.timeout_seconds
        log = None
        if spec.log_file is not None:
            log = LogFile(spec.log_file, spec.log_size_bytes, spec.log_files, self._troubles)
        with _scratch(self._troubles) as directory:
            deadline = self._clock() + timeout
            run_id = secrets.token_hex(6)
            try:
                yield Course(run_id, self._now(), deadline, directory, log, tuple(inherited), on_start)
            finally:
                if log is not None:
                    log.close()

    def _seconds_to_restart(self, course: Course, ended: Ended) -> float | None:
        """Gives how long to wait before the command is started again; None if it is not to be."""
        if ended.succeeded or ended.stopped or ended.outcome is Outcome.TIMEOUT:
            return None
        if not course.may_start or course.attempts > self._spec.restarts:
            return None
        delay = min(LONGEST_DELAY_SECONDS, self._spec.restart_delay_seconds * 2.0 ** (course.attempts - 1))
        return delay if self._clock() + delay < course.deadline else None

    def _pause(self, course: Course, ended: Ended, delay: float, signals: Signals) -> bool:
        """Waits before the next attempt; tells whether there is to be one, or a signal has come between."""
        until = self._clock() + delay
        if not ended.told:
            event = jobevents.restarting(self._spec, ended, course.run_id, course.attempts, delay)
            self._herald.tell(event, self._spec.env)
        self._book.restart(waiting=True)
        while (left := until - self._clock()) > 0:
            select.select([signals], [], [], left)
            if set(signals.take()) & set(ENDING_SIGNALS):
                return False
        self._book.restart(waiting=False)
        return True

    def _attempt(self, course: Course, signals: Signals) -> Ended:
        supervised = Supervised(
            self._spec.name,
            course.directory / str(course.attempts),
            self._port,
            course.attempts,
            course.run_id,
        )
        with contextlib.suppress(OSError):
            supervised.directory.mkdir(mode=0o700)
        env = {**self._environ, **self._spec.env, **supervised.environment()}
        kills = self._oom_kills.count()
        try:
            command = located(self._spec.command, env, self._spec.cwd)
            child = self._nursery.start(
                course.run_id,
                lambda: spawn(command, env, self._spec.cwd, course.inherited, interactive=self._interactive),
            )
        except CannotStartError as error:
            cause = Words(f"cannot be started: {error}", f"无法启动：{error}")
            self._troubles.report("start", str(error))
            course.may_start = False
            return self._ended(course, Outcome.FAILURE, error.exit_code, cause)
        try:
            end, output = self._watched(course, child, signals, supervised)
        except BaseException:
            # Nobody watches it any more, and its lock is about to be given back.
            self._nursery.abandon(child.pid)
            raise
        course.may_start = not end.asked_to_end
        self._book.charge(end.reaped.cpu_seconds)
        course.matches += output.matches
        return self._judged(course, end, output, supervised, self._oom_kills.count() - kills)

    def _watched(
        self, course: Course, child: Child, signals: Signals, supervised: Supervised
    ) -> tuple[End, Output]:
        course.attempts += 1
        if course.attempts == 1:
            self._book.begin(course.started_at)
            course.on_start(course.started_at)
        self._book.watch(lambda: self._nursery.usage(child.pid))
        output = Output(child, course.log, self._seen, self._troubles)
        end = Attempt(
            child,
            output,
            signals,
            self._nursery,
            deadline=course.deadline,
            on_timeout=supervised.announce_ending,
            on_tick=self._oom_kills.look,
            grace_seconds=self._spec.stop_grace_seconds,
            clock=self._clock,
        ).run()
        return end, output

    def _judged(
        self, course: Course, end: End, output: Output, supervised: Supervised, oom_kills: int
    ) -> Ended:
        said = heard(supervised.said())
        verdict = judge(
            Evidence(
                code=end.reaped.code,
                timeout_seconds=self._spec.timeout_seconds if end.timed_out else None,
                stopped_by=end.stopped_by,
                oom_kills=oom_kills,
                oom_kill_at_end=self._oom_kills.seconds_since_last() < JUST_NOW_SECONDS,
                log_says_cuda_oom=output.says_cuda_oom(),
                log_says_killed=output.says_killed(),
                run_says=said.kind,
            )
        )
        stopped = end.stopped_by is not None
        ended = replace(
            self._ended(course, verdict.outcome, verdict.exit_code, verdict.cause),
            signal=verdict.signal,
            last_lines=output.last_lines(),
            stopped=stopped,
            told=said.suffices(verdict.outcome, stopped),
            runs=said.runs,
        )
        environ = {**self._environ, **self._spec.env}
        links = [self._aftermath.conclude(kept, ended, environ) for kept in said.kept]
        return replace(ended, link=links[-1]) if links else ended

    def _ended(self, course: Course, outcome: Outcome, exit_code: int, cause: Words) -> Ended:
        return Ended(
            outcome,
            exit_code,
            course.started_at,
            self._now(),
            cause,
            attempts=course.attempts,
            matches=dict(course.matches),
        )

    def _seen(self, pattern: str, count: int) -> None:
        self._book.matches[pattern] += count


@contextlib.contextmanager
def _scratch(troubles: Troubles) -> Iterator[Path]:
    """Gives a directory for words; without one the command runs all the same, only nobody hears it."""
    try:
        directory = Path(tempfile.mkdtemp(prefix="epochwatch-job-"))
    except OSError as error:
        troubles.report(
            "start", f"no directory for temporary files can be made ({error.strerror}); set TMPDIR"
        )
        yield Path(os.devnull)
        return
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
