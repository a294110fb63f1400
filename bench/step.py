"""What `run.step(loss, lr, grad_norm, samples)` costs the training thread, against prometheus_client by hand.

The hand-written step sets 8 gauges, 2 counters and 1 histogram through cached children. Both are timed in
short turns within one process, by the thread's CPU time; the ratio is the median of the turns'.

    python bench/step.py [--quick]
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from statistics import median
from time import perf_counter, thread_time

import prometheus_client
import torch

import epochwatch
from epochwatch.catalogue import STEP_BUCKETS_SECONDS

CALLS = 2000
TARGETS = {"float": 1 / 8, "CPU tensor": 1 / 5}


class HandWritten:
    """The same step as one would write it without epochwatch."""

    def __init__(self) -> None:
        registry = prometheus_client.CollectorRegistry()
        labels = ("digits", "0")

        def gauge(name: str) -> prometheus_client.Gauge:
            return prometheus_client.Gauge(name, name, ["run", "rank"], registry=registry).labels(*labels)

        def counter(name: str) -> prometheus_client.Counter:
            return prometheus_client.Counter(name, name, ["run", "rank"], registry=registry).labels(*labels)

        self.loss, self.ewma, self.lr, self.norm = map(gauge, ("loss", "ewma", "lr", "norm"))
        self.global_step, self.progress, self.epoch, self.best = map(
            gauge, ("gs", "progress", "epoch", "best")
        )
        self.steps, self.samples = counter("steps"), counter("samples")
        self.duration = prometheus_client.Histogram(
            "duration", "duration", ["run", "rank"], registry=registry, buckets=STEP_BUCKETS_SECONDS
        ).labels(*labels)
        self.done, self.average, self.last = 0, 0.0, perf_counter()

    def step(self, loss: object, lr: float, grad_norm: float, samples: int) -> None:
        now = perf_counter()
        value = loss if type(loss) is float else loss.item()  # type: ignore[attr-defined]
        self.done += 1
        self.average += 0.02 * (value - self.average)
        self.loss.set(value)
        self.ewma.set(self.average)
        self.lr.set(lr)
        self.norm.set(grad_norm)
        self.global_step.set(self.done)
        self.progress.set(now)
        self.epoch.set(0)
        self.best.set(value)
        self.steps.inc()
        self.samples.inc(samples)
        self.duration.observe(now - self.last)
        self.last = now


def microseconds(step: Callable[..., None], loss: object) -> float:
    """Gives the mean cost of a call in microseconds, the loop's own cost taken off."""
    began = thread_time()
    for _ in range(CALLS):
        pass
    empty = thread_time() - began
    began = thread_time()
    for _ in range(CALLS):
        step(loss=loss, lr=0.1, grad_norm=1.5, samples=64)
    return (thread_time() - began - empty) / CALLS * 1e6


def main() -> int:
    rounds = 40 if "--quick" in sys.argv[1:] else 300
    by_hand, missed = HandWritten(), 0
    losses = {"float": 2.3, "CPU tensor": torch.tensor(2.3, requires_grad=True) * 1.0}
    with epochwatch.start("bench", port=0, addr="127.0.0.1", gpu=False) as run:
        run.step(loss=2.3)
        for kind, loss in losses.items():
            ours, theirs = [], []
            for _ in range(rounds):
                ours.append(microseconds(run.step, loss))
                theirs.append(microseconds(by_hand.step, loss))
            ratio = median(mine / other for mine, other in zip(ours, theirs, strict=True))
            target = f"{'within' if ratio <= TARGETS[kind] else 'ABOVE'} 1/{1 / TARGETS[kind]:.0f}"
            missed += ratio > TARGETS[kind]
            print(
                f"{kind:<10}  epochwatch {median(ours):.2f} us (best {min(ours):.2f})   prometheus_client "
                f"{median(theirs):.2f} us (best {min(theirs):.2f})   1/{1 / ratio:.1f}, {target}"
            )
    return missed


if __name__ == "__main__":
    sys.exit(main())
