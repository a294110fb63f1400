"""Somebody at a terminal: types, looks, and makes the window larger."""

from __future__ import annotations

import fcntl
import os
import select
import struct
import subprocess
import termios
import time
from collections.abc import Sequence

SHELL = ("env", "PS1=shell> ", "bash", "--norc", "--noprofile", "--noediting", "-i")


class TerminalUser:
    """Starts a command as a shell in front of a terminal would: with it as its controlling one."""

    def __init__(
        self, command: Sequence[str], *, stdout: int | None = None, rows: int = 24, columns: int = 80
    ) -> None:
        self._master, slave = os.openpty()
        self.resize(rows, columns)
        self.found = termios.tcgetattr(slave)
        self.seen = b""
        self._slave = slave
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *command],
            stdin=slave,
            stdout=slave if stdout is None else stdout,
            stderr=slave,
        )

    def type(self, keys: bytes) -> None:
        """Types keys."""
        os.write(self._master, keys)

    def resize(self, rows: int, columns: int) -> None:
        """Changes the size of the window."""
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def look_for(self, text: bytes, seconds: float = 20.0) -> bytes:
        """Waits until a text is on the screen and gives all that came since the last one, up to it."""
        deadline = time.monotonic() + seconds
        while text not in self.seen:
            left = deadline - time.monotonic()
            assert left > 0, f"{text!r} has not come, but {self.seen!r}"
            if select.select([self._master], [], [], left)[0]:
                self.seen += os.read(self._master, 65536)
        before, _, self.seen = self.seen.partition(text)
        return before

    def wait(self) -> int:
        """Waits for the command's end and gives its exit code."""
        return self.process.wait(20)

    def attributes(self) -> list[object]:
        """Gives how the terminal is set now."""
        return termios.tcgetattr(self._slave)

    def hang_up(self) -> None:
        """Closes the terminal, as a window's end does."""
        for end in (self._slave, self._master):
            os.close(end)
        self._slave = self._master = -1

    def close(self) -> None:
        """Goes away, and leaves nothing running."""
        self.process.kill()
        self.process.wait()
        if self._master >= 0:
            self.hang_up()
