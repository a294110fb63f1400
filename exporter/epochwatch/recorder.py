"""The hot path: the loop's facts are put into a plain list and folded into the ledger in batches.

`step` costs the training thread one tuple and one append; every 64th call looks whether a batch is due, and whatever
else is put in looks at the length alone. The server's thread folds what is there before it reads. The training thread
never waits for that: it only tries the lock.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from .landing import Landing
from .ledger import Fact, Ledger, Pause, Report, StepFact
from .timeline import Timeline
from .trends import median
from .troubles import Troubles
from .values import Reader

BATCH = 512
LOOK_EVERY = 64
STUCK_LIMIT = 8 * BATCH
READING_TIMEOUT_SECONDS = 1.0


class Recorder:
    """Records facts for `ledger`; one per run, written by the training thread."""

    def __init__(
        self,
        ledger: Ledger,
        timeline: Timeline,
        reader: Reader,
        troubles: Troubles,
        clock: Callable[[], float],
    ) -> None:
        self._ledger = ledger
        self._timeline = timeline
        self._reader = reader
        self._read = reader.read
        self._troubles = troubles
        self._clock = clock
        self._lock = threading.Lock()
        self._pending: list[Any] = []
        # How many must be pending for a step to look around, and for a fold. What another thread's fold sets may get
        # lost; the next look is then later by what was pending, and no more.
        self._look_at = 1
        self._fold_at = BATCH + 1
        self._closed = False
        self._inert = False
        self._step_seconds: deque[float] = deque(maxlen=9)
        self.update_seconds = 0.0

    def step(
        self,
        loss: Any = None,
        lr: Any = None,
        grad_norm: Any = None,
        samples: Any = None,
        tokens: Any = None,
        **metrics: Any,
    ) -> None:
        """Takes one optimizer step.

        Args:
            loss: The batch's loss; a number or a tensor of one element.
            lr: The learning rate; one, a list with one per group, or a mapping from group to rate.
            grad_norm: The global L2 norm of the gradient before clipping.
            samples: How many samples the batch had.
            tokens: How many tokens the batch had.
            **metrics: Further values by name; `accuracy` (0 to 1) and `loss_scale` have own families.
        """
        try:
            now = self._clock()
            flying: Any = None
            # The reader's first lines stand here too: for a tensor, calling it would be a seventh of the step.
            if type(loss) is not float and loss is not None:
                if (
                    type(loss) is self._reader.plain_tensor
                    and loss.is_cpu
                    and type(number := loss.item()) is float
                ):
                    loss = number
                else:
                    loss = flying = self._read(loss, "loss")
            if type(lr) is not float and lr is not None:
                lr = self._reader.read_groups(lr)
            if type(grad_norm) is not float and grad_norm is not None:
                if (
                    type(grad_norm) is self._reader.plain_tensor
                    and grad_norm.is_cpu
                    and type(number := grad_norm.item()) is float
                ):
                    grad_norm = number
                else:
                    grad_norm = flying = self._read(grad_norm, "grad_norm")
            if type(samples) is not int and samples is not None:
                samples = self._reader.read_count(samples, "samples")
            if tokens is not None and type(tokens) is not int:
                tokens = self._reader.read_count(tokens, "tokens")
            if metrics:
                metrics = flying = self._values(metrics)
            if flying is not None:
                self._reader.send(now)
            pending = self._pending
            pending.append((now, loss, lr, grad_norm, samples, tokens, metrics or None))
            # The first step after a fold, and each that finds 64 more facts from there.
            if len(pending) >= self._look_at:
                self._look_up(now)
        except Exception:
            # As a rule a tensor that gives no number. The reader says what is wrong with it, and the step counts.
            self._step_carefully(loss, lr, grad_norm, samples, tokens, metrics)

    def _step_carefully(
        self, loss: Any, lr: Any, grad_norm: Any, samples: Any, tokens: Any, metrics: Mapping[str, Any]
    ) -> None:
        """Does what `step` does, with every value through the reader, which raises nothing."""
        try:
            reader, now = self._reader, self._clock()
            fact = (
                now,
                None if loss is None else reader.read(loss, "loss"),
                None if lr is None else reader.read_groups(lr),
                None if grad_norm is None else reader.read(grad_norm, "grad_norm"),
                None if samples is None else reader.read_count(samples, "samples"),
                None if tokens is None else reader.read_count(tokens, "tokens"),
                self._values(metrics) or None,
            )
            reader.send(now)
            self._pending.append(fact)
            if len(self._pending) >= self._look_at:
                self._look_up(now)
        except Exception as error:
            self._troubles.report_exception("step", error)

    def report(self, phase: str, metrics: Mapping[str, Any]) -> None:
        """Takes the values of a phase."""
        now, values = self._clock(), self._values(metrics)
        self._reader.send(now)
        self.add(Report(now, phase, values))

    def add(self, fact: Fact) -> None:
        """Takes any other fact than a step."""
        if not self._closed:
            self.poll()
            self._pending.append(fact)
            if len(self._pending) >= self._fold_at:
                self._try_fold("log")
            if self._timeline.state == "starting" and not isinstance(fact, Pause):
                self._timeline.enter("training")

    def poll(self) -> None:
        """Brings on what is still on a device; for when no step follows soon."""
        self._reader.poll()

    @property
    def last_fact_at(self) -> float:
        """Gives the clock time of the newest step; minus infinity before the first."""
        try:
            newest = self._pending[-1]
        except IndexError:
            return self._ledger.last_step_at or float("-inf")
        at: float = newest[0] if newest.__class__ is tuple else newest.at
        return at

    @contextmanager
    def reading(self) -> Iterator[Ledger]:
        """Gives the ledger, up to date as far as values have landed, and keeps it still meanwhile.

        Raises:
            TimeoutError: If the training thread holds it for more than a second.
        """
        lock = self._lock
        if not lock.acquire(timeout=READING_TIMEOUT_SECONDS):
            raise TimeoutError(f"the training thread held the ledger for {READING_TIMEOUT_SECONDS} s")
        try:
            self._fold()
            yield self._ledger
        finally:
            lock.release()

    def close(self) -> None:
        """Takes nothing any more; what comes is counted and dropped."""
        self._closed = True

    def go_inert(self) -> None:
        """Makes a copy in another process drop everything without a word."""
        self._closed = self._inert = True
        self._pending, self._look_at = [], 1
        # Another thread may have held the lock when this process was forked.
        self._lock = threading.Lock()

    def _values(self, metrics: Mapping[str, Any]) -> dict[str, Any]:
        values = {name: self._read(value, name) for name, value in metrics.items() if value is not None}
        return {name: value for name, value in values.items() if value is not None}

    def _look_up(self, started: float) -> None:
        """Does what need not be done at every step; `started` is when the present one began. Raises nothing."""
        try:
            self._look_up_or_raise(started)
        except Exception as error:
            self._troubles.report_exception("step", error)

    def _look_up_or_raise(self, started: float) -> None:
        self._step_seconds.append(self._clock() - started)
        if self._reader.uses_devices:
            self._reader.poll()
        if self._timeline.state == "starting":
            self._timeline.enter("training")
        if self._closed:
            self._pending.clear()
            self._look_at = 1
            if not self._inert:
                self._troubles.report("step", "the run has ended; its steps are not counted any more")
            return
        self._look_at = len(self._pending) + LOOK_EVERY
        if len(self._pending) >= self._fold_at:
            self._try_fold("step")

    def _try_fold(self, where: str) -> None:
        """Folds what is pending, unless somebody reads at this moment. Raises nothing."""
        try:
            if self._lock.acquire(blocking=False):
                try:
                    began = self._clock()
                    self._fold()
                    self.update_seconds += self._clock() - began
                finally:
                    self._lock.release()
        except Exception as error:
            self._troubles.report_exception(where, error)
        # Beyond a batch where something had to stay: it is not looked through again at every call.
        self._fold_at = max(BATCH + 1, len(self._pending) + LOOK_EVERY)

    def _fold(self) -> None:
        pending = self._pending
        facts = pending[:]
        if self._reader.uses_devices:
            facts = landed_part(facts, give_up=len(facts) >= STUCK_LIMIT)
        # The facts go before they are folded: a fact that cannot be must not come again and again.
        del pending[: len(facts)]
        self._look_at, self._fold_at = 1, BATCH + 1
        if facts:
            self._ledger.fold(facts)
            # The median, because one step in a while waits for another thread and says nothing about the rest.
            self.update_seconds += len(facts) * median(self._step_seconds or (0.0,))


def fact_values(fact: Any) -> Iterator[Any]:
    """Gives every value a fact holds that may be a landing."""
    if fact.__class__ is tuple:
        yield fact[1]
        yield fact[3]
        yield from (fact[6] or {}).values()
    elif isinstance(fact, Report):
        yield from fact.values.values()


def landed_part(facts: list[Any], give_up: bool) -> list[Any]:
    """Takes facts in order and gives those before the first value still on its way, values put in.

    With `give_up` all of them are given, values still on their way left out.
    """
    ready: list[Any] = []
    for fact in facts:
        if not give_up and not all(value.landed for value in fact_values(fact) if value.__class__ is Landing):
            break
        ready.append(with_values(fact))
    return ready


def with_values(fact: Any) -> Any:
    """Takes a fact and gives it with the landings replaced by their values."""
    if fact.__class__ is tuple:
        at, loss, lr, norm, samples, tokens, metrics = fact
        step: StepFact = (at, settle(loss), lr, settle(norm), samples, tokens, settle_all(metrics))
        return step
    if isinstance(fact, Report):
        return Report(fact.at, fact.phase, settle_all(fact.values) or {})
    return fact


def settle(value: Any) -> Any:
    """Gives a landing's value, and anything else as it is."""
    return value.value if value.__class__ is Landing else value


def settle_all(values: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Settles every value and leaves out those that were lost."""
    if not values:
        return None
    settled = {name: settle(value) for name, value in values.items()}
    return {name: value for name, value in settled.items() if value is not None}
