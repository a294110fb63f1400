"""How a run notices that its process is about to end without telling it: SIGTERM, exit, fork.

Everything here is undone when the run ends; other handlers get their signal as if epochwatch were not there.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import weakref
from collections.abc import Callable
from types import FrameType
from typing import Any, Protocol


class Endable(Protocol):
    """A run that can be ended from outside of its loop."""

    def end(self, state: str, *, error: BaseException | None = None) -> None: ...

    def forget_inherited(self) -> None: ...


class EndWatch:
    """Watches one process for its end on behalf of `run`, from `start` to `stop`."""

    def __init__(self, run: Endable) -> None:
        self._run = run
        self._previous: Callable[[int, FrameType | None], Any] | int | None = None
        self._installed = False
        self.terminated = False
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

    def stop(self) -> None:
        """Leaves exit and signal as they were found."""
        atexit.unregister(self._at_exit)
        # == and not `is`: a bound method is made anew at every access.
        if self._installed and threading.current_thread() is threading.main_thread():
            if signal.getsignal(signal.SIGTERM) == self._on_sigterm:
                signal.signal(signal.SIGTERM, self._previous)
            self._installed = False

    def _on_sigterm(self, number: int, frame: FrameType | None) -> None:
        first = not self.terminated
        self.terminated = True
        if callable(self._previous):
            # Someone else decides what happens; the loop may still save and leave its `with` block.
            self._previous(number, frame)
            return
        if first:
            self._run.end("interrupted")
        # The default is to die of the signal, and the parent is to see that.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
        # Still there: the kernel spares process 1 of a container what it has no handler for (pid_namespaces(7)).
        os._exit(128 + signal.SIGTERM)

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
        self.stop()


def _nothing() -> None:
    pass
