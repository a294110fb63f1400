"""What is known of one run, as plain data: the same whether it comes from a running process or from the store."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

Mode = Literal["min", "max"]
CurveKey = tuple[str, str]  # phase, metric

ACTIVE_STATES = ("starting", "training", "evaluating", "checkpointing")
# A run says once a minute that it is still there.
VANISHED_AFTER_SECONDS = 300.0


class Point(NamedTuple):
    """A value, the optimizer steps made by then, and the epoch it belongs to, counted from 1."""

    step: int
    epoch: int
    value: float


class Extreme(NamedTuple):
    """The lowest or highest finite value and the epoch it came in."""

    value: float
    epoch: int


@dataclass(frozen=True)
class Curve:
    """How one metric of one phase went.

    Attributes:
        points: Oldest first, thinned; extremes are among them unless they were made before a resume.
        final: The last value, also one that is not finite.
        lowest, highest: Over all values, those thinned away included; None if none was finite.
    """

    phase: str
    metric: str
    points: tuple[Point, ...]
    final: float
    lowest: Extreme | None
    highest: Extreme | None

    def best(self, mode: Mode) -> Extreme | None:
        """Gives the best value."""
        return self.lowest if mode == "min" else self.highest

    def best_until(self, mode: Mode, epoch: int) -> Extreme | None:
        """Gives the best of the points up to an epoch."""
        known = [point for point in self.points if point.epoch <= epoch and math.isfinite(point.value)]
        choose = min if mode == "min" else max
        best = choose(known, key=lambda point: point.value, default=None)
        return None if best is None else Extreme(best.value, best.epoch)

    @property
    def last_epoch(self) -> int:
        return self.points[-1].epoch if self.points else 0


@dataclass(frozen=True)
class GpuUse:
    """What one GPU did during a run; None for what it does not tell.

    Attributes:
        samples: How many readings the means are over.
    """

    gpu: str
    name: str = ""
    samples: int = 0
    utilization_mean_ratio: float | None = None
    memory_peak_bytes: float | None = None
    memory_total_bytes: float | None = None
    allocated_peak_bytes: float | None = None
    power_mean_watts: float | None = None
    temperature_peak_celsius: float | None = None
    energy_joules: float | None = None


@dataclass(frozen=True)
class Raised:
    """Something that was told or that a rule found: `source` is "run" or "prometheus"."""

    at: float
    name: str
    severity: str
    said_en: str
    said_zh: str
    source: str = "run"


@dataclass(frozen=True)
class Facts:
    """What does not change the order of anything: stored as one document.

    Attributes:
        checkpoint: Where the last checkpoint lies.
        failure: Type and message of the exception that ended the run.
        phase_seconds: Where the wall-clock time went (startup, train, evaluate, ...).
        part_seconds: Where a step's time went (data_wait, forward, ...).
        counts: Non-finite values, spikes, skipped steps, exceptions; only those above 0.
    """

    host: str = ""
    framework: str = ""
    git_commit: str = ""
    world_size: int = 1
    restarts: int = 0
    checkpoint: str = ""
    failure: str = ""
    samples: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    details: Mapping[str, str] = field(default_factory=dict)
    phase_seconds: Mapping[str, float] = field(default_factory=dict)
    part_seconds: Mapping[str, float] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    gpus: tuple[GpuUse, ...] = ()


@dataclass(frozen=True)
class Head:
    """What is said of a run in one line of a list.

    Attributes:
        seen_at: When the run last said that it is still there, seconds since the epoch.
        monitor: The value that says how good the model is, as phase/metric; empty if none was ever told.
    """

    run_id: str
    name: str
    state: str
    started_at: float
    seen_at: float
    ended_at: float | None = None
    epochs: int = 0
    planned_epochs: int | None = None
    steps: int = 0
    monitor: str = ""
    mode: Mode = "min"

    @property
    def seconds(self) -> float:
        """Gives how long it ran, or has run when it was last seen."""
        return max(0.0, (self.seen_at if self.ended_at is None else self.ended_at) - self.started_at)

    def state_at(self, now: float) -> str:
        """Gives its state; "vanished" for one that still ran when it was last seen, too long ago."""
        silent = now - self.seen_at > VANISHED_AFTER_SECONDS
        return "vanished" if silent and self.state in ACTIVE_STATES else self.state

    def at(self, now: float) -> Head:
        """Gives it with its state as `state_at` gives it."""
        return replace(self, state=self.state_at(now))


@dataclass(frozen=True)
class Record:
    """All that is kept of a run."""

    head: Head
    facts: Facts = field(default_factory=Facts)
    curves: Mapping[CurveKey, Curve] = field(default_factory=dict)
    raised: tuple[Raised, ...] = ()

    def curve(self, metric: str) -> Curve | None:
        """Gives the curve of a metric named phase/metric."""
        phase, _, name = metric.partition("/")
        return self.curves.get((phase, name))

    @property
    def metrics(self) -> list[str]:
        """Gives the names of all its curves, as phase/metric."""
        return [f"{phase}/{name}" for phase, name in self.curves]
