"""How the outside reaches a run: signals to be passed on, put by a handler or by another thread."""

from __future__ import annotations

import contextlib
import os
import signal
from collections import deque
from collections.abc import Callable, Iterator
from types import FrameType

# What a process can be told from outside, and what its terminal has to say. Those that were ignored stay so (nohup).
FORWARDED = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGWINCH,
    signal.SIGTSTP,
    signal.SIGCONT,
)
# Those that ask for an end.
ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Signals:
    """Signals on their way to a run, oldest first; `fileno` is readable while there are some.

    Attributes:
        asked_to_end: Whether somebody has ever asked for the end.
    """

    def __init__(self) -> None:
        self.asked_to_end = False
        self._waiting: deque[int] = deque()
        self._read_end, self._write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def put(self, number: int) -> None:
        """Leaves a signal for the run. May be called by a signal handler, and by any thread."""
        self._waiting.append(number)
        self.asked_to_end = self.asked_to_end or number in ENDING_SIGNALS
        with contextlib.suppress(BlockingIOError):  # the run has enough to wake up for
            os.write(self._write_end, b"!")

    def take(self) -> list[int]:
        """Gives the signals that have come since."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self._read_end, 4096):
                pass
        taken = []
        with contextlib.suppress(IndexError):
            while True:
                taken.append(self._waiting.popleft())
        return taken

    def fileno(self) -> int:
        return self._read_end

    def wakeup_fileno(self) -> int:
        """Gives where a byte wakes who waits for `fileno`."""
        return self._write_end

    def close(self) -> None:
        """Closes the descriptors."""
        for end in (self._read_end, self._write_end):
            os.close(end)


@contextlib.contextmanager
def received(signals: Signals, numbers: tuple[int, ...] = FORWARDED) -> Iterator[None]:
    """Lets this process's own signals come to `signals`.

    Raises:
        ValueError: If it is not called on the main thread, where alone Python allows it.
    """

    def on_signal(number: int, frame: FrameType | None) -> None:
        signals.put(number)

    previous = {}
    # The kernel may give a signal to any thread, and the main one, which alone runs handlers, would sleep on.
    woken = signal.set_wakeup_fd(signals.wakeup_fileno(), warn_on_full_buffer=False)
    for number in numbers:
        if signal.getsignal(number) not in (None, signal.SIG_IGN):
            previous[number] = signal.signal(number, on_signal)
    try:
        yield
    finally:
        signal.set_wakeup_fd(woken)
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def suspendable(stop: Callable[[], None], go_on: Callable[[], None]) -> Iterator[None]:
    """Lets Ctrl-Z stop this process, but `stop` something before it; `go_on` is called when the process goes on.

    Both are called by a signal handler, between any two steps of the main thread: they must wait for no lock.

    Raises:
        ValueError: If it is not called on the main thread, where alone Python allows it.
    """

    def on_stop(number: int, frame: FrameType | None) -> None:
        stop()
        suspend_process(os.getpid())
        go_on()

    previous = signal.getsignal(signal.SIGTSTP)
    if previous in (None, signal.SIG_IGN):
        yield
        return
    signal.signal(signal.SIGTSTP, on_stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTSTP, previous)


def suspend_process(receiver: int) -> None:
    """Stops this process, or its whole group, as Ctrl-Z would if it were not handled; returns when it goes on.

    As with Ctrl-Z, nothing is stopped where no shell is there to go on with it.

    Args:
        receiver: As kill(2) has it: this process, or 0 for its group.
    """
    handler = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
    os.kill(receiver, signal.SIGTSTP)
    signal.signal(signal.SIGTSTP, handler)
