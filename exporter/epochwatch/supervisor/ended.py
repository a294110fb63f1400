"""How one run of a job ended, as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from ..phrases import Words

# No command's own: nobody saw the end, because the supervisor or the machine went down before it.
UNSEEN_EXIT_CODE = -1


class Outcome(str, Enum):
    """What became of a run; the `outcome` label."""

    SUCCESS = "success"
    FAILURE = "failure"
    CUDA_OOM = "cuda_oom"
    HOST_OOM = "host_oom"
    TIMEOUT = "timeout"
    SIGNAL = "signal"
    SKIPPED = "skipped"


_UNSAID = Words("", "")


@dataclass(frozen=True)
class Ended:
    """One run of a job, its restarts included, after its end.

    Attributes:
        exit_code: What the supervisor passes out: the command's own, 128 + n for signal n, 124 for a run that ended
            with 0 after its time was up, 126 and 127 for a command that could not be started, as shells do.
        signal: What ended the last attempt, if a signal did.
        cause: Why, in words: "killed by SIGKILL", "did not end within 8 h".
        attempts: How often the command was started; 0 if it could not be.
        matches: How often each log pattern was seen, all attempts together.
        last_lines: The end of the output, oldest first, not masked.
        stopped: Whether somebody asked for the end by a signal that came through the supervisor.
        told: Whether the command itself has told its end, so that nobody else needs to.
        runs: Names under which the command made itself known through `epochwatch.start`, the last one last.
        link: Address of the report on the last of them; empty if the supervisor has none made.
    """

    outcome: Outcome
    exit_code: int
    started_at: float
    ended_at: float
    cause: Words = _UNSAID
    signal: int | None = None
    attempts: int = 1
    matches: Mapping[str, int] = field(default_factory=dict)
    last_lines: tuple[str, ...] = ()
    stopped: bool = False
    told: bool = False
    runs: tuple[str, ...] = ()
    link: str = ""

    @property
    def seconds(self) -> float:
        """How long the run took."""
        return max(0.0, self.ended_at - self.started_at)

    @property
    def succeeded(self) -> bool:
        return self.outcome is Outcome.SUCCESS
