"""One start of the command, to its end: passes on signals and keys, keeps the time, cleans up."""

from __future__ import annotations

import contextlib
import math
import os
import selectors
import signal
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from .nursery import Nursery, Reaped
from .output import Output
from .signals import ENDING_SIGNALS, Signals
from .spawn import STDIN, Child
from .terminal import Terminal

TICK_SECONDS = 1.0
# What a terminal sends to the whole group in front of it; everything else is for the command alone.
GROUP_SIGNALS = (signal.SIGINT, signal.SIGQUIT)


class End(NamedTuple):
    """How an attempt ended.

    Attributes:
        reaped: What the command did.
        timed_out: Whether its time was up.
        stopped_by: What signal it was to end by.
        asked_to_end: Whether somebody has asked for the end, be it only when the command had ended by itself.
    """

    reaped: Reaped
    timed_out: bool
    stopped_by: int | None
    asked_to_end: bool


class Attempt:
    """Waits for a child that has been started.

    Args:
        deadline: When its time is up, by `clock`; infinity for never.
        on_timeout: Is called before the child is ended because of that.
        on_tick: Is called each second, and at once at the child's end.
        grace_seconds: Between SIGTERM and SIGKILL.
    """

    def __init__(
        self,
        child: Child,
        output: Output,
        signals: Signals,
        nursery: Nursery,
        *,
        deadline: float,
        on_timeout: Callable[[], None],
        on_tick: Callable[[], None],
        grace_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._child = child
        self._output = output
        self._signals = signals
        self._nursery = nursery
        self._deadline = deadline
        self._on_timeout = on_timeout
        self._on_tick = on_tick
        self._grace_seconds = grace_seconds
        self._clock = clock
        self._terminal = None if child.terminal is None else Terminal(child.terminal)
        self._kill_at = math.inf
        self._timed_out = False
        self._interrupts = 0
        self._stopped_by: int | None = None

    def run(self) -> End:
        """Waits for the child's end and that of all it has started; gives how it ended."""
        self._output.start()
        if self._terminal is not None:
            self._terminal.claim()
        try:
            self._wait()
            self._on_tick()
            self._nursery.end_rest(self._child.pid, self._grace_seconds)
            reaped = self._nursery.reap(self._child.pid)
            if self._terminal is not None:
                self._terminal.release()  # its keys are ours again, there is nobody else to end the wait by them
            asked_to_end = self._drain()
        finally:
            if self._terminal is not None:
                self._terminal.close()
            self._output.finish()
        return End(reaped, self._timed_out, self._stopped_by, asked_to_end)

    def _wait(self) -> None:
        end = Signals()
        watch = threading.Thread(target=self._announce_end, args=(end,), name="epochwatch-end", daemon=True)
        watch.start()
        with contextlib.closing(end), contextlib.closing(selectors.DefaultSelector()) as selector:
            selector.register(end, selectors.EVENT_READ)
            selector.register(self._signals, selectors.EVENT_READ)
            while True:
                self._watch_keys(selector)
                ready = {key.fd for key, _ in selector.select(self._seconds_to_timer())}
                if end.fileno() in ready:
                    watch.join()
                    return
                for number in self._signals.take():
                    self._pass_on(number)
                if STDIN in ready:
                    self._pass_keys(selector)
                self._on_time()

    def _announce_end(self, end: Signals) -> None:
        # A thread and not a pidfd: conda's Python and old kernels have none.
        try:
            self._nursery.await_end(self._child.pid)
        finally:
            end.put(0)  # or nobody would ever hear that this has failed

    def _seconds_to_timer(self) -> float:
        due = min(self._deadline if not self._timed_out else math.inf, self._kill_at)
        return max(0.0, min(TICK_SECONDS, due - self._clock()))

    def _on_time(self) -> None:
        now = self._clock()
        if now >= self._kill_at:
            self._kill_at = math.inf
            self._nursery.kill(self._child.pid)
        elif now >= self._deadline and not self._timed_out:
            self._timed_out = True
            self._on_timeout()
            self._kill_at = now + self._grace_seconds
            self._to_group(signal.SIGTERM)
            self._to_group(signal.SIGCONT)  # one that is stopped would not hear it
        self._nursery.reap_orphans()
        self._on_tick()

    def _pass_on(self, number: int) -> None:
        if number == signal.SIGWINCH:
            if self._terminal is not None:
                self._terminal.resize()
        elif number == signal.SIGTSTP:
            self._suspend()
        elif number == signal.SIGCONT:
            self._to_group(number)
            if self._terminal is not None:
                self._terminal.claim()
        else:
            self._stop_by(number)
            if number == signal.SIGKILL or (number == signal.SIGINT and self._interrupts > 1):
                self._nursery.kill(self._child.pid)
            elif number in GROUP_SIGNALS:
                self._to_group(number)
            else:
                self._to_child(number)

    def _stop_by(self, number: int) -> None:
        if number in ENDING_SIGNALS and self._stopped_by is None and not self._timed_out:
            self._stopped_by = number
        self._interrupts += number == signal.SIGINT

    def _watch_keys(self, selector: selectors.BaseSelector) -> None:
        wanted = self._terminal is not None and self._terminal.reads_keys
        if wanted and STDIN not in selector.get_map():
            selector.register(STDIN, selectors.EVENT_READ)
        elif not wanted and STDIN in selector.get_map():
            selector.unregister(STDIN)

    def _pass_keys(self, selector: selectors.BaseSelector) -> None:
        keys = self._terminal.pass_keys() if self._terminal is not None else None
        if keys is None:
            return
        # The command's terminal has made the first a signal.
        for _ in range(keys.interrupts):
            self._signals.asked_to_end = True
            self._stop_by(signal.SIGINT)
        if keys.interrupts and self._interrupts > 1:
            self._nursery.kill(self._child.pid)
        if keys.suspends:
            self._suspend()

    def _suspend(self) -> None:
        # Not SIGTSTP: the kernel lets no group be stopped by it whose parent is in another session.
        self._to_group(signal.SIGSTOP)
        if self._terminal is not None:
            self._terminal.suspend()
        else:
            os.kill(os.getpid(), signal.SIGSTOP)
        self._to_group(signal.SIGCONT)

    def _drain(self) -> bool:
        """Waits for whoever reads our output, as the command would, and tells whether somebody has asked for the end.

        A signal ends the patience, and so does a time that is up; where the command was ended, its grace is the time.
        """
        asked_to_end = self._stopped_by is not None
        patience_ends = self._deadline
        if asked_to_end or self._timed_out:
            patience_ends = self._clock() + self._grace_seconds
        while not self._output.drained(TICK_SECONDS) and self._clock() < patience_ends:
            # All that could be ended is; what holds our pipe all the same (sudo's, say) keeps no run from its end.
            self._output.stop()
            if set(self._signals.take()) & {*ENDING_SIGNALS, signal.SIGKILL}:
                return True
        return asked_to_end

    def _to_group(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._child.pid, number)

    def _to_child(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(self._child.pid, number)
