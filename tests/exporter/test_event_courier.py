"""How a courier brings events to a receiver that answers, refuses, is locked or hangs."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from epochwatch.courier import QUEUE_LIMIT, Courier
from epochwatch.events import Event
from epochwatch.outcome import Later, Outcome, Refused, Told
from epochwatch.phrases import Words
from epochwatch.troubles import Troubles

from .conftest import wait_until


class Scripted:
    """A channel that answers as it is told to, and remembers what it was asked."""

    name = "scripted"
    merges = False

    def __init__(self, spacing_seconds: float = 0.0) -> None:
        self.spacing_seconds = spacing_seconds
        self.asked: list[tuple[float, Event]] = []
        self.outcomes: list[Outcome] = []
        self.gate = threading.Event()
        self.gate.set()
        self.retired: list[float] = []
        self.closed = False

    def tell(self, event: Event) -> Outcome:
        self.asked.append((time.monotonic(), event))
        self.gate.wait(20)
        return self.outcomes.pop(0) if self.outcomes else Told()

    def retire(self, before: float) -> None:
        self.retired.append(before)

    def close(self) -> None:
        self.closed = True

    def names(self) -> list[str]:
        return [event.name for _, event in self.asked]


def event(
    name: str = "TrainingStarted", severity: str = "info", final: bool = False, age: float = 0
) -> Event:
    return Event(name, severity, time.time() - age, Words.same(name), final=final)


@pytest.fixture
def started() -> Iterator[Callable[[Scripted], Courier]]:
    """Starts couriers and ends them after the test."""
    couriers: list[tuple[Courier, Scripted]] = []

    def starter(channel: Scripted) -> Courier:
        couriers.append((Courier(channel, Troubles()), channel))
        couriers[-1][0].start()
        return couriers[-1][0]

    yield starter
    for courier, channel in couriers:
        channel.gate.set()
        courier.close(time.monotonic() + 10)
        assert channel.closed


Started = Callable[[Scripted], Courier]


def test_what_does_not_work_is_tried_again(started: Started) -> None:
    """An event that the receiver could not take comes again, later each time, until it is told."""
    channel = Scripted()
    channel.outcomes = [Later("down"), Later("down"), Told()]
    started(channel).offer(event())
    wait_until(lambda: len(channel.asked) == 3)
    first, second, third = (at for at, _ in channel.asked)
    assert 0.4 < second - first < third - second


def test_what_is_refused_is_not_tried_again_and_blocks_nothing(started: Started) -> None:
    """A refusal is reported with its reason, and the next event goes on."""
    channel = Scripted()
    channel.outcomes = [Refused("no such robot")]
    courier = started(channel)
    courier.offer(event("TrainingStarted"))
    courier.offer(event("TrainingEvent"))
    wait_until(lambda: channel.names() == ["TrainingStarted", "TrainingEvent"])


def test_events_are_spaced_but_urgent_ones_are_not(started: Started) -> None:
    """A robot is not overrun by small news; a failure goes past them at once."""
    channel = Scripted(spacing_seconds=30)
    courier = started(channel)
    courier.offer(event("TrainingStarted"))
    wait_until(lambda: channel.names() == ["TrainingStarted"])
    courier.offer(event("TrainingEvent"))
    time.sleep(0.2)
    assert channel.names() == ["TrainingStarted"]
    courier.offer(event("TrainingFailed", "critical"))
    wait_until(lambda: channel.names() == ["TrainingStarted", "TrainingFailed"], 2)


def test_a_newer_best_replaces_one_that_was_not_told_yet(started: Started) -> None:
    """Of bests that wait only the newest is told."""
    channel = Scripted()
    channel.gate.clear()
    courier = started(channel)
    courier.offer(event("TrainingStarted"))
    wait_until(lambda: channel.asked)
    courier.offer(event("TrainingNewBest"))
    newest = event("TrainingNewBest")
    courier.offer(newest)
    channel.gate.set()
    courier.close(time.monotonic() + 5)
    assert channel.names() == ["TrainingStarted", "TrainingNewBest"]
    assert channel.asked[1][1] is newest


@pytest.mark.parametrize(
    ("end", "told"),
    [
        (("TrainingFailed", "critical"), ["TrainingStarted", "TrainingFailed", "TrainingEvent"]),
        (
            ("TrainingFinished", "info"),
            ["TrainingStarted", "TrainingEvent", "TrainingNewBest", "TrainingFinished"],
        ),
    ],
    ids=["failed", "finished"],
)
def test_a_failure_goes_first_and_any_other_end_last(
    end: tuple[str, str], told: list[str], started: Started
) -> None:
    """A failure overtakes what waits, but for the start, and has the best in it; another end keeps the order."""
    channel = Scripted(spacing_seconds=30)
    channel.gate.clear()
    courier = started(channel)
    for name in ("TrainingStarted", "TrainingEvent", "TrainingNewBest"):
        courier.offer(event(name))
    courier.offer(event(*end, final=True))
    channel.gate.set()
    courier.close(time.monotonic() + 5)
    assert channel.names() == told


def test_the_queue_is_bounded_and_keeps_what_is_urgent() -> None:
    """Too much to tell drops the oldest small news, never the failure."""
    channel, troubles = Scripted(), Troubles()
    courier = Courier(channel, troubles)
    courier.offer(event("TrainingFailed", "critical"))
    for _ in range(QUEUE_LIMIT + 10):
        courier.offer(event("TrainingEvent"))
    courier.start()
    courier.close(time.monotonic() + 10)
    assert channel.names()[0] == "TrainingFailed"
    assert len(channel.asked) == QUEUE_LIMIT
    assert troubles.counts["events"] == 11


def test_old_news_are_dropped_and_an_old_failure_is_not(started: Started) -> None:
    """What could not be told for longer than its rule would fire is not told any more, a failure is."""
    channel = Scripted()
    courier = started(channel)
    courier.offer(event("TrainingEvent", age=7200))
    courier.offer(event("TrainingFailed", "critical", age=7200))
    courier.offer(event("TrainingStarted"))
    courier.close(time.monotonic() + 5)
    assert channel.names() == ["TrainingFailed", "TrainingStarted"]


def test_a_locked_robot_is_left_alone_even_at_the_end() -> None:
    """A pause that the receiver asked for is kept, and an end that comes before its end does not wait for it."""
    channel = Scripted()
    channel.outcomes = [Later("locked", pause_seconds=600)]
    courier = Courier(channel, Troubles())
    courier.start()
    courier.offer(event())
    wait_until(lambda: not channel.outcomes)
    courier.offer(event("TrainingFailed", "critical"))
    began = time.monotonic()
    courier.close(began + 5)
    assert time.monotonic() - began < 1
    assert channel.names() == ["TrainingStarted"]


def test_the_end_waits_for_what_is_left_but_not_beyond_its_deadline() -> None:
    """A receiver that hangs costs the end its deadline and no more; what was not told is named."""
    channel, troubles = Scripted(), Troubles()
    channel.gate.clear()
    courier = Courier(channel, troubles)
    courier.start()
    courier.offer(event("TrainingFailed", "critical"))
    wait_until(lambda: channel.asked)
    began = time.monotonic()
    courier.close(began + 0.5)
    assert 0.4 < time.monotonic() - began < 1.0
    assert troubles.counts["events"] == 1
    channel.gate.set()
    wait_until(lambda: channel.closed)


@pytest.mark.parametrize(
    ("name", "severity", "shortest", "longest"),
    [("TrainingFinished", "info", 0.0, 0.4), ("TrainingFailed", "critical", 0.9, 1.5)],
)
def test_a_receiver_long_in_trouble_gets_one_more_try(
    name: str, severity: str, shortest: float, longest: float
) -> None:
    """A receiver that did not work for a while does not hold the end up, but for a failure until the deadline."""
    channel = Scripted()
    channel.outcomes = [Later("down")] * 1000
    ahead = [0.0]
    courier = Courier(channel, Troubles(), clock=lambda: time.monotonic() + ahead[0])
    courier.start()
    courier.offer(event("TrainingStarted"))
    wait_until(lambda: channel.asked)
    ahead[0] = 10.0  # it has been down for ten seconds now
    tried = len(channel.asked)
    courier.offer(event(name, severity, final=True))
    began = time.monotonic()
    courier.close(began + ahead[0] + 1)
    assert shortest <= time.monotonic() - began < longest
    assert len(channel.asked) > tried
    wait_until(lambda: channel.closed)


def test_a_defect_of_a_channel_does_not_end_the_courier(started: Started) -> None:
    """An exception of the channel is counted, and the next event is told."""

    class Broken(Scripted):
        def tell(self, event: Event) -> Outcome:
            super().tell(event)
            if event.name == "TrainingStarted":
                raise ZeroDivisionError
            return Told()

    channel = Broken()
    courier = started(channel)
    courier.offer(event("TrainingStarted"))
    courier.offer(event("TrainingEvent"))
    wait_until(lambda: channel.names() == ["TrainingStarted", "TrainingEvent"])


def test_earlier_runs_are_taken_back_on_the_couriers_thread(started: Started) -> None:
    """What earlier runs told is taken back when asked for, without an event."""
    channel = Scripted()
    started(channel).retire(5.0)
    wait_until(lambda: channel.retired == [5.0])
