"""A curve as a line of small bars, for a message on a phone; pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

BARS = "▁▂▃▅▆▇"  # without ▄ and █, which some phones draw on another line
GAP = "·"
WIDTH = 16  # beside a name and two values, on a phone whose font draws bars as wide as Chinese characters


def sparkline(values: Sequence[float], width: int = WIDTH) -> str:
    """Takes values, oldest first, and gives a bar for each, or one for the mean of several beyond `width`.

    The lowest is the lowest bar; values that are not finite are gaps; equal ones are in the middle.
    """
    count = min(len(values), width)
    shown = [_mean(values[len(values) * i // count : len(values) * (i + 1) // count]) for i in range(count)]
    finite = [value for value in shown if math.isfinite(value)]
    if not finite:
        return GAP * len(shown)
    lowest, highest = min(finite), max(finite)
    return "".join(_bar(value, lowest, highest) if math.isfinite(value) else GAP for value in shown)


def _mean(bucket: Sequence[float]) -> float:
    # A NaN inside is the mean: a lone one among many values is what the reader must see.
    return sum(value / len(bucket) for value in bucket)


def _bar(value: float, lowest: float, highest: float) -> str:
    # Halved, because the difference of two large values may not be finite.
    span = highest / 2 - lowest / 2
    if span == 0:
        return BARS[len(BARS) // 2]
    return BARS[round((value / 2 - lowest / 2) / span * (len(BARS) - 1))]
