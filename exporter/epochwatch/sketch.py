"""Notes what becomes of a run's values, on whatever thread folds them; drained by the one that keeps them.

A value is a tuple and an append; the notes are bounded, and what is too much is counted.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from .ledger import TRAIN, Ledger, Phase, Report
from .report.record import Point
from .report.thinning import GrowingCurve
from .troubles import Troubles

NOTES_LIMIT = 20_000
CURVES_LIMIT = 64
LEARNING_RATE = "learning_rate"


class Noted(NamedTuple):
    """A value of a metric; `step` is None for a best that was made before a resume."""

    phase: str
    metric: str
    step: int | None
    epoch: int
    value: float


class Sketch:
    """The curves of one run. `report`, `epoch_ended` and `resumed` are called while somebody holds the ledger."""

    def __init__(self, troubles: Troubles) -> None:
        self._troubles = troubles
        self._noted: deque[Noted] = deque()
        self.curves: dict[tuple[str, str], GrowingCurve] = {}

    def report(self, ledger: Ledger, report: Report) -> None:
        """Takes values of a phase as the loop gave them."""
        step, epoch = _place(ledger)
        for name, value in report.values.items():
            if name == "loss" or name in ledger.metric_names or (name == "accuracy" and 0 <= value <= 1):
                self._note(Noted(report.phase, name, step, epoch, value))

    def epoch_ended(self, ledger: Ledger) -> None:
        """Takes the mean loss of an epoch's steps and its learning rates."""
        step = ledger.resumed_steps + ledger.steps
        if ledger.epoch_loss is not None:
            self._note(Noted(TRAIN, "loss", step, ledger.epochs, ledger.epoch_loss))
        for metric, rate in rates(ledger.learning_rates):
            self._note(Noted(TRAIN, metric, step, ledger.epochs, rate))

    def look(self, ledger: Ledger) -> None:
        """Takes the training's average loss in between: an epoch may take days."""
        average = ledger.phase(TRAIN).ewma.value
        if average is not None:
            self._note(Noted(TRAIN, "loss_ewma", *_place(ledger), average))

    def resumed(self, ledger: Ledger) -> None:
        """Takes the bests that came from a checkpoint."""
        for name, phase in ledger.phases.items():
            for noted in _bests(name, phase):
                self._note(noted)

    def drain(self) -> None:
        """Puts what was noted into the curves; on one thread only."""
        while self._noted:
            phase, metric, step, epoch, value = self._noted.popleft()
            curve = self.curves.get((phase, metric))
            if curve is None:
                if len(self.curves) >= CURVES_LIMIT:
                    self._troubles.report(
                        "history", f"only the first {CURVES_LIMIT} curves of a run are kept"
                    )
                    continue
                curve = self.curves[phase, metric] = GrowingCurve(phase, metric)
            if step is None:
                curve.meet(value, epoch)
            else:
                curve.add(Point(step, epoch, value))

    def _note(self, noted: Noted) -> None:
        if len(self._noted) >= NOTES_LIMIT:
            self._troubles.report(
                "history", f"more than {NOTES_LIMIT} values at once; the others are not kept"
            )
            return
        self._noted.append(noted)


def rates(groups: Mapping[str, float]) -> Iterator[tuple[str, float]]:
    """Gives learning rates under the names of their curves."""
    for group, rate in groups.items():
        yield LEARNING_RATE if len(groups) == 1 else f"{LEARNING_RATE} {group}", rate


def _place(ledger: Ledger) -> tuple[int, int]:
    return ledger.resumed_steps + ledger.steps, ledger.current_epoch


def _bests(name: str, phase: Phase) -> Iterator[Noted]:
    for metric, best in (("loss", phase.loss_best), ("accuracy", phase.accuracy_best)):
        if best.value is not None and math.isfinite(best.value):
            yield Noted(name, metric, None, best.epoch or 0, best.value)
