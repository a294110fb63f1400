"""What the values say over time, as plain arithmetic without I/O or clocks.

Each takes values in batches, because the recorder hands over many steps at once.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from .catalogue import STEP_BUCKETS_SECONDS

SPIKE_Z = 6.0
SPIKE_RELATIVE = 0.2
SPIKE_MUTED_STEPS = 100
# From here on the correction of an average is below what a double can show of it.
SETTLED_WEIGHT = 1.0 - 1e-12
MINIMUM_STALL_SECONDS = 300.0
UNLEARNED_STALL_SECONDS = 1800.0
STALL_FACTOR = 20.0
PACE_INTERVALS = 128
EDGES_SECONDS = (-math.inf, *STEP_BUCKETS_SECONDS, math.inf)


def median(values: Iterable[float]) -> float:
    """Gives the middle one of values, at least one; of an even number of them, the mean of the middle two.

    `statistics` has it too, at 3 ms of a training's start: it brings fractions and decimal.
    """
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def is_better(candidate: float, best: float, mode: str = "min", min_delta: float = 1e-4) -> bool:
    """Tells whether `candidate` beats `best`, as torch's ReduceLROnPlateau does with threshold_mode="rel".

    Where `best` is 0 or below, `min_delta` is an absolute distance: the relative rule would there call a
    value better that equals the best or is a little worse. A NaN or infinite candidate never wins.
    """
    if not math.isfinite(candidate):
        return False
    margin = min_delta * best if best > 0 else min_delta
    return candidate < best - margin if mode == "min" else candidate > best + margin


@dataclass
class Best:
    """The best value so far and its epoch, counted from 1; both None before the first finite value."""

    mode: str = "min"
    min_delta: float = 1e-4
    value: float | None = None
    epoch: int | None = None

    def update(self, value: float, epoch: int) -> bool:
        """Takes the value of an epoch and tells whether it is the new best."""
        better = math.isfinite(value)
        if self.value is not None:
            better = is_better(value, self.value, self.mode, self.min_delta)
        if better:
            self.value, self.epoch = value, epoch
        return better


@dataclass
class Ewma:
    """Exponential moving average, corrected for its start as Adam's moments (Kingma and Ba 2015, section 3).

    The corrected average is kept itself: with w the weight the raw average has gathered, the raw one divided
    by w moves by alpha / w of the distance.
    """

    alpha: float
    mean: float = 0.0
    weight: float = 0.0

    def update(self, values: Sequence[float]) -> None:
        """Takes finite values, oldest first."""
        for value in values:
            self.weight += self.alpha * (1.0 - self.weight)
            self.mean += self.alpha / self.weight * (value - self.mean)

    @property
    def value(self) -> float | None:
        """Gives the average; None before the first value."""
        return self.mean if self.weight else None


@dataclass
class Spikes:
    """Counts losses that stand out: z of at least 6 against a moving mean and variance, and 20 % above.

    Muted for 100 steps after the start and after a resume, and while the learning rate rises (warm-up,
    warm restarts) and 100 steps beyond. A spike enters the variance clipped at its threshold, so that it does
    not hide the next. The moving mean is the average of the train phase, kept up to date in the same loop.
    """

    average: Ewma
    count: int = 0
    variance: float = 0.0
    muted: int = SPIKE_MUTED_STEPS

    def mute(self, after: int = 0) -> None:
        """Keeps the next losses from counting, up to 100 beyond the first `after` of them."""
        self.muted = after + SPIKE_MUTED_STEPS

    def update(self, losses: Sequence[float]) -> None:
        """Takes finite losses, oldest first, into the average, the variance and the count."""
        settled = 0 if self.average.weight > SETTLED_WEIGHT else len(losses)
        careful = max(settled, min(self.muted, len(losses)))
        for loss in losses[:careful]:
            self._take(loss)
        if careful == len(losses):
            return
        mean, alpha = self.average.mean, self.average.alpha
        # The variance times the squared z, because every loss is held against that.
        limit = SPIKE_Z * SPIKE_Z * self.variance
        keep, gain = 1.0 - alpha, (1.0 - alpha) * alpha * SPIKE_Z * SPIKE_Z
        for loss in losses[careful:]:
            distance = loss - mean
            squared = distance * distance
            if squared > limit and self._is_spike(distance, mean):
                squared = self._clipped(mean, limit / (SPIKE_Z * SPIKE_Z)) ** 2
            mean += alpha * distance
            limit = keep * limit + gain * squared
        self.average.mean, self.variance = mean, limit / (SPIKE_Z * SPIKE_Z)

    def _take(self, loss: float) -> None:
        """Does for one loss what the loop above does for many, while the average is young or spikes muted."""
        mean = self.average.mean
        distance = loss - mean if self.average.weight else 0.0
        self.average.update([loss])
        if self.muted:
            self.muted -= 1
        elif distance * distance > SPIKE_Z * SPIKE_Z * self.variance and self._is_spike(distance, mean):
            distance = self._clipped(mean, self.variance)
        alpha = self.average.alpha / self.average.weight
        self.variance = (1.0 - alpha) * (self.variance + alpha * distance * distance)

    def _is_spike(self, distance: float, mean: float) -> bool:
        spike = distance >= SPIKE_RELATIVE * abs(mean)
        self.count += spike
        return spike

    def _clipped(self, mean: float, variance: float) -> float:
        return max(SPIKE_Z * math.sqrt(variance), SPIKE_RELATIVE * abs(mean))


@dataclass
class Durations:
    """A histogram of durations in seconds, over the catalogue's step buckets."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(STEP_BUCKETS_SECONDS) + 1))
    sum: float = 0.0

    def update(self, seconds: Sequence[float]) -> None:
        """Takes durations in seconds, any number of them."""
        if not seconds:
            return
        counts, bounds, find = self.counts, EDGES_SECONDS, bisect_left
        # As a rule most are of one bucket: one look-up for all of them, and one for each of the others.
        bucket = find(bounds, seconds[len(seconds) // 2]) - 1
        low, high = bounds[bucket], bounds[bucket + 1]
        others = [duration for duration in seconds if duration <= low or duration > high]
        counts[bucket] += len(seconds) - len(others)
        for duration in others:
            counts[find(bounds, duration) - 1] += 1
        self.sum += sum(seconds)


@dataclass
class Pace:
    """The recent intervals between signs of life of one phase, from which its stall timeout is learned."""

    recent_seconds: deque[float] = field(default_factory=lambda: deque(maxlen=PACE_INTERVALS))

    def take(self, seconds: Sequence[float]) -> None:
        """Takes intervals in seconds, oldest first."""
        self.recent_seconds.extend(seconds[-PACE_INTERVALS:])

    def stall_timeout_seconds(self) -> float:
        """Gives the larger of 300 s and 20 times the median interval; 1800 s before the first interval."""
        if not self.recent_seconds:
            return UNLEARNED_STALL_SECONDS
        return max(MINIMUM_STALL_SECONDS, STALL_FACTOR * median(self.recent_seconds))
