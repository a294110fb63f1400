"""Keeps a curve that grows within bounds: of many points those that show its shape; pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .record import Curve, Extreme, Point

POINTS_LIMIT = 400


def thin(points: Sequence[Point], limit: int = POINTS_LIMIT) -> list[Point]:
    """Takes points, oldest first, and gives at most `limit` of them (5 or more).

    The first and the last stay; of each of equally many neighbours between them, the lowest, the highest, and one that
    is not finite: a lone NaN is what a reader must see.
    """
    if len(points) <= limit:
        return list(points)
    inner = points[1:-1]
    buckets = (limit - 2) // 3
    kept = [points[0]]
    for index in range(buckets):
        bucket = inner[len(inner) * index // buckets : len(inner) * (index + 1) // buckets]
        kept += _extremes(bucket)
    return [*kept, points[-1]]


def _extremes(bucket: Sequence[Point]) -> list[Point]:
    finite = [place for place, point in enumerate(bucket) if math.isfinite(point.value)]
    odd = next((place for place, point in enumerate(bucket) if not math.isfinite(point.value)), None)
    chosen = set() if odd is None else {odd}
    if finite:
        chosen |= {choose(finite, key=lambda place: bucket[place].value) for choose in (min, max)}
    return [bucket[place] for place in sorted(chosen)]


class GrowingCurve:
    """One metric of one phase while the run goes on: at most `2 * limit` points, extremes over all values."""

    def __init__(self, phase: str, metric: str, limit: int = POINTS_LIMIT) -> None:
        self.phase = phase
        self.metric = metric
        self._limit = limit
        self._points: list[Point] = []
        self._lowest: Extreme | None = None
        self._highest: Extreme | None = None
        self._saved = 0

    def add(self, point: Point) -> None:
        """Takes the next value."""
        self._points.append(point)
        self.meet(point.value, point.epoch)
        if len(self._points) >= 2 * self._limit:
            self._points = thin(self._points, self._limit)
            self._saved = 0

    def meet(self, value: float, epoch: int) -> None:
        """Takes a value that may be an extreme, without a point: a best from before a resume."""
        if math.isfinite(value):
            if self._lowest is None or value < self._lowest.value:
                self._lowest = Extreme(value, epoch)
            if self._highest is None or value > self._highest.value:
                self._highest = Extreme(value, epoch)

    def finish(self) -> None:
        """Brings it down to `limit` points."""
        if len(self._points) > self._limit:
            self._points = thin(self._points, self._limit)
            self._saved = 0

    @property
    def unsaved(self) -> tuple[bool, list[Point]]:
        """Gives whether those in the store must go first, and the points that are not there yet."""
        return self._saved == 0, self._points[self._saved :]

    def saved(self, count: int) -> None:
        """Takes that so many points more are in the store."""
        self._saved += count

    def so_far(self) -> Curve | None:
        """Gives it as it stands; None before its first point."""
        if not self._points:
            return None
        points = tuple(self._points)
        return Curve(self.phase, self.metric, points, points[-1].value, self._lowest, self._highest)
