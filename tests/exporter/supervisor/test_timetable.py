"""A schedule is kept, late starts are made within their grace, and missed ones are seen."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest

from epochwatch.supervisor.cron import Cron
from epochwatch.supervisor.state import JobState
from epochwatch.supervisor.timetable import Due, Timetable, is_to_be_told

NIGHTLY = Timetable(Cron("0 2 * * *", "Asia/Shanghai"), grace_seconds=600)


def at(text: str) -> float:
    return datetime.fromisoformat(f"2026-05-{text}").replace(tzinfo=NIGHTLY.cron.zone).timestamp()


@pytest.fixture
def state() -> JobState:
    """A job that a scheduler took up on the fourth at noon."""
    return NIGHTLY.taken_up(JobState(), at("04T12:00"))


def test_the_start_is_promised_before_the_first_run(state: JobState) -> None:
    """A job that never ran has its next start, so that even the first one can be missed."""
    assert state.next_start == at("05T02:00")
    assert state.last_start is None
    assert (state.schedule, state.timezone, state.grace_seconds) == ("0 2 * * *", "Asia/Shanghai", 600)


@pytest.mark.parametrize(
    ("now", "due"),
    [
        ("05T01:59:59", Due.NOTHING),
        ("05T02:00:00", Due.START),
        ("05T02:09:59", Due.START),
        ("05T02:10:01", Due.MISSED),
        ("05T14:00:00", Due.MISSED),
        ("06T01:00:00", Due.MISSED),
        ("06T02:05:00", Due.START),
    ],
)
def test_what_is_due(state: JobState, now: str, due: Due) -> None:
    """Nothing before the time, a start up to the grace after it, and then it is missed until the next one."""
    assert NIGHTLY.due(state, at(now)) is due


def test_a_start_moves_the_promise_on(state: JobState) -> None:
    """Once a run has started, the next night's is promised and nothing is due."""
    state = NIGHTLY.started(state, at("05T02:00:01"))

    assert (state.last_start, state.next_start) == (at("05T02:00:01"), at("06T02:00"))
    assert NIGHTLY.due(state, at("05T02:00:02")) is Due.NOTHING


def test_a_start_left_out_keeps_the_promise(state: JobState) -> None:
    """The missed start stays exported until the next run really starts."""
    state = NIGHTLY.left_out(state, at("05T08:00"))

    assert state.next_start == at("05T02:00")
    assert NIGHTLY.due(state, at("05T08:00:01")) is Due.NOTHING
    assert NIGHTLY.due(state, at("06T02:00")) is Due.START
    assert NIGHTLY.started(state, at("06T02:00")).next_start == at("07T02:00")


def test_another_scheduler_keeps_the_promise(state: JobState) -> None:
    """A start missed while nobody was there is still promised by who takes the job up."""
    assert NIGHTLY.taken_up(state, at("05T09:00")) == state
    assert NIGHTLY.due(state, at("05T09:00")) is Due.MISSED


@pytest.mark.parametrize(("expression", "zone"), [("0 3 * * *", "Asia/Shanghai"), ("0 2 * * *", "UTC")])
def test_another_schedule_is_another_promise(state: JobState, expression: str, zone: str) -> None:
    """What an earlier schedule promised does not bind the new one."""
    changed = Timetable(Cron(expression, zone), grace_seconds=60)
    now = at("05T09:00")
    taken_up = changed.taken_up(state, now)

    assert taken_up.next_start == changed.cron.next_after(now)
    assert taken_up.grace_seconds == 60
    assert changed.due(taken_up, now) is Due.NOTHING


def test_a_promise_of_another_zone_does_not_hold(state: JobState) -> None:
    """The machine's own zone may change under a schedule that names none; nothing is missed by that."""
    there = Timetable(Cron("0 2 * * *", "UTC"), grace_seconds=600)

    moved = there.taken_up(replace(state, timezone="UTC"), at("05T03:00"))
    assert moved.next_start == at("05T10:00")
    assert there.due(moved, at("05T03:00")) is Due.NOTHING


@pytest.mark.parametrize(
    ("told", "now", "expected"),
    [
        (None, "05T02:00", True),
        ("05T02:00", "05T02:01", False),
        ("05T02:00", "05T13:59", False),
        ("05T02:00", "05T14:00", True),
        ("30T02:00", "05T14:00", True),
    ],
)
def test_missed_starts_are_told_now_and_then(
    state: JobState, told: str | None, now: str, expected: bool
) -> None:
    """A run of hours keeps many starts of every minute from coming; people hear of it twice a day."""
    state = replace(state, missed_told=None if told is None else at(told))

    assert is_to_be_told(state, at(now)) is expected
    assert is_to_be_told(NIGHTLY.started(state, at(now)), at(now))


def test_a_promise_without_grace_bears_a_busy_machine() -> None:
    """A scheduler is never on the second; without a grace a start may still be a minute late."""
    strict = Timetable(NIGHTLY.cron, grace_seconds=0)
    state = strict.taken_up(JobState(), at("04T12:00"))

    assert strict.due(state, at("05T02:00:30")) is Due.START
    assert strict.due(state, at("05T02:01:01")) is Due.MISSED


def test_starts_closer_than_the_grace_become_one_run() -> None:
    """After a pause, a job of every minute is started once and not once for each minute."""
    minutely = Timetable(Cron("* * * * *", "UTC"), grace_seconds=600)
    state = minutely.taken_up(JobState(), at("04T12:00:30"))

    assert minutely.due(state, at("04T12:30:30")) is Due.START
    state = minutely.started(state, at("04T12:30:30"))
    assert minutely.due(state, at("04T12:30:59")) is Due.NOTHING
    assert minutely.due(state, at("04T12:31:00")) is Due.START


def test_a_clock_that_was_ahead_does_not_stop_the_schedule(state: JobState) -> None:
    """A state from a wrong clock's future is taken up as of now."""
    taken_up = NIGHTLY.taken_up(NIGHTLY.started(state, at("30T02:00")), at("05T12:00"))

    assert taken_up.next_start == at("06T02:00")
    assert NIGHTLY.due(taken_up, at("06T02:00")) is Due.START


def test_a_clock_that_was_ahead_keeps_no_start_from_coming(state: JobState) -> None:
    """What was settled in a future that is none any more holds no longer; a second that is set back is no matter."""
    ahead = NIGHTLY.left_out(state, at("06T03:00"))
    assert NIGHTLY.is_ahead(ahead, at("04T19:00"))
    again = NIGHTLY.taken_up(ahead, at("04T19:00"))
    assert (again.next_start, NIGHTLY.due(again, at("05T02:00"))) == (at("05T02:00"), Due.START)
    assert not NIGHTLY.is_ahead(ahead, at("06T02:59:30"))
