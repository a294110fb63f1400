"""The real terminal in front of the supervisor, while the command has a pseudo-terminal of its own.

Keys go to the command's terminal as bytes, and that makes signals and echoes of them, as the command has set it; only
the two keys that are the supervisor's affair as well are looked for. What the command writes keeps the real terminal's
own output processing.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import termios
from typing import NamedTuple

from .signals import suspend_process
from .spawn import STDERR, STDIN, STDOUT

KEYS_BYTES = 4096

_LOCAL, _INPUT, _CHARACTERS = 3, 0, 6


class Keys(NamedTuple):
    """What was typed: how often the key that interrupts, and whether the one that suspends."""

    interrupts: int
    suspends: bool


class Terminal:
    """Passes keys and the window's size on to `master`, our side of the command's pseudo-terminal."""

    def __init__(self, master: int) -> None:
        # Of its own: the stream's end closes the other one, and a terminal that nobody holds hangs up on the command.
        self._master = os.dup(master)
        self._own = next(number for number in (STDIN, STDOUT, STDERR) if os.isatty(number))
        self._reads = os.isatty(STDIN)
        self._found: list[object] | None = None
        self._unsent = b""

    def claim(self) -> None:
        """Takes the terminal over, if this process has it at all and is not in the background."""
        self.resize()
        if self._found is not None or not self._reads or not self._in_foreground():
            return
        with contextlib.suppress(termios.error):
            self._found = termios.tcgetattr(STDIN)
            raw = termios.tcgetattr(STDIN)
            raw[_INPUT] &= ~(termios.ICRNL | termios.INLCR | termios.IGNCR | termios.IXON | termios.ISTRIP)
            raw[_LOCAL] &= ~(termios.ECHO | termios.ICANON | termios.ISIG | termios.IEXTEN)
            raw[_CHARACTERS][termios.VMIN], raw[_CHARACTERS][termios.VTIME] = 1, 0
            termios.tcsetattr(STDIN, termios.TCSADRAIN, raw)

    def release(self) -> None:
        """Gives the terminal back as it was found."""
        if self._found is not None:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(STDIN, termios.TCSADRAIN, self._found)  # type: ignore[arg-type]
            self._found = None

    def close(self) -> None:
        """Gives the terminal back, and lets go of the command's."""
        self.release()
        os.close(self._master)

    @property
    def reads_keys(self) -> bool:
        """Whether keys are to be passed on now."""
        return self._found is not None

    def resize(self) -> None:
        """Gives the command's terminal the size of the real one."""
        with contextlib.suppress(OSError):
            size = fcntl.ioctl(self._own, termios.TIOCGWINSZ, bytes(8))
            fcntl.ioctl(self._master, termios.TIOCSWINSZ, size)

    def pass_keys(self) -> Keys | None:
        """Passes on what was typed and tells what of it concerns the supervisor; None if the terminal is gone."""
        try:
            typed = os.read(STDIN, KEYS_BYTES)
        except OSError:
            typed = b""
        if not typed:
            self._reads, self._found = False, None
            return None
        interrupt, suspend = self._signal_keys()
        self._send(typed if suspend is None else typed.replace(suspend, b""))
        return Keys(
            0 if interrupt is None else typed.count(interrupt), suspend is not None and suspend in typed
        )

    def suspend(self) -> None:
        """Stops this process and its pipeline, as the key would without a supervisor; returns when it goes on."""
        self.release()
        suspend_process(0)
        self.claim()

    def _send(self, typed: bytes) -> None:
        # A command that reads nothing takes no more than its terminal holds; the rest waits, up to a page of it.
        self._unsent = (self._unsent + typed)[-KEYS_BYTES:]
        with contextlib.suppress(OSError):
            self._unsent = self._unsent[os.write(self._master, self._unsent) :]

    def _signal_keys(self) -> tuple[bytes | None, bytes | None]:
        """Gives the keys that make signals as the command's terminal is set; None where they make none."""
        try:
            attributes = termios.tcgetattr(self._master)
        except termios.error:
            return None, None
        if not attributes[_LOCAL] & termios.ISIG:
            return None, None
        keys = attributes[_CHARACTERS]
        return _key(keys[termios.VINTR]), _key(keys[termios.VSUSP])

    def _in_foreground(self) -> bool:
        try:
            return os.tcgetpgrp(STDIN) == os.getpgrp()
        except OSError:
            return False


def _key(key: bytes | int) -> bytes | None:
    return key if isinstance(key, bytes) and key != b"\0" else None
