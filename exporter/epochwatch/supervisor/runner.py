"""Makes one run of a job: starts the command, passes signals on, waits for its end and says how it ended."""

from __future__ import annotations

import contextlib
import os
import secrets
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from ..phrases import Words
from . import jobevents
from .ended import Ended, Outcome
from .herald import JobHerald
from .jobbook import JobBook
from .jobspec import JobSpec
from .signals import Signals


class Runner:
    """Runs one job, once for each call of `run`.

    Args:
        book: Is written when a run starts and ends.
        herald: Is told of ends and restarts.
        now: Seconds since the epoch.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        spec: JobSpec,
        book: JobBook,
        herald: JobHerald,
        *,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._spec = spec
        self._book = book
        self._herald = herald
        self._now = now
        self._clock = clock

    def run(
        self,
        signals: Signals,
        *,
        inherited: Sequence[int] = (),
        on_start: Callable[[float], None] = lambda at: None,
    ) -> Ended:
        """Runs the command until its end and gives that; what comes to `signals` meanwhile is passed on.

        Whatever the command does is a value here; nothing is raised for it.

        Args:
            inherited: File descriptors that the command gets: it holds a scheduler's lock if the supervisor is killed.
            on_start: Is called once the command really runs, with the time; not called for one that cannot start.
        """
        ended = self._attempt(self._now(), signals, inherited, on_start)
        if ended.attempts == 0 and self._spec.schedule is not None:
            return ended  # no run: the scheduler tells of a start that was missed
        self._book.end(ended)
        if not ended.told:
            self._herald.tell(jobevents.ended_event(self._spec, ended, secrets.token_hex(6)))
        return ended

    def _attempt(
        self,
        started_at: float,
        signals: Signals,
        inherited: Sequence[int],
        on_start: Callable[[float], None],
    ) -> Ended:
        try:
            process = subprocess.Popen(
                self._spec.command,
                cwd=self._spec.cwd,
                env={**os.environ, **self._spec.env},
                pass_fds=inherited,
            )
        except OSError as error:
            cause = Words.same(f"{self._spec.command[0]}: {error.strerror}")
            return Ended(Outcome.FAILURE, 127, started_at, self._now(), cause, attempts=0)
        self._book.begin(started_at)
        on_start(started_at)
        stopped = False
        with selectors.DefaultSelector() as selector:
            end = os.pidfd_open(process.pid)
            selector.register(end, selectors.EVENT_READ)
            selector.register(signals, selectors.EVENT_READ)
            while process.poll() is None:
                selector.select()
                for number in signals.take():
                    stopped = stopped or number in (signal.SIGINT, signal.SIGTERM)
                    with contextlib.suppress(ProcessLookupError):
                        process.send_signal(number)
            os.close(end)
        code = process.returncode
        ended = Ended(Outcome.SUCCESS, 0, started_at, self._now(), stopped=stopped)
        if code < 0:
            cause = Words.same(signal.Signals(-code).name)
            return replace(ended, outcome=Outcome.SIGNAL, exit_code=128 - code, signal=-code, cause=cause)
        if code > 0:
            cause = Words(f"exit code {code}", f"退出码 {code}")
            return replace(ended, outcome=Outcome.FAILURE, exit_code=code, cause=cause)
        return ended
