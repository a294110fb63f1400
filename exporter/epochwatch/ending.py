"""How a run notices that its process is about to end without telling it: SIGTERM, exit, fork.

Everything here is undone when the run ends; other handlers get their signal as if epochwatch were not there.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable
from types import FrameType
from typing import Any, Protocol

from .stuck import StuckWatch, die_of_sigterm

# Whoever sent SIGTERM sends SIGKILL after 30 seconds, Docker after 10; two of them have passed by then.
STUCK_END_SECONDS = 7.0


class Endable(Protocol):
    """A run that can be ended from outside of its loop."""

    def end(self, state: str, *, stuck: bool = False, error: BaseException | None = None) -> None: ...

    def forget_inherited(self) -> None: ...


class EndWatch:
    """Watches one process for its end on behalf of `run`, from `start` to `stop`."""

    def __init__(self, run: Endable) -> None:
        self._run = run
        self._previous: Callable[[int, FrameType | None], Any] | int | None = None
        self._installed = self._handled = False
        self.terminated = False
        # Only ever tried, never waited for: a signal's handler takes it in the midst of anything.
        self._ends = threading.Lock()
        self._stuck = StuckWatch(self._is_due, self._end_stuck)
        after_fork = weakref.WeakMethod(self._after_fork)
        os.register_at_fork(after_in_child=lambda: (after_fork() or _nothing)())

    def start(self) -> None:
        """Begins to watch; signals only if called on the main thread, where alone Python allows it."""
        atexit.register(self._at_exit)
        if threading.current_thread() is not threading.main_thread():
            return
        self._previous = signal.getsignal(signal.SIGTERM)
        # None is a handler that was not set from Python; an ignored SIGTERM stays ignored.
        if self._previous not in (None, signal.SIG_IGN):
            signal.signal(signal.SIGTERM, self._on_sigterm)
            self._installed = True
            if self._previous == signal.SIG_DFL:
                self._stuck.start()

    def stop(self) -> None:
        """Leaves exit and signal as they were found; the signal once it is called on the main thread."""
        atexit.unregister(self._at_exit)
        # == and not `is`: a bound method is made anew at every access.
        if self._installed and threading.current_thread() is threading.main_thread():
            self._stuck.stop()
            if signal.getsignal(signal.SIGTERM) == self._on_sigterm:
                signal.signal(signal.SIGTERM, self._previous)
            self._installed = False

    def _on_sigterm(self, number: int, frame: FrameType | None) -> None:
        again, self._handled, self.terminated = self._handled, True, True
        if callable(self._previous):
            # Someone else decides what happens; the loop may still save and leave its `with` block.
            self._previous(number, frame)
            return
        if self._ends.acquire(blocking=False):
            self._run.end("interrupted")
        elif not again:
            time.sleep(STUCK_END_SECONDS)  # back from C code while the watch's thread ends it all
        die_of_sigterm()

    def _is_due(self) -> bool:
        """Tells whether the handler is to run and has not begun; who has set another one decides by himself."""
        return not self._handled and signal.getsignal(signal.SIGTERM) == self._on_sigterm

    def _end_stuck(self) -> None:
        """Ends run and process in the place of a main thread that does not come back from C code."""
        if not self._ends.acquire(blocking=False):
            return
        self.terminated = True
        # On a thread of its own, as the main thread may hold what it waits for.
        ending = threading.Thread(
            target=self._run.end,
            args=("interrupted",),
            kwargs={"stuck": True},
            name="epochwatch-ending",
            daemon=True,
        )
        ending.start()
        ending.join(STUCK_END_SECONDS)
        die_of_sigterm()

    def _at_exit(self) -> None:
        error: BaseException | None = getattr(sys, "last_value", None)
        if self.terminated:
            state = "interrupted"
        elif error is None:
            state = "finished"
        elif isinstance(error, KeyboardInterrupt):
            state = "interrupted"
        else:
            state = "failed"
        self._run.end(state, error=error)

    def _after_fork(self) -> None:
        self._run.forget_inherited()
        self._stuck.forget_inherited()
        self.stop()


def _nothing() -> None:
    pass
