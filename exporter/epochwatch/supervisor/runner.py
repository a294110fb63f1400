"""Makes one run of a job: starts the command, passes signals on, waits for its end and says how it ended."""

from __future__ import annotations

import contextlib
import os
import secrets
import selectors
import signal
import subprocess
import time
from collections.abc import Callable
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

    def run(self, signals: Signals) -> Ended:
        """Runs the command until its end and gives that; what comes to `signals` meanwhile is passed on.

        Whatever the command does is a value here; nothing is raised for it.
        """
        started_at = self._now()
        self._book.begin(started_at)
        ended = self._attempt(started_at, signals)
        self._book.end(ended)
        if not ended.told:
            self._herald.tell(jobevents.ended_event(self._spec, ended, secrets.token_hex(6)))
        return ended

    def _attempt(self, started_at: float, signals: Signals) -> Ended:
        try:
            process = subprocess.Popen(
                self._spec.command, cwd=self._spec.cwd, env={**os.environ, **self._spec.env}
            )
        except OSError as error:
            cause = Words.same(f"{self._spec.command[0]}: {error.strerror}")
            return Ended(Outcome.FAILURE, 127, started_at, self._now(), cause, attempts=0)
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
