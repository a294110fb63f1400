"""The output of one attempt: carried on, logged, searched for patterns, and its end kept."""

from __future__ import annotations

import os
import stat
import time
from collections import Counter
from collections.abc import Callable
from threading import Lock

from ..troubles import Troubles
from .logfile import LogFile
from .patterns import NEEDLES, Scanner
from .pump import Pump
from .spawn import Child
from .tail import Tail

LAST_LINES = 20
# torch's loader, torchrun and the shell, of a process that the kernel may have ended.
_SAYS_KILLED = (b"killed by signal: Killed", b"SIGKILL", b"exitcode: -9", b"exitcode  : -9", b"\nKilled")


class Output:
    """Everything that comes out of a child, from `start` to `finish`.

    Args:
        log: Gets the output too; None for no log.
        seen: Is told of each pattern found.
    """

    def __init__(
        self, child: Child, log: LogFile | None, seen: Callable[[str, int], None], troubles: Troubles
    ) -> None:
        self.matches: Counter[str] = Counter()
        self._seen = seen
        self._lock = Lock()
        self._scanners: list[Scanner] = []
        self._tails: dict[int, Tail] = {}
        self._pumps: list[Pump] = []
        for stream in child.streams:
            scanner, tail = Scanner(self._found), Tail()
            lookers = [tail.feed, scanner.feed]
            if log is not None:
                lookers.append(log.write)
            self._scanners.append(scanner)
            self._tails[stream.target] = tail
            # A terminal that hangs up says so by SIGHUP; what that means is not decided here a second time.
            outlives = log is not None or _is_terminal(stream.target)
            self._pumps.append(
                Pump(stream.source, stream.target, lookers, outlives_target=outlives, troubles=troubles)
            )

    def start(self) -> None:
        """Starts to carry."""
        for pump in self._pumps:
            pump.start()

    def drained(self, seconds: float) -> bool:
        """Waits until all is carried, so long at most, and tells whether it is."""
        deadline = time.monotonic() + seconds
        return all(pump.wait(max(0.0, deadline - time.monotonic())) for pump in self._pumps)

    def stop(self) -> None:
        """Waits for nothing more to come, though somebody may hold the other end; what has come is carried."""
        for pump in self._pumps:
            pump.stop()

    def finish(self) -> None:
        """Ends it; what is still to come is left behind."""
        self.stop()
        if self.drained(1.0):
            for pump in self._pumps:
                pump.close()
        for scanner in self._scanners:
            scanner.close()

    def last_lines(self) -> tuple[str, ...]:
        """Gives the last lines, of the errors' stream if anything came there."""
        told = [self._tails[target].lines(LAST_LINES) for target in sorted(self._tails, reverse=True)]
        return tuple(next((lines for lines in told if lines), []))

    def says_cuda_oom(self) -> bool:
        """Tells whether its end says that the GPU had no memory left."""
        return any(
            needle in tail for pattern, needle in NEEDLES if pattern == "cuda_oom" for tail in self._ends()
        )

    def says_killed(self) -> bool:
        """Tells whether its end says that some process was killed."""
        return any(text in tail for text in _SAYS_KILLED for tail in self._ends())

    def _ends(self) -> list[Tail]:
        return list(self._tails.values())

    def _found(self, pattern: str, count: int) -> None:
        with self._lock:
            self.matches[pattern] += count
            self._seen(pattern, count)


def _is_terminal(descriptor: int) -> bool:
    # isatty(3) denies it of one that has hung up.
    return stat.S_ISCHR(os.fstat(descriptor).st_mode)
