"""What has happened so far, folded from the facts the loop recorded, oldest first.

Nothing here is called on the hot path. Whoever holds the recorder's lock may fold facts in or read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import sub
from typing import Any, TypeVar, cast

from .catalogue import EWMA_ALPHA, NONFINITE_KINDS
from .trends import Best, Durations, Ewma, Pace, Spikes
from .troubles import Troubles, is_name

REPORT_EWMA_ALPHA = 0.3
METRIC_NAMES_LIMIT = 50
PHASES_LIMIT = 20
# The first epoch of a language model may be its only one: until it ends, means of as many steps compete.
WINDOW_STEPS = 500
TRAIN = "train"

Number = TypeVar("Number", int, float)

# When, loss, learning rates, gradient norm, samples, tokens, further metrics.
StepFact = tuple[
    float,
    float | None,
    float | dict[str, float] | None,
    float | None,
    int | None,
    int | None,
    dict[str, float] | None,
]


@dataclass(frozen=True)
class Report:
    """Values of a phase, given at once."""

    at: float
    phase: str
    values: Mapping[str, float]


@dataclass(frozen=True)
class EpochStart:
    """An epoch begins after `completed` others."""

    at: float
    completed: int


@dataclass(frozen=True)
class EpochEnd:
    """An epoch is complete."""

    at: float


@dataclass(frozen=True)
class Pause:
    """The loop did something else than training until `at`: that is not the next step's duration."""

    at: float


Fact = StepFact | Report | EpochStart | EpochEnd | Pause


@dataclass
class Mean:
    """A mean of losses between two readings; a NaN or an infinity among them is the mean."""

    total: float = 0.0
    count: int = 0

    def add(self, total: float, count: int) -> None:
        self.total += total
        self.count += count

    def take(self) -> float | None:
        """Gives the mean and starts afresh; None if nothing was added."""
        mean = self.total / self.count if self.count else None
        self.total, self.count = 0.0, 0
        return mean


@dataclass
class Phase:
    """What is known of one phase (train, validation, ...); None for what was never given."""

    ewma: Ewma
    loss_best: Best
    accuracy_best: Best
    loss: float | None = None
    accuracy: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)


def summed(values: Sequence[Number | None]) -> tuple[Sequence[Number], Number]:
    """Gives the values without those that were left out, and their sum."""
    try:
        return values, sum(values)  # type: ignore[arg-type,return-value]  # a None makes it raise
    except TypeError:
        present = [value for value in values if value is not None]
        return present, sum(present)


def alike(values: Sequence[object]) -> bool:
    """Tells whether all of the values, at least one, are equal; the cheapest thing to know of many."""
    return values.count(values[0]) == len(values)


def new_phase(name: str, min_delta: float) -> Phase:
    """Gives a phase of which nothing is known."""
    alpha = EWMA_ALPHA if name == TRAIN else REPORT_EWMA_ALPHA
    return Phase(Ewma(alpha), Best("min", min_delta), Best("max", min_delta=0.0))


class Ledger:
    """The totals and trends of one run."""

    def __init__(self, troubles: Troubles, min_delta: float = 1e-4) -> None:
        self._troubles = troubles
        self.min_delta = min_delta
        self.steps = 0
        self.samples = 0
        self.tokens = 0
        self.epochs = 0
        self.resumed_steps = 0
        self.last_step_at: float | None = None
        self.learning_rates: dict[str, float] = {}
        self.gradient_norm: float | None = None
        self.loss_scale: float | None = None
        self.nonfinite = dict.fromkeys(NONFINITE_KINDS, 0)
        self.durations = Durations()
        self.pace = Pace()
        train = new_phase(TRAIN, min_delta)
        self.phases: dict[str, Phase] = {TRAIN: train}
        self.spikes = Spikes(train.ewma)
        self.metric_names: set[str] = set()
        self.epoch_loss: float | None = None  # the last epoch's mean over its steps
        self.at_epoch_end: Callable[[], None] | None = None
        self.at_report: Callable[[Report], None] | None = None
        self._since_reading = Mean()
        self._since_epoch = Mean()
        self._window = Mean()
        self._epoch_ended = False
        self._in_epoch = False

    def fold(self, facts: Sequence[Fact]) -> None:
        """Takes facts, oldest first; their values have all landed."""
        if not facts:
            return
        try:
            columns = zip(*cast("Sequence[StepFact]", facts), strict=True)
        except TypeError:  # no steps alone: zip refuses what cannot be gone over before it takes anything
            self._fold_mixed(facts)
        else:
            self._fold_steps(columns)

    def _fold_mixed(self, facts: Sequence[Fact]) -> None:
        for kind, group in groupby(facts, key=type):
            if kind is tuple:
                self._fold_steps(zip(*cast("list[StepFact]", list(group)), strict=True))
            else:
                for fact in group:
                    self._fold_other(fact)

    @property
    def current_epoch(self) -> int:
        """Gives the epoch, counted from 1, to which what is reported now belongs."""
        return max(1, self.epochs + self._in_epoch)

    def take_train_loss(self) -> None:
        """Closes the window of step losses: their mean becomes the train phase's loss."""
        mean = self._since_reading.take()
        if mean is not None:
            self.phase(TRAIN).loss = mean

    def phase(self, name: str) -> Phase:
        """Gives the phase of that name, new if it was not there."""
        known = self.phases.get(name)
        if known is None:
            known = self.phases[name] = new_phase(name, self.min_delta)
        return known

    def _fold_other(self, fact: Fact) -> None:
        if isinstance(fact, Report):
            self._fold_report(fact)
        elif isinstance(fact, EpochStart):
            self.epochs, self._in_epoch = fact.completed, True
            self.last_step_at = fact.at
        elif isinstance(fact, EpochEnd):
            self._end_epoch(fact)
        elif isinstance(fact, Pause):
            self.last_step_at = fact.at

    def _fold_steps(self, columns: Iterable[Any]) -> None:
        times, losses, rates, norms, samples, tokens, metrics = columns
        self.steps += len(times)
        self._in_epoch = True
        if self.last_step_at is None:
            seconds = list(map(sub, times[1:], times))
        else:
            seconds = list(map(sub, times, (self.last_step_at, *times)))
        self.durations.update(seconds)
        self.pace.take(seconds)
        self.last_step_at = times[-1]
        self._fold_rates(rates)
        self._fold_losses(losses)
        self._fold_norms(norms)
        self.samples += self._counted("samples", samples)
        self.tokens += self._counted("tokens", tokens)
        for values in filter(None, metrics):
            self._fold_values(TRAIN, values)

    def _fold_rates(self, rates: Sequence[float | dict[str, float] | None]) -> None:
        if alike(rates):  # as a rule
            rates = rates[:1]
        for index, rate in enumerate(rates):
            if rate is None:
                continue
            groups = rate if isinstance(rate, dict) else {"0": rate}
            if any(rate > self.learning_rates.get(name, rate) for name, rate in groups.items()):
                self.spikes.mute(index)
            self.learning_rates = groups

    def _counted(self, where: str, counts: Sequence[int | None]) -> int:
        if alike(counts) and (counts[0] is None or counts[0] >= 0):  # as a rule
            return (counts[0] or 0) * len(counts)
        present, total = summed(counts)
        if present and min(present) < 0:
            self._troubles.report(where, f"must be a count of at least 0, got {min(present)}", kind="count")
            return sum(count for count in present if count > 0)
        return total

    def _fold_losses(self, with_gaps: Sequence[float | None]) -> None:
        losses, total = summed(with_gaps)
        if not losses:
            return
        self._since_reading.add(total, len(losses))
        self._since_epoch.add(total, len(losses))
        if not self._epoch_ended:
            self._add_to_window(total, len(losses))
        if not math.isfinite(total):
            finite = [loss for loss in losses if math.isfinite(loss)]
            self.nonfinite["loss"] += len(losses) - len(finite)
            losses = finite
        self.spikes.update(losses)

    def _add_to_window(self, total: float, count: int) -> None:
        self._window.add(total, count)
        if self._window.count >= WINDOW_STEPS:
            mean = cast("float", self._window.take())
            self.phase(TRAIN).loss_best.update(mean, self.current_epoch)

    def _fold_norms(self, with_gaps: Sequence[float | None]) -> None:
        norms, total = summed(with_gaps)
        if norms:
            self.gradient_norm = norms[-1]
            if not math.isfinite(total):
                self.nonfinite["gradient"] += sum(not math.isfinite(norm) for norm in norms)

    def _fold_report(self, report: Report) -> None:
        if report.phase != TRAIN:
            self.last_step_at = report.at
        if report.phase not in self.phases and len(self.phases) >= PHASES_LIMIT:
            self._troubles.report("phases", f"only the first {PHASES_LIMIT} phases are kept")
            return
        phase = self.phase(report.phase)
        values = dict(report.values)
        loss = values.pop("loss", None)
        if loss is not None:
            phase.loss = loss
            if report.phase == TRAIN:
                self._since_reading.take()
            if math.isfinite(loss):
                phase.ewma.update([loss])
            else:
                self.nonfinite["loss"] += 1
            phase.loss_best.update(loss, self.current_epoch)
        self._fold_values(report.phase, values)
        if self.at_report is not None:
            self.at_report(report)

    def _fold_values(self, phase_name: str, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            if not math.isfinite(value):
                self.nonfinite["metric"] += 1
            if name == "accuracy":
                self._fold_accuracy(phase_name, value)
            elif name == "loss_scale":
                self.loss_scale = value
            elif name in self.metric_names or self._admit(name):
                self.phase(phase_name).metrics[name] = value

    def _fold_accuracy(self, phase_name: str, ratio: float) -> None:
        if ratio < 0 or ratio > 1:
            self._troubles.report(
                "accuracy", f"must be a ratio from 0 to 1, got {ratio:g}; is it in percent?", kind="ratio"
            )
            return
        phase = self.phase(phase_name)
        phase.accuracy = ratio
        phase.accuracy_best.update(ratio, self.current_epoch)

    def _admit(self, name: str) -> bool:
        if not is_name(name):
            self._troubles.report("metric_names", "must be short printable texts; the value is dropped")
            return False
        if len(self.metric_names) >= METRIC_NAMES_LIMIT:
            self._troubles.report(
                "metric_names", f"only the first {METRIC_NAMES_LIMIT} names of own metrics are kept"
            )
            return False
        self.metric_names.add(name)
        return True

    def _end_epoch(self, end: EpochEnd) -> None:
        self.epochs, self._in_epoch, self._epoch_ended = self.epochs + 1, False, True
        mean = self.epoch_loss = self._since_epoch.take()
        if mean is not None:
            self.phase(TRAIN).loss_best.update(mean, self.epochs)
        self.last_step_at = end.at
        if self.at_epoch_end is not None:
            self.at_epoch_end()
