"""Lets SIGTERM end a process whose main thread waits in C code, as it would if nobody had set a handler.

Python runs a handler only once the main thread is back in Python, and a rank in a collective operation may not be back
for half an hour. But Python's C side writes the number of every signal to a file descriptor at once
(https://docs.python.org/3/library/signal.html#signal.set_wakeup_fd), and another thread can wait for that.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import NoReturn

GRACE_SECONDS = 2.0
LOOK_SECONDS = 0.05
# struct ucred: process, user, group (unix(7)).
_SENDER = struct.Struct("=iII")


class StuckWatch:
    """Waits for a SIGTERM whose handler does not begin.

    Args:
        is_due: Tells whether the handler has still to begin; on the watch's thread.
        on_stuck: Is called on the watch's thread if that has lasted for two seconds.
    """

    def __init__(self, is_due: Callable[[], bool], on_stuck: Callable[[], None]) -> None:
        self._is_due = is_due
        self._on_stuck = on_stuck
        self._reader: socket.socket | None = None
        self._writer: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._called = False

    def start(self) -> None:
        """Begins to watch, if the descriptor for signals is nobody else's; call it on the main thread."""
        if not hasattr(socket, "SO_PASSCRED"):
            return  # not Linux
        try:
            reader, writer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        except OSError:
            return  # too many open files; the training may do without
        # A forked child that Python knows nothing of writes here too; the kernel says who it was.
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        writer.setblocking(False)
        others = _set_descriptor(writer.fileno())
        if others != -1:
            _set_descriptor(others)
            reader.close()
            writer.close()
            return
        self._reader, self._writer = reader, writer
        self._thread = threading.Thread(
            target=self._run, args=(reader,), name="epochwatch-sigterm", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Ends it, unless `on_stuck` was called; call it on the main thread."""
        writer, thread = self._writer, self._thread
        if writer is None or thread is None or self._called or not self._give_back(writer):
            return
        self._writer = None
        # Not only closed: a child may have it too.
        writer.shutdown(socket.SHUT_RDWR)
        writer.close()
        thread.join(1.0)

    def forget_inherited(self) -> None:
        """Closes a forked child's copies, so that a signal to the child is none to its parent."""
        if self._writer is not None:
            self._give_back(self._writer)
        for end in filter(None, (self._reader, self._writer)):
            end.close()
        self._writer = self._reader = None

    def _give_back(self, writer: socket.socket) -> bool:
        """Unsets the descriptor and tells whether nobody else has set one.

        Who has set another may put this one back later on, so it has to stay open.
        """
        current = _set_descriptor(-1)
        if current not in (writer.fileno(), -1):
            _set_descriptor(current)
            return False
        return True

    def _run(self, reader: socket.socket) -> None:
        with reader:
            while signals := self._receive(reader):
                if signals[0] == signal.SIGTERM and self._is_stuck():
                    self._called = True
                    self._on_stuck()

    def _receive(self, reader: socket.socket) -> bytes:
        """Waits for a signal to this process and gives its number; empty at the end."""
        while True:
            signals, said, _, _ = reader.recvmsg(1, socket.CMSG_SPACE(_SENDER.size))
            if not signals or any(_SENDER.unpack(data)[0] == os.getpid() for _, _, data in said):
                return signals

    def _is_stuck(self) -> bool:
        deadline = time.monotonic() + GRACE_SECONDS
        while self._is_due():
            if time.monotonic() >= deadline:
                return True
            time.sleep(LOOK_SECONDS)
        return False


def _set_descriptor(descriptor: int) -> int:
    """Sets where numbers of signals are written, -1 for nowhere; gives what it was."""
    return signal.set_wakeup_fd(descriptor, warn_on_full_buffer=False)


def die_of_sigterm() -> NoReturn:
    """Ends the process as an unhandled SIGTERM does, which the parent is to see; on any thread."""
    try:
        with contextlib.suppress(Exception):
            _unset_handler()
            os.kill(os.getpid(), signal.SIGTERM)
    finally:
        # Still there: the kernel spares process 1 of a container what it has no handler for (pid_namespaces(7)).
        os._exit(128 + signal.SIGTERM)


def _unset_handler() -> None:
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        return
    # Python lets the main thread alone set a handler. Imported here, because it is hardly ever needed.
    import ctypes

    ctypes.CDLL(None).signal(int(signal.SIGTERM), None)
