"""The plain state of one job: what /metrics shows of it, and what a scheduler keeps over its own restart.

Written by whoever runs the job, read by the collector on another thread; every field is replaced whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import NamedTuple

from .catalogue import OUTCOMES, PATTERNS
from .ended import Ended
from .jobspec import JobSpec


class Usage(NamedTuple):
    """What the processes of a run have used: CPU since its start, memory now."""

    cpu_seconds: float
    resident_bytes: float | None


@dataclass
class JobBook:
    """What is known of one job.

    Attributes:
        state: One of `catalogue.STATES`.
        last_outcome: Empty before the first end.
        next_start_at: When it is to start next; written by the scheduler alone.
        cpu_seconds: Of the attempts that have ended.
    """

    spec: JobSpec
    state: str = "idle"
    next_start_at: float | None = None
    last_start_at: float | None = None
    last_end_at: float | None = None
    last_success_at: float | None = None
    last_outcome: str = ""
    last_exit_code: int | None = None
    last_duration_seconds: float | None = None
    runs: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(OUTCOMES, 0)))
    matches: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(PATTERNS, 0)))
    cpu_seconds: float = 0.0

    def __post_init__(self) -> None:
        self._lock = Lock()
        self._live: Callable[[], Usage] | None = None
        self._most_cpu_seconds = 0.0

    def begin(self, at: float) -> None:
        """Takes that a run starts now."""
        self.last_start_at = at
        self.state = "running"

    def restart(self, waiting: bool) -> None:
        """Takes that the run waits for its next attempt, or makes it now."""
        self.state = "restarting" if waiting else "running"

    def end(self, ended: Ended) -> None:
        """Takes how the run ended."""
        self.last_end_at = ended.ended_at
        self.last_outcome = ended.outcome.value
        self.last_exit_code = ended.exit_code
        self.last_duration_seconds = ended.seconds
        if ended.succeeded:
            self.last_success_at = ended.ended_at
        self.runs[ended.outcome.value] += 1
        self.state = "idle"

    def watch(self, usage: Callable[[], Usage]) -> None:
        """Takes what reads the use of the attempt that has just begun."""
        with self._lock:
            self._live = usage

    def charge(self, cpu_seconds: float) -> None:
        """Takes what the attempt that `watch` began has used in the end."""
        with self._lock:
            self._live = None
            self.cpu_seconds += cpu_seconds

    def used(self) -> Usage:
        """Gives the CPU of all attempts and the memory now, None while nothing runs.

        Raises:
            OSError, psutil.Error: If it cannot be read just now.
        """
        with self._lock:
            live = Usage(0.0, None) if self._live is None else self._live()
            # A process that nobody waits for takes its time with it, and a counter must not fall.
            self._most_cpu_seconds = max(self._most_cpu_seconds, self.cpu_seconds + live.cpu_seconds)
            return Usage(self._most_cpu_seconds, live.resident_bytes)
