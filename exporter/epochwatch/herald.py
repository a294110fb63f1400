"""Makes events of what happens to a run and hands them to the couriers, on a thread of its own.

The training thread only leaves a note; it never formats, reads a ledger or waits, but for the flush at the end.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from . import events, phrases
from .books import Books
from .courier import Courier
from .events import Event
from .failure import Failure
from .ledger import TRAIN, Ledger
from .masking import masked
from .monitor import VALIDATION, Monitor
from .phrases import Closing, Standing
from .spokesman import Spokesman
from .trends import Best

NOTES_LIMIT = 64
FLUSH_SECONDS = 5.0
# What an earlier run of this name said is let stand until it has surely been delivered. No longer: meanwhile it keeps
# the rules quiet about this run, which may be killed in its first minutes.
RETIRE_AFTER_SECONDS = 120.0
# A loss on a device may still be on its way when its epoch ends.
LOOK_AGAIN_SECONDS = (0.5, 5.0)

Note = Callable[[], None] | None


class Chronicle(Protocol):
    """What keeps a run for later. None of it raises; but for `conclude` and `close` nothing of it waits."""

    def start(self) -> None: ...

    def epoch_ended(self, ledger: Ledger) -> None:
        """Takes a ledger, held by the caller, whose epoch has just ended."""

    def resumed(self, ledger: Ledger) -> None:
        """Takes a ledger, held by the caller, that goes on from a checkpoint."""

    def told(self, event: Event) -> None:
        """Takes an event, secrets masked."""

    def conclude(self, state: str, at: float, failure: str = "") -> None:
        """Takes how the run ended."""

    @property
    def link(self) -> str:
        """The address of the run's report; empty if it has none."""

    def closing(self) -> Closing:
        """Gives what the last message says besides, after `conclude`; waits a bounded time."""

    def close(self, deadline: float) -> None:
        """Finishes what is under way, until `deadline` (clock seconds) at most."""


class Herald:
    """Tells of one run.

    Args:
        couriers: One for each receiver.
        gpus: Names this rank's GPUs; may wait a moment for the driver.
        chronicle: What keeps the run for later, if anything does.
        secrets: What must not stand in any event, besides the environment's secrets.
    """

    def __init__(
        self,
        books: Books,
        couriers: Sequence[Courier],
        spokesman: Spokesman,
        *,
        gpus: Callable[[], str],
        restarts: int | None,
        chronicle: Chronicle | None = None,
        environ: Mapping[str, str] = os.environ,
        secrets: Sequence[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._books = books
        self._couriers = couriers
        self._spokesman = spokesman
        self._gpus = gpus
        self._restarts = restarts
        self._chronicle = chronicle
        self._environ = environ
        self._secrets = secrets
        self._clock = clock
        settings = books.settings
        self._monitor = Monitor(settings.monitor, settings.mode, settings.min_delta)
        self._notes: queue.SimpleQueue[Note] = queue.SimpleQueue()
        self._started = self._inert = False
        self._look_noted = False
        self._look_again_at: list[float] = []
        self._counts_epochs = False
        self._bests: deque[tuple[phrases.Best, Standing]] = deque()
        # Called while the facts are folded in their order: afterwards the next epoch's may be there as well.
        books.ledger.at_epoch_end = self._at_epoch_end
        self._own_events: Counter[tuple[str, str]] = Counter()
        self._retire_at = self._clock() + RETIRE_AFTER_SECONDS if spokesman.leads else None
        self._ended_at: float | None = None
        self._thread = threading.Thread(target=self._run, name="epochwatch-herald", daemon=True)

    def start(self) -> None:
        """Starts the threads and tells that the run has started."""
        self._started = True
        for courier in self._couriers:
            courier.start()
        if self._chronicle is not None:
            self._chronicle.start()
        self._thread.start()
        if self._spokesman.leads:
            self._note(self._tell_start)

    def epoch_ended(self) -> None:
        """Takes that an epoch is complete."""
        self._counts_epochs = True
        self._look_soon()

    def logged(self, phase: str) -> None:
        """Takes that values of a phase were given; where no epochs are counted, each time is one."""
        if not self._counts_epochs and self._monitor.watches(phase):
            self._look_soon()

    def counts_epochs(self) -> None:
        """Takes that the loop says where its epochs end."""
        self._counts_epochs = True

    def resumed(self) -> None:
        """Takes that the best values so far come from a checkpoint: they are no news."""
        if not self._inert:
            with self._books.recorder.reading() as ledger:
                self._monitor.look(ledger)
                if self._chronicle is not None:
                    self._chronicle.resumed(ledger)

    def told(self, title: str, text: str, severity: str) -> None:
        """Takes an event of the user's own."""
        at = self._books.now()
        self._note(lambda: self._tell_own(at, title, text, severity))

    def ended(self, state: str, failure: Failure | None = None, cause: str = "") -> None:
        """Takes how the run ended.

        Args:
            failure: What is known of the exception, if it failed.
            cause: The signal, if it was interrupted.
        """
        if self._inert or self._ended_at is not None:
            return
        self._ended_at = self._clock()
        at = self._books.now()
        self._notes.put(lambda: self._tell_end(at, state, failure, cause))
        self._notes.put(None)

    def close(self) -> None:
        """Waits until everything is told, 5 seconds from the end of the run at most."""
        if self._inert or not self._started:
            return
        if self._ended_at is None:
            self._ended_at = self._clock()
            self._notes.put(None)
        deadline = self._ended_at + FLUSH_SECONDS
        self._thread.join(max(0.0, deadline - self._clock()))
        for courier in self._couriers:
            courier.close(deadline)
        if self._chronicle is not None:
            self._chronicle.close(deadline)

    def replaced(self) -> None:
        """Takes that a run of the same name begins, whose start is told and not this one's end; waits for nothing."""
        if self._inert or not self._started or self._ended_at is not None:
            return
        self._ended_at = self._clock()
        if self._chronicle is not None:
            self._chronicle.conclude("interrupted", self._books.now())
        self._notes.put(None)
        threading.Thread(target=self.close, name="epochwatch-herald-flush", daemon=True).start()

    def drop(self) -> None:
        """Ends without waiting; what is not told by now is not told."""
        if not self._inert and self._started:
            self._ended_at = self._clock()
            self._notes.put(None)
            for courier in self._couriers:
                courier.close(self._clock())
            if self._chronicle is not None:
                self._chronicle.close(self._clock())

    def go_inert(self) -> None:
        """Makes the copy in a forked child say nothing: the threads are not there."""
        self._inert = True

    def _look_soon(self) -> None:
        if not self._look_noted:
            self._look_noted = True
            self._note(self._look_when_due)

    def _note(self, note: Callable[[], None]) -> None:
        if self._inert or self._ended_at is not None:
            return
        if self._notes.qsize() >= NOTES_LIMIT:
            self._books.troubles.report("events", f"more than {NOTES_LIMIT} at once; this one is not told")
            return
        self._notes.put(note)

    def _run(self) -> None:
        while True:
            try:
                note = self._notes.get(timeout=self._seconds_to_timer())
            except queue.Empty:
                note = self._on_timer
            if note is None:
                return
            try:
                note()
            except Exception as error:
                self._books.troubles.report_exception("events", error)

    def _seconds_to_timer(self) -> float | None:
        timers = [*self._look_again_at[:1], *([] if self._retire_at is None else [self._retire_at])]
        return max(0.0, min(timers) - self._clock()) if timers else None

    def _on_timer(self) -> None:
        now = self._clock()
        if self._look_again_at and now >= self._look_again_at[0]:
            del self._look_again_at[0]
            self._look()
        if self._retire_at is not None and now >= self._retire_at:
            self._retire_at = None
            self._retire()

    def _retire(self) -> None:
        """Takes back what earlier runs of this name said, as far as it is old enough."""
        settled = self._books.now() - RETIRE_AFTER_SECONDS
        for courier in self._couriers:
            courier.retire(min(self._books.progress.started_at - 1, settled))

    def _look_when_due(self) -> None:
        self._look_noted = False
        self._look()
        if self._books.reader.uses_devices:
            self._look_again_at = [self._clock() + seconds for seconds in LOOK_AGAIN_SECONDS]

    def _look(self) -> None:
        """Tells the bests that were found since it was called last."""
        with self._books.recorder.reading():
            if not self._counts_epochs:
                self._compare()
        while self._bests:
            self._send(events.new_best(self._books.now(), *self._bests.popleft()))

    def _at_epoch_end(self) -> None:
        """Takes that an epoch has ended in the ledger, which somebody holds."""
        self._compare()
        if self._chronicle is not None:
            self._chronicle.epoch_ended(self._books.ledger)

    def _compare(self) -> None:
        """Looks for a new best in the ledger, which somebody holds."""
        try:
            best = self._monitor.look(self._books.ledger) if self._spokesman.may_know_best else None
            if best is not None:
                self._bests.append((best, self._standing(self._books.ledger)))
        except Exception as error:  # whoever folds the facts must be able to go on
            self._books.troubles.report_exception("events", error)

    def _tell_start(self) -> None:
        settings = self._books.settings
        details = {**settings.labels, **settings.details}
        at = self._books.progress.started_at
        planned = self._books.progress.planned_epochs
        self._send(events.started(at, details, self._gpus(), planned, self._restarts))
        self._retire()

    def _tell_own(self, at: float, title: str, text: str, severity: str) -> None:
        self._own_events[title, text] += 1
        self._send(events.own(at, title, text, severity, self._own_events[title, text]))

    def _tell_end(self, at: float, state: str, failure: Failure | None, cause: str) -> None:
        if self._chronicle is not None and state != "failed":
            self._chronicle.conclude(state, at)
        if state == "failed":
            if self._spokesman.tells_failure():
                self._send_end(events.failed(at, self._standing_now(at), failure or Failure("other", "", "")))
            if self._chronicle is not None:  # after the message, which is urgent
                self._chronicle.conclude(state, at, self._masked(failure.headline if failure else ""))
        elif state == "interrupted":
            if self._spokesman.tells_interruption():
                self._send_end(events.interrupted(at, self._standing_now(at), cause))
        elif self._spokesman.leads:
            self._send_end(events.finished(at, self._standing_now(at), self._closing()))

    def _closing(self) -> Closing | None:
        return None if self._chronicle is None else self._chronicle.closing()

    def _standing_now(self, at: float) -> Standing:
        try:
            with self._books.recorder.reading() as ledger:
                return self._standing(ledger, at)
        except Exception as error:
            # The end is told even if nothing else can be said; the loop may have died holding the ledger.
            self._books.troubles.report_exception("events", error)
            return Standing(at - self._books.progress.started_at)

    def _standing(self, ledger: Ledger, at: float | None = None) -> Standing:
        progress = self._books.progress
        phase = ledger.phases.get(VALIDATION) or ledger.phases.get(TRAIN)
        standing = Standing(
            seconds=(self._books.now() if at is None else at) - progress.started_at,
            epochs=ledger.epochs,
            planned_epochs=progress.planned_epochs,
            steps=ledger.resumed_steps + ledger.steps,
            checkpoint=progress.checkpoint_path,
        )
        if phase is None:
            return standing
        return replace(
            standing,
            loss=phase.loss,
            accuracy=phase.accuracy,
            best_loss=_best_of(phase.loss_best),
            best_accuracy=_best_of(phase.accuracy_best),
        )

    def _send_end(self, event: Event) -> None:
        self._send(event if self._chronicle is None else replace(event, link=self._chronicle.link))

    def _masked(self, text: str) -> str:
        return masked(text, self._environ, self._secrets)

    def _send(self, event: Event) -> None:
        clean = self._spokesman.signed(event.by(self._masked))
        if self._chronicle is not None:
            self._chronicle.told(clean)
        for courier in self._couriers:
            # A failure may be known to its rank alone; of anything else a robot hears from rank 0.
            if self._spokesman.leads or courier.merges or event.name == "TrainingFailed":
                courier.offer(clean)


def _best_of(best: Best) -> tuple[float, int | None] | None:
    return None if best.value is None else (best.value, best.epoch)
