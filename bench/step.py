"""What a step costs the training thread: epochwatch beside prometheus_client by hand, TensorBoard and W&B offline.

The hand-written step sets 8 gauges, 2 counters and 1 histogram through cached children; TensorBoard and W&B log
the same four values. All are timed in short turns, in random order, within one process and by the thread's CPU
time, so that whatever else the machine does falls on all of them; each ratio is the median of the turns' ratios.

    python bench/step.py [--quick]
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from statistics import median
from time import perf_counter, thread_time

import prometheus_client
import torch

import epochwatch
from epochwatch.catalogue import STEP_BUCKETS_SECONDS

CALLS = 2000
SLOW_CALLS = 50
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


def tensorboard_step(folder: str, ending: ExitStack) -> Callable[..., None]:
    """Gives a step that logs to a SummaryWriter."""
    from torch.utils.tensorboard import SummaryWriter

    writer = ending.enter_context(SummaryWriter(folder))
    done = 0

    def step(loss: object, lr: float, grad_norm: float, samples: int) -> None:
        nonlocal done
        done += 1
        writer.add_scalar("loss", loss, done)
        writer.add_scalar("lr", lr, done)
        writer.add_scalar("grad_norm", grad_norm, done)
        writer.add_scalar("samples", samples, done)

    return step


def wandb_step(folder: str, ending: ExitStack) -> Callable[..., None]:
    """Gives a step that logs to a W&B run without network."""
    os.environ["WANDB_SILENT"] = "true"
    import wandb

    run = wandb.init(project="bench", mode="offline", dir=folder, settings=wandb.Settings(console="off"))
    ending.callback(run.finish)

    def step(loss: object, lr: float, grad_norm: float, samples: int) -> None:
        value = loss if type(loss) is float else loss.item()  # type: ignore[attr-defined]
        run.log({"loss": value, "lr": lr, "grad_norm": grad_norm, "samples": samples})

    return step


def microseconds(step: Callable[..., None], loss: object, calls: int) -> float:
    """Gives the mean cost of a call in microseconds, the loop's own cost taken off."""
    began = thread_time()
    for _ in range(calls):
        pass
    empty = thread_time() - began
    began = thread_time()
    for _ in range(calls):
        step(loss=loss, lr=0.1, grad_norm=1.5, samples=64)
    return (thread_time() - began - empty) / calls * 1e6


def contenders(
    run: epochwatch.Run, folder: str, ending: ExitStack
) -> dict[str, tuple[Callable[..., None], int]]:
    """Gives each step and how often to call it in a turn; those not installed are left out, and said."""
    steps: dict[str, tuple[Callable[..., None], int]] = {
        "epochwatch": (run.step, CALLS),
        "prometheus_client": (HandWritten().step, CALLS),
    }
    for name, make in (("TensorBoard", tensorboard_step), ("W&B offline", wandb_step)):
        try:
            steps[name] = (make(folder, ending), SLOW_CALLS)
        except ModuleNotFoundError as error:
            print(f"{name} is left out: {error} (pip install -e '.[bench]')")
    return steps


def main() -> int:
    rounds, missed = 40 if "--quick" in sys.argv[1:] else 150, 0
    order = random.Random(0)
    losses: dict[str, object] = {"float": 2.3, "CPU tensor": torch.tensor(2.3, requires_grad=True) * 1.0}
    if torch.cuda.is_available():
        losses["CUDA tensor"] = torch.tensor(2.3, requires_grad=True, device="cuda") * 1.0
    with (
        tempfile.TemporaryDirectory() as folder,
        ExitStack() as ending,
        epochwatch.start("bench", port=0, addr="127.0.0.1", gpu=False) as run,
    ):
        steps = contenders(run, folder, ending)
        run.step(loss=2.3)
        for kind, loss in losses.items():
            taken: dict[str, list[float]] = {name: [] for name in steps}
            for _ in range(rounds):
                # Whoever comes after a slow one finds the caches full of that one's data.
                for name in order.sample(sorted(steps), len(steps)):
                    step, calls = steps[name]
                    taken[name].append(microseconds(step, loss, calls))
            for name, times in taken.items():
                ratio = median(ours / theirs for ours, theirs in zip(taken["epochwatch"], times, strict=True))
                against = "" if name == "epochwatch" else f"   epochwatch takes 1/{1 / ratio:.1f} of it"
                if name == "prometheus_client" and kind in TARGETS:
                    within = ratio <= TARGETS[kind]
                    missed += not within
                    against += f", {'within' if within else 'ABOVE'} 1/{1 / TARGETS[kind]:.0f}"
                print(
                    f"step with a {kind:<10}  {name:<17} {median(times):8.2f} us (best {min(times):.2f}){against}"
                )
    return missed


if __name__ == "__main__":
    sys.exit(main())
