"""States, their time, signs of life and stall timeouts."""

import pytest

from epochwatch.timeline import Timeline
from epochwatch.trends import Pace


class Clock:
    """A clock that only moves when told."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def timeline(clock: Clock) -> Timeline:
    return Timeline(clock)


def test_time_goes_to_the_phase_it_was_spent_in(timeline: Timeline, clock: Clock) -> None:
    """Start-up, training, evaluation, checkpoints and idling share the run's time without a gap."""
    plan = [
        ("training", None, 5),
        ("evaluating", None, 10),
        ("checkpointing", None, 2),
        ("training", "idle", 3),
    ]
    clock.seconds = 7
    for state, timed_phase, seconds in plan:
        timeline.enter(state, timed_phase)
        clock.seconds += seconds
    spent = timeline.spent_seconds()
    assert spent == {"startup": 7, "train": 5, "evaluate": 10, "checkpoint": 2, "idle": 3}


def test_a_clock_that_steps_back_takes_no_time_away(timeline: Timeline, clock: Clock) -> None:
    """Counters never fall, whatever the clock does."""
    clock.seconds = 10
    timeline.enter("training")
    clock.seconds = 4
    assert timeline.spent_seconds()["train"] == 0
    timeline.enter("evaluating")
    assert timeline.spent_seconds()["startup"] == 10


def test_the_pace_of_evaluation_is_its_own(timeline: Timeline, clock: Clock) -> None:
    """Slow evaluation batches lengthen the timeout of evaluation and of nothing else."""
    training = Pace()
    training.recent_seconds.extend([0.1] * 10)
    timeline.enter("evaluating")
    assert timeline.stall_timeout_seconds(training) == 1800
    for _ in range(3):
        clock.seconds += 40
        timeline.sign()
    assert timeline.stall_timeout_seconds(training) == 800
    assert timeline.last_sign == 120
    timeline.enter("training")
    assert timeline.stall_timeout_seconds(training) == 300


def test_time_before_an_evaluation_is_not_its_pace(timeline: Timeline, clock: Clock) -> None:
    """The first batch counts from the beginning of the evaluation, not from the last sign before."""
    clock.seconds = 5000
    timeline.enter("evaluating")
    clock.seconds += 1
    timeline.sign()
    assert timeline.stall_timeout_seconds(Pace()) == 300


def test_checkpoints_have_an_interval_from_the_second_on(timeline: Timeline, clock: Clock) -> None:
    """One checkpoint has a time, two have an interval."""
    assert (timeline.last_checkpoint, timeline.checkpoint_interval_seconds) == (None, None)
    clock.seconds = 100
    timeline.checkpoint_made()
    assert (timeline.last_checkpoint, timeline.checkpoint_interval_seconds) == (100, None)
    clock.seconds = 160
    timeline.checkpoint_made()
    assert (timeline.last_checkpoint, timeline.checkpoint_interval_seconds) == (160, 60)


def test_two_files_are_one_checkpoint(timeline: Timeline, clock: Clock) -> None:
    """The best and the last, saved one after the other each hour, have an interval of an hour."""
    for hour in range(1, 4):
        timeline.enter("training")
        clock.seconds = 3600 * hour
        for _ in ("best", "last"):
            timeline.enter("checkpointing")
            clock.seconds += 30
            timeline.checkpoint_made()
            timeline.enter("training")
            clock.seconds += 0.5
    assert (timeline.last_checkpoint, timeline.checkpoint_interval_seconds) == (10_860.5, 3569.5)


@pytest.mark.parametrize("end", ["finished", "failed", "interrupted"])
def test_the_end_is_final(end: str, timeline: Timeline) -> None:
    """Whatever still runs after the end does not bring the run back to life."""
    timeline.enter(end)
    timeline.enter("training")
    assert timeline.state == end
