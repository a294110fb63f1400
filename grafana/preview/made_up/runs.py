"""A made-up training: how far it is, what it does and how well it learns at a moment."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from grafana.preview.made_up.openmetrics import Values, noise

# What an epoch consists of, in order: state, phase, and the part of the epoch where it ends.
COURSE = (("training", "train", 0.88), ("evaluating", "evaluate", 0.97), ("checkpointing", "checkpoint", 1.0))
PARTS = {
    "data_wait": 0.05,
    "forward": 0.27,
    "backward": 0.46,
    "optimizer": 0.06,
    "sync_wait": 0.13,
    "other": 0.03,
}
SHOWN_SECONDS = 30.0  # how long an end is served before the process is gone


@dataclass(frozen=True)
class MadeUpRun:
    """One training.

    Attributes:
        started: Unix time of its start.
        ended: Unix time of its end; goes on if None.
        end_state: finished, failed or interrupted.
        flat_after: Epoch after which nothing gets better; never if None.
        hot_rank: The rank whose GPU is too hot and slow, and reports an Xid; none if None.
        pod: Where it runs in Kubernetes; not there if empty.
    """

    name: str
    host: str
    started: float
    epochs: int
    epoch_seconds: float
    ranks: int = 1
    step_seconds: float = 0.42
    batch: int = 64
    ended: float | None = None
    end_state: str = "finished"
    loss_from: float = 6.9
    loss_to: float = 1.1
    pace_epochs: float = 9.0
    accuracy_to: float = 0.78
    learning_rate: float = 3e-4
    flat_after: int | None = None
    hot_rank: int | None = None
    memory_gib: float = 61.0
    pod: str = ""

    def served(self, at: Values) -> Values:
        """Takes values, gives them while its processes answer."""
        last = math.inf if self.ended is None else self.ended + SHOWN_SECONDS
        return lambda t: at(min(t, self.ended or t)) if self.started <= t <= last else None

    def done(self, t: float) -> float:
        """Gives the epochs done at a time, the part of the one that goes on included."""
        return min((t - self.started) / self.epoch_seconds, float(self.epochs))

    def trained(self, t: float) -> float:
        """Gives the seconds trained: steps are made in the first part of an epoch only."""
        whole, part = divmod(self.done(t), 1)
        return (whole * COURSE[0][2] + min(part, COURSE[0][2])) * self.epoch_seconds

    def state(self, t: float) -> str:
        if self.ended is not None and t >= self.ended:
            return self.end_state
        part = self.done(t) % 1
        return next(state for state, _, end in COURSE if part < end)

    def loss(self, epoch: float, phase: str) -> float:
        """Gives the loss after an epoch, by a curve that falls and flattens."""
        learnt = min(epoch, float(self.flat_after)) if self.flat_after is not None else epoch
        fallen = self.loss_to + (self.loss_from - self.loss_to) * math.exp(-learnt / self.pace_epochs)
        wobble = 0.012 if phase == "validation" else 0.02
        worse = 0.03 * (self.loss_from - self.loss_to) if phase == "validation" else 0.0
        past = 0.004 * max(0.0, epoch - learnt) if phase == "validation" else 0.0
        return fallen * (1 + wobble * noise(self.name, phase, round(epoch, 3))) + worse + past

    @cached_property
    def _bests(self) -> dict[str, list[tuple[float, int]]]:
        """The lowest loss so far and its epoch, after each epoch, by phase."""
        found: dict[str, list[tuple[float, int]]] = {}
        for phase in ("train", "validation"):
            best, course = (math.inf, 0), []
            for epoch in range(1, self.epochs + 1):
                value = self.loss(float(epoch), phase)
                best = (value, epoch) if value < best[0] * (1 - 1e-4) else best
                course.append(best)
            found[phase] = course
        return found

    def best(self, t: float, phase: str) -> tuple[float, int] | None:
        epochs = int(self.done(t))
        return self._bests[phase][epochs - 1] if epochs else None

    def accuracy(self, epoch: float) -> float:
        part = (self.loss_from - self.loss(epoch, "validation")) / (self.loss_from - self.loss_to)
        return self.accuracy_to * max(0.0, min(1.0, part)) ** 1.4

    def rate(self, t: float) -> float:
        """Gives the learning rate: half an epoch of warm-up, then a cosine down to a tenth."""
        done = self.done(t)
        if done < 0.5:
            return self.learning_rate * max(0.02, done / 0.5)
        return self.learning_rate * (0.1 + 0.45 * (1 + math.cos(math.pi * done / self.epochs)))

    def heat(self, t: float, rank: int) -> float:
        """Gives how much of the way to its heat a hot device has made, 0 to 1; 0 for the others."""
        if rank != self.hot_rank:
            return 0.0
        return min(1.0, max(0.0, (self.done(t) / self.epochs - 0.45) / 0.1))

    def steps(self, t: float) -> float:
        """Gives the optimizer steps made."""
        return math.floor(self.trained(t) / self.step_seconds)
