"""Finds new bests of the value that says how good the model is, in the ledger as it stands at an epoch's end."""

from __future__ import annotations

from . import phrases, trends
from .ledger import Ledger, Phase

VALIDATION = "validation"


class Monitor:
    """Looks at one value of one phase.

    Args:
        monitor: As phase/metric; None for the validation's accuracy, or its loss where no accuracy is told.
        mode: "min", "max", or None: "max" for an accuracy, "min" for everything else.
        min_delta: How much better a value of the user's own must be.
    """

    def __init__(self, monitor: str | None, mode: str | None, min_delta: float) -> None:
        self._monitor = monitor
        self._mode = mode
        self._min_delta = min_delta
        self._known: dict[str, trends.Best] = {}

    def look(self, ledger: Ledger) -> phrases.Best | None:
        """Gives the best that came since the last look; None if there is none, or if it is the first value."""
        phase_name, metric = self.watched(ledger)
        phase = ledger.phases.get(phase_name)
        if phase is None:
            return None
        known = self._known.setdefault(metric, self._fresh(metric))
        before = known.value
        value, epoch = self._best(phase, metric, known, max(1, ledger.epochs))
        if value is None or epoch is None or not known.update(value, epoch) or before is None:
            return None
        return phrases.Best(metric, phase_name, value, before, epoch)

    def watches(self, phase: str) -> bool:
        """Tells whether the value is one of that phase."""
        return phase == (VALIDATION if self._monitor is None else self._monitor.partition("/")[0])

    def watched(self, ledger: Ledger) -> tuple[str, str]:
        """Gives the phase and the metric of the value, as far as the ledger shows which one it is."""
        if self._monitor is not None:
            phase, _, metric = self._monitor.partition("/")
            return phase, metric
        told = ledger.phases.get(VALIDATION)
        return VALIDATION, "loss" if told is None or told.accuracy is None else "accuracy"

    def mode(self, metric: str) -> str:
        """Gives whether less ("min") or more ("max") of the value is better."""
        return self._mode or ("max" if metric == "accuracy" else "min")

    def _fresh(self, metric: str) -> trends.Best:
        mode = self.mode(metric)
        # What the ledger calls a best has met its threshold already.
        kept = (metric, mode) in (("loss", "min"), ("accuracy", "max"))
        return trends.Best(mode, min_delta=0.0 if kept else self._min_delta)

    def _best(
        self, phase: Phase, metric: str, known: trends.Best, epoch: int
    ) -> tuple[float | None, int | None]:
        if (metric, known.mode) == ("loss", "min"):
            return phase.loss_best.value, phase.loss_best.epoch
        if (metric, known.mode) == ("accuracy", "max"):
            return phase.accuracy_best.value, phase.accuracy_best.epoch
        now = {"loss": phase.loss, "accuracy": phase.accuracy, **phase.metrics}.get(metric)
        return now, epoch
