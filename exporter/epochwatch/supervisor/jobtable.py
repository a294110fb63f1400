"""The table of `epochwatch jobs`: each job's last run and its next start, for people; pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, tzinfo
from unicodedata import east_asian_width

from ..phrases import duration
from .state import JobState, is_open

HEADINGS = ("JOB", "SCHEDULE", "LAST START", "TOOK", "OUTCOME", "LAST SUCCESS", "NEXT START", "NOTE")
_NOTHING = "-"


def table(
    states: Mapping[str, JobState], running: frozenset[str], now: float, zone_of: Callable[[str], tzinfo]
) -> str:
    """Takes what is known of the jobs and gives the lines to print.

    Args:
        running: Names of the jobs that run now.
        now: Unix time in seconds.
        zone_of: Gives the zone of a job's timezone, in which its times are shown.
    """
    rows = [
        HEADINGS,
        *(row(name, state, name in running, now, zone_of(state.timezone)) for name, state in states.items()),
    ]
    widths = [max(map(_width, column)) for column in zip(*rows, strict=True)]
    return "\n".join(_line(cells, widths) for cells in rows)


def row(name: str, state: JobState, running: bool, now: float, zone: tzinfo) -> tuple[str, ...]:
    """Gives the cells of one job."""
    took = state.last_duration_seconds
    if running and state.last_start is not None:
        took = now - state.last_start
    return (
        name,
        " ".join(filter(None, (state.schedule, state.timezone))) or _NOTHING,
        moment(state.last_start, zone),
        _NOTHING if took is None else duration(took).en,
        "running" if running else _outcome(state),
        moment(state.last_success, zone),
        moment(state.next_start, zone),
        ", ".join(_notes(state, running, now)),
    )


def moment(at: float | None, zone: tzinfo) -> str:
    """Gives a Unix time as a wall clock shows it."""
    return _NOTHING if at is None else datetime.fromtimestamp(at, zone).strftime("%Y-%m-%d %H:%M %Z")


def _outcome(state: JobState) -> str:
    if not state.last_outcome:
        return _NOTHING
    return f"{state.last_outcome} ({state.last_exit_code})" if state.last_exit_code else state.last_outcome


def _notes(state: JobState, running: bool, now: float) -> Iterator[str]:
    if state.next_start is not None and now - state.next_start > (state.grace_seconds or 0):
        yield f"missed its start {duration(now - state.next_start).en} ago"
    if is_open(state) and not running:
        yield "its last run ended unseen"
    skipped = state.runs.get("skipped", 0)
    if skipped:
        yield f"{skipped} left out"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (cell + " " * (width - _width(cell)) for cell, width in zip(cells, widths, strict=True))
    return "  ".join(padded).rstrip()


def _width(text: str) -> int:
    # Chinese characters take two columns of a terminal.
    return sum(2 if east_asian_width(sign) in "WF" else 1 for sign in text)
