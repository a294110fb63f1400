"""Which curves stand together in one chart, and along what; pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from epochwatch.phrases import Words, metric_words

from .account import Account
from .record import Curve, Extreme, Record

CHARTS_LIMIT = 8
# With fewer epochs than this, the average loss in between says more than their means.
FEW_EPOCHS = 4
LOGARITHMIC_FROM = 20.0
_PHASES = ("validation", "train")


@dataclass(frozen=True)
class Line:
    """One curve of a chart.

    Attributes:
        x: Epochs or steps, as the chart says.
        reference: Whether it is of the run that this one is held against.
    """

    called: Words
    x: tuple[float, ...]
    y: tuple[float, ...]
    reference: bool = False


@dataclass(frozen=True)
class Chart:
    """Curves of one quantity.

    Attributes:
        best: The point to mark.
        percent: Whether the values are ratios that people read in per cent.
    """

    title: Words
    lines: tuple[Line, ...]
    along: Literal["epoch", "step"]
    logarithmic: bool = False
    best: tuple[float, float] | None = None
    percent: bool = False


def charts(account: Account) -> list[Chart]:
    """Takes a run with its comparisons and gives its charts: loss, accuracy, the user's own, learning rate."""
    record = account.record
    reference = account.against[0].record if account.against else None
    names = sorted(
        {metric for _, metric in record.curves if metric != "loss_ewma"} | _loss_names(record), key=_order
    )
    found = []
    for name in names:
        chart = _chart(name, record, reference)
        if chart is not None:
            found.append(chart)
    return found[:CHARTS_LIMIT]


def _loss_names(record: Record) -> set[str]:
    return {"loss"} if ("train", "loss_ewma") in record.curves else set()


def _order(name: str) -> tuple[int, str]:
    first = {"loss": 0, "accuracy": 1}
    return (3 if name.startswith("learning_rate") else first.get(name, 2)), name


def _chart(name: str, record: Record, reference: Record | None) -> Chart | None:
    own = list(_curves(name, record))
    if not any(len(curve.points) > 1 for curve in own):
        return None
    others = (
        []
        if reference is None
        else [
            curve
            for curve in _curves(name, reference)
            if curve.phase == own[0].phase and curve.metric == own[0].metric
        ]
    )
    by_epoch = all(map(_one_an_epoch, own))
    along: Literal["epoch", "step"] = "epoch" if by_epoch else "step"
    lines = [_line(curve, along) for curve in own]
    lines += [_line(curve, along, reference=True) for curve in others if not by_epoch or _one_an_epoch(curve)]
    return Chart(
        _title(name),
        tuple(lines),
        along,
        logarithmic=_spans(lines, always=name.startswith("learning_rate")),
        best=_best(own[0], record, along),
        percent=name == "accuracy",
    )


def _curves(name: str, record: Record) -> Iterator[Curve]:
    """Gives the curves of a metric, validation first."""
    phases = sorted({phase for phase, _ in record.curves}, key=lambda phase: (_rank(phase), phase))
    for phase in phases:
        curve = record.curves.get((phase, name))
        average = record.curves.get((phase, "loss_ewma")) if name == "loss" else None
        if (
            average is not None
            and len(average.points) > 1
            and (curve is None or len(curve.points) < FEW_EPOCHS)
        ):
            curve = average
        if curve is not None and curve.points:
            yield curve


def _rank(phase: str) -> int:
    return _PHASES.index(phase) if phase in _PHASES else len(_PHASES)


def _one_an_epoch(curve: Curve) -> bool:
    epochs = [point.epoch for point in curve.points]
    return curve.metric != "loss_ewma" and len(set(epochs)) == len(epochs)


def _line(curve: Curve, along: Literal["epoch", "step"], reference: bool = False) -> Line:
    x = tuple(float(point.epoch if along == "epoch" else point.step) for point in curve.points)
    called = metric_words("" if curve.metric.startswith("learning_rate") else curve.metric, curve.phase)
    if curve.metric == "loss_ewma":
        called = Words("training loss, smoothed", "训练损失（平滑）")
    return Line(called.by(str.strip), x, tuple(point.value for point in curve.points), reference)


def _title(name: str) -> Words:
    known = {"loss": Words("Loss", "损失"), "accuracy": Words("Accuracy", "准确率")}
    if name.startswith("learning_rate"):
        group = name.removeprefix("learning_rate")
        return Words(f"Learning rate{group}", f"学习率{group}")
    return known.get(name, Words.same(name))


def _spans(lines: Sequence[Line], always: bool) -> bool:
    values = [value for line in lines for value in line.y if math.isfinite(value)]
    if not values or min(values) <= 0:
        return False
    return max(values) > (1.5 if always else LOGARITHMIC_FROM) * min(values)


def _best(curve: Curve, record: Record, along: str) -> tuple[float, float] | None:
    if f"{curve.phase}/{curve.metric}" != record.head.monitor:
        return None
    best: Extreme | None = curve.best(record.head.mode)
    if best is None:
        return None
    place = next((point for point in curve.points if point.value == best.value), None)
    return None if place is None else (float(place.epoch if along == "epoch" else place.step), place.value)
