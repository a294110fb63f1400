"""Brings events to one receiver on a thread of its own: a dead one holds up nobody but its own messages."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from .events import Event
from .outcome import Channel, Later, Refused, Told
from .troubles import LOGGER, Troubles

QUEUE_LIMIT = 64
FIRST_BACKOFF_SECONDS = 0.5
LONGEST_BACKOFF_SECONDS = 30.0
BACKOFF_AT_THE_END_SECONDS = 0.25
# A receiver that has not worked for so long when the run ends gets one more try, of a second; for a failure the whole
# time is taken all the same.
TROUBLED_AFTER_SECONDS = 1.0
LAST_TRY_SECONDS = 1.0


class Courier:
    """Keeps what is to be told to one receiver, and tells it; given up after the event's own time.

    Args:
        on_told: Is called on the courier's thread with each event that the receiver has taken.
    """

    def __init__(
        self,
        channel: Channel,
        troubles: Troubles,
        *,
        on_told: Callable[[Event], None] = lambda event: None,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._channel = channel
        self._on_told = on_told
        self._troubles = troubles
        self._now = now
        self._clock = clock
        self._changed = threading.Condition()
        self._waiting: list[Event] = []
        self._retire_before: float | None = None
        self._deadline: float | None = None
        self._last_try = False
        self._failures = 0
        self._free_at = self._urgent_at = -1.0
        self._failing_since: float | None = None
        self._trying_since: float | None = None
        self._thread = threading.Thread(
            target=self._run, name=f"epochwatch-courier-{channel.name}", daemon=True
        )

    @property
    def merges(self) -> bool:
        """Whether what several ranks tell alike is shown once."""
        return self._channel.merges

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def offer(self, event: Event) -> None:
        """Takes an event; a newer best replaces one not told yet, and what is urgent goes first and at once."""
        with self._changed:
            if event.name == "TrainingNewBest" or event.severity == "critical":
                # What a failure says has the best in it.
                self._waiting = [other for other in self._waiting if other.name != "TrainingNewBest"]
            if len(self._waiting) >= QUEUE_LIMIT:
                dropped = next((other for other in self._waiting if not other.urgent), self._waiting[0])
                self._waiting.remove(dropped)
                self._troubles.report(
                    "events", f"{self._channel.name}: too much to tell; the oldest is dropped"
                )
            self._waiting.append(event)
            if event.urgent:
                # Whatever failed before may work now; only a robot that is locked must not be called.
                self._free_at = min(self._free_at, max(self._clock(), self._urgent_at))
            self._changed.notify()

    def retire(self, before: float) -> None:
        """Takes back what earlier runs of the same name told."""
        with self._changed:
            self._retire_before = before
            self._changed.notify()

    def close(self, deadline: float) -> None:
        """Tells what is left, until `deadline` (clock seconds) at most, and ends."""
        with self._changed:
            now = self._clock()
            since = self._failing_since if self._failing_since is not None else self._trying_since
            troubled = since is not None and now - since >= TROUBLED_AFTER_SECONDS
            if troubled and not any(event.severity == "critical" for event in self._waiting):
                self._last_try = True
                deadline = min(deadline, now + LAST_TRY_SECONDS)
            self._deadline = deadline
            if self._failures:
                self._free_at = min(self._free_at, max(now, self._urgent_at))
            self._changed.notify()
        self._thread.join(max(0.0, deadline - self._clock()))
        if self._thread.is_alive() and self._waiting:
            told = ", ".join(event.name for event in self._waiting)
            self._troubles.report("events", f"{self._channel.name}: could not be told in time: {told}")

    def _run(self) -> None:
        try:
            while (work := self._next()) is not None:
                work()
        except Exception as error:
            self._troubles.report_exception("events", error)
        finally:
            self._channel.close()

    def _next(self) -> Callable[[], None] | None:
        """Waits for something to do and gives it; None when it is time to end."""
        with self._changed:
            while True:
                now = self._clock()
                self._forget_outlived()
                if self._deadline is not None and (not self._waiting or self._too_late(now)):
                    return None
                seconds = self._seconds_to_wait(now)
                if seconds is not None and seconds <= 0:
                    event = self._first()
                    self._trying_since = now
                    return lambda: self._attempt(event)
                if self._retire_before is not None:
                    before, self._retire_before = self._retire_before, None
                    return lambda: self._channel.retire(before)
                self._changed.wait(seconds)

    def _seconds_to_wait(self, now: float) -> float | None:
        if not self._waiting:
            return None
        # At the end nothing is spaced out any more; a pause that the receiver asked for is kept.
        hurried = self._deadline is not None or any(event.urgent for event in self._waiting)
        free_at = self._urgent_at if hurried and not self._failures else self._free_at
        until = free_at if self._deadline is None else min(free_at, self._deadline)
        return until - now

    def _too_late(self, now: float) -> bool:
        # Nor is it worth waiting for a locked robot that will not be free in time.
        return self._deadline is not None and max(now, self._urgent_at) >= self._deadline

    def _first(self) -> Event:
        first = self._waiting[0]
        if first.name == "TrainingStarted" and not self._failures:
            return first  # a receiver that answers gets the beginning before the end
        return next((event for event in self._waiting if event.severity == "critical"), first)

    def _attempt(self, event: Event) -> None:
        try:
            outcome = self._channel.tell(event)
            if isinstance(outcome, Told):
                self._on_told(event)
        except Exception as error:  # a defect of ours must not end the thread with other events waiting
            self._troubles.report_exception("events", error)
            outcome = Refused("see above")
        with self._changed:
            now, began = self._clock(), self._trying_since
            self._trying_since = None
            if self._deadline is not None and now >= self._deadline:
                return  # the run is over, and this has been said
            if isinstance(outcome, Later):
                self._failing_since = self._failing_since if self._failing_since is not None else began
                self._urgent_at = now + outcome.pause_seconds
                self._free_at = now + max(self._backoff_seconds(), outcome.pause_seconds)
                self._failures += 1
                if self._last_try:
                    self._deadline = now
                self._troubles.report("events", f"{outcome.reason}; {event.name} is told later")
                return
            if event in self._waiting:
                self._waiting.remove(event)
            self._free_at = now + self._channel.spacing_seconds
            self._urgent_at = now
            self._failures, self._failing_since = 0, None
        if isinstance(outcome, Refused):
            self._troubles.report("events", f"{outcome.reason}; {event.name} is not told")
        elif isinstance(outcome, Told):
            LOGGER.debug("%s: told %s", self._channel.name, event.name)

    def _backoff_seconds(self) -> float:
        if self._deadline is not None:
            return BACKOFF_AT_THE_END_SECONDS
        return min(LONGEST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2.0 ** min(self._failures, 10))

    def _forget_outlived(self) -> None:
        """Drops events that are old news; a failure is told however late."""
        now = self._now()
        self._waiting = [
            event for event in self._waiting if event.urgent or now - event.at <= event.lasting_seconds
        ]
