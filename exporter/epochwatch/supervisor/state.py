"""What is known of a job between its runs, as a value; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from .ended import UNSEEN_EXIT_CODE, Ended, Outcome


@dataclass(frozen=True)
class JobState:
    """One job's past and its next start; times are Unix times in seconds, None is not known.

    Attributes:
        next_start: What was promised; it moves on only when a run really starts.
        settled: Up to when every start of the schedule has become a run, was skipped, or was told to be missed.
        missed_told: When people were told last that a start was missed, and no run has started since.
        runs: Ended runs by outcome, skipped starts among them.
        log_matches: Lines that matched, by pattern, over all runs.
    """

    schedule: str = ""
    timezone: str = ""
    grace_seconds: float | None = None
    next_start: float | None = None
    settled: float | None = None
    missed_told: float | None = None
    last_start: float | None = None
    last_end: float | None = None
    last_success: float | None = None
    last_outcome: str = ""
    last_exit_code: int | None = None
    last_duration_seconds: float | None = None
    runs: Mapping[str, int] = field(default_factory=dict)
    log_matches: Mapping[str, int] = field(default_factory=dict)


def counted(state: JobState, outcome: Outcome) -> JobState:
    """Gives the state with one more run of that outcome."""
    return replace(state, runs=_added(state.runs, {outcome.value: 1}))


def ended_state(state: JobState, ended: Ended) -> JobState:
    """Gives the state after a run."""
    return replace(
        counted(state, ended.outcome),
        last_end=max(ended.ended_at, state.last_start or 0.0),
        last_success=ended.ended_at if ended.succeeded else state.last_success,
        last_outcome=ended.outcome.value,
        last_exit_code=ended.exit_code,
        last_duration_seconds=ended.seconds,
        log_matches=_added(state.log_matches, ended.matches),
    )


def is_open(state: JobState) -> bool:
    """Tells whether the last run has started and, as far as is known, not ended."""
    return state.last_start is not None and (state.last_end is None or state.last_end < state.last_start)


def cut_off(state: JobState, at: float) -> JobState:
    """Gives the state after a run whose end nobody saw, found out at a time; how long it took is not known."""
    return replace(
        counted(state, Outcome.FAILURE),
        last_end=max(at, state.last_start or 0.0),
        last_outcome=Outcome.FAILURE.value,
        last_exit_code=UNSEEN_EXIT_CODE,
    )


def _added(counts: Mapping[str, int], more: Mapping[str, int]) -> dict[str, int]:
    return {name: counts.get(name, 0) + more.get(name, 0) for name in {**counts, **more}}
