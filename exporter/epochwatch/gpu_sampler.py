"""The thread that talks to NVML, so that a scrape never does: opens it, reads each second, opens it anew.

What it has read last is one immutable `State`, replaced as a whole; readers need no lock and never wait.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from .collector import Reading
from .gpu_session import Session

LAST_RETRY_SECONDS = 60.0


@dataclass(frozen=True)
class State:
    """What the sampler knows.

    Attributes:
        readings: Of the last success.
        sampled_at: Unix time at which the last success began.
        sampled_clock: The same on the sampler's clock.
        sampling_seconds: How long the last success took.
        failure: Why there are no readings now.
        awake_since: When sampling began, or went on after a pause, on the sampler's clock; None in a pause.
    """

    awake_since: float | None
    readings: tuple[Reading, ...] = ()
    sampled_at: float | None = None
    sampled_clock: float | None = None
    sampling_seconds: float | None = None
    failure: Exception | None = None


class Sampler:
    """Reads what `open_session` opens every `period_seconds`, while somebody asks."""

    def __init__(
        self,
        open_session: Callable[[], Session],
        *,
        period_seconds: float,
        pause_after_seconds: float,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._open_session = open_session
        self._period_seconds = period_seconds
        self._pause_after_seconds = pause_after_seconds
        self._now = now
        self._clock = clock
        self._session: Session | None = None
        self._retry_seconds = period_seconds
        self._asked = clock()
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="epochwatch-gpu", daemon=True)
        self.state = State(awake_since=self._asked)

    def start(self) -> None:
        self._thread.start()

    def ask(self) -> None:
        """Notes that somebody wants readings, and ends a pause."""
        self._asked = self._clock()
        if self.state.awake_since is None:
            self._wake.set()

    def close(self, timeout_seconds: float) -> None:
        """Stops the thread; waits for it, but no longer than this, for a driver call may never return."""
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(timeout_seconds)

    def _run(self) -> None:
        while not self._stop.is_set():
            delay_seconds = self.step()
            if self._clock() - self._asked > self._pause_after_seconds:
                self._pause()
            else:
                self._stop.wait(delay_seconds)
        self._close_session()

    def step(self) -> float:
        """Opens NVML or reads it once, and gives the seconds to wait before the next time."""
        started, started_at = self._clock(), self._now()
        try:
            if self._session is None:
                self._session = self._open_session()
            readings = self._session.read()
        except Exception as error:  # the thread's top: whatever it is, the next try may do better
            return self._failed(error)
        self._retry_seconds = self._period_seconds
        self.state = replace(
            self.state,
            readings=tuple(readings),
            # The beginning: after a call that hung, what was read before it is as old as that.
            sampled_at=started_at,
            sampled_clock=started,
            sampling_seconds=self._clock() - started,
            failure=None,
        )
        return self._period_seconds

    def _failed(self, error: Exception) -> float:
        self.state = replace(self.state, failure=error)
        self._close_session()
        delay_seconds = self._retry_seconds
        self._retry_seconds = min(2 * delay_seconds, LAST_RETRY_SECONDS)
        return delay_seconds

    def _pause(self) -> None:
        self.state = replace(self.state, awake_since=None)
        # Asked between the last look and the line above: its wake-up may not have been sent.
        if self._clock() - self._asked > self._pause_after_seconds:
            self._wake.wait()
        self._wake.clear()
        self.state = replace(self.state, awake_since=self._clock())

    def _close_session(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None
