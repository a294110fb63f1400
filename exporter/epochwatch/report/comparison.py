"""Holds one run against another by one value; pure.

Differences are judged in the value's own unit and a relative tolerance by the magnitude of the reference, never as a
ratio: losses below zero are common.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from epochwatch.errors import ComparisonError
from epochwatch.tolerance import Tolerance

from .record import Curve, Mode, Record
from .reference import nearest

Verdict = Literal["better", "same", "worse"]
At = Literal["best", "final"]
DEFAULT_TOLERANCE = Tolerance(0.005, relative=True)


@dataclass(frozen=True)
class Value:
    """One run's value and its epoch; `value` is not finite if the run has none to show."""

    value: float
    epoch: int


@dataclass(frozen=True)
class Comparison:
    """What came of it.

    Attributes:
        metric: As phase/metric.
        reference, candidate: The values held against each other.
        gain: By how much the candidate is better, in the value's unit; below 0 if worse, NaN without two finite values.
        equal_epochs: The two best values after as many epochs as the shorter run had, where their lengths differ.
        diverged: Whether the candidate's last value is not finite, whatever its best was.
    """

    metric: str
    mode: Mode
    at: At
    tolerance: Tolerance
    reference: Value
    candidate: Value
    verdict: Verdict
    gain: float
    equal_epochs: tuple[Value, Value] | None = None
    diverged: bool = False

    @property
    def name(self) -> str:
        """Gives the metric without its phase."""
        return self.metric.partition("/")[2]

    @property
    def phase(self) -> str:
        return self.metric.partition("/")[0]

    @property
    def change(self) -> float:
        """Gives candidate minus reference."""
        return self.candidate.value - self.reference.value


def compare(
    reference: Record,
    candidate: Record,
    *,
    metric: str | None = None,
    mode: Mode | None = None,
    tolerance: Tolerance = DEFAULT_TOLERANCE,
    at: At = "best",
) -> Comparison:
    """Takes two runs and says whether the candidate is better, the same within the tolerance, or worse.

    Args:
        metric: As phase/metric; what the candidate's run monitored if left out.
        mode: Whether less or more is better; known for losses, accuracies and what either run monitored.

    Raises:
        ComparisonError: If one of them has no such value, or nobody says whether less or more of it is better.
    """
    metric = metric or candidate.head.monitor or reference.head.monitor
    ours, theirs = _curve(candidate, metric), _curve(reference, metric)
    mode = mode or known_mode(metric, reference, candidate)
    now, before = _value(ours, mode, at), _value(theirs, mode, at)
    verdict, gain = judge(before.value, now.value, mode, tolerance)
    return Comparison(
        metric,
        mode,
        at,
        tolerance,
        before,
        now,
        verdict,
        gain,
        _at_equal_epochs(theirs, ours, mode),
        diverged=not math.isfinite(ours.final),
    )


def judge(reference: float, candidate: float, mode: Mode, tolerance: Tolerance) -> tuple[Verdict, float]:
    """Takes two values and gives the verdict on the candidate and by how much it is better.

    A candidate that is not finite is worse than anything; a finite one is better than a reference that is not.
    """
    if not math.isfinite(candidate):
        return "worse", math.nan
    if not math.isfinite(reference):
        return "better", math.nan
    gain = reference - candidate if mode == "min" else candidate - reference
    margin = tolerance.margin(reference)
    return "better" if gain > margin else "worse" if gain < -margin else "same", gain


def shared(reference: Record, candidate: Record, tolerance: Tolerance, at: At = "best") -> list[Comparison]:
    """Gives the comparison by every value that both runs have and whose direction is known."""
    found = []
    for metric in candidate.metrics:
        if metric in reference.metrics and not metric.endswith("/loss_ewma"):
            try:
                found.append(compare(reference, candidate, metric=metric, tolerance=tolerance, at=at))
            except ComparisonError:
                continue  # nobody says whether less or more of it is better
    return found


def known_mode(metric: str, *runs: Record) -> Mode:
    """Gives whether less or more of a value is better.

    Raises:
        ComparisonError: If nobody says so.
    """
    for run in runs:
        if run.head.monitor == metric:
            return run.head.mode
    name = metric.partition("/")[2]
    if name == "accuracy" or name.endswith("_accuracy"):
        return "max"
    if name.startswith("loss") or name.endswith("_loss"):
        return "min"
    raise ComparisonError(f"is less or more of {metric} better? Say --mode min or --mode max")


def _curve(run: Record, metric: str) -> Curve:
    curve = run.curve(metric)
    if curve is None:
        known = ", ".join(nearest(metric, run.metrics)) or "nothing"
        raise ComparisonError(
            f"run {run.head.name} ({run.head.run_id}) never told {metric or 'a value'}; it has {known}"
        )
    return curve


def _value(curve: Curve, mode: Mode, at: At) -> Value:
    if at == "final":
        return Value(curve.final, curve.last_epoch)
    best = curve.best(mode)
    return Value(math.nan, curve.last_epoch) if best is None else Value(*best)


def _at_equal_epochs(reference: Curve, candidate: Curve, mode: Mode) -> tuple[Value, Value] | None:
    epochs = min(reference.last_epoch, candidate.last_epoch)
    if reference.last_epoch == candidate.last_epoch:
        return None
    before, now = reference.best_until(mode, epochs), candidate.best_until(mode, epochs)
    return None if before is None or now is None else (Value(*before), Value(*now))
