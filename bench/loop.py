"""What watching adds to a training loop: steps told to epochwatch, to prometheus_client by hand, and to nobody.

A small network learns scikit-learn's digits in steps of about a millisecond. Each step, in random order, is told to
somebody else and timed by the thread's CPU time. A block is 512 steps of each, as many as the recorder folds at once,
so that the folding is in every block. Said are the median of the blocks' overheads and the 95 % interval of that
median (order statistics). Steps told to nobody are in it twice: that line shows what the method finds where there is
nothing to find. Two more lines show what no watching can go below: a Python function that is given the same values
and does nothing, and one that reads both tensors with `item()` and does nothing else. Between two calls the network
has used the caches, so that a call costs more than in bench/step.py.

    python bench/loop.py [--quick] [--device cuda]
"""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Callable, Iterator
from itertools import cycle
from statistics import median
from time import thread_time

import torch
from sklearn.datasets import load_digits
from step import HandWritten
from torch import nn

import epochwatch

PAIRS = 512
TARGET = 0.001


def batches(device: str) -> list[tuple[torch.Tensor, torch.Tensor]]:
    images, labels = load_digits(return_X_y=True)
    x = torch.tensor(images, dtype=torch.float32, device=device) / 16
    y = torch.tensor(labels, device=device)
    return list(zip(x.split(96), y.split(96), strict=True))[:-1]


class Training:
    """One model for all, so that nothing but what a step tells to whom makes a difference."""

    def __init__(self, device: str) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(
            nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10)
        ).to(device)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.001, momentum=0.9)

    def step(
        self, data: Iterator[tuple[torch.Tensor, torch.Tensor]], told: Callable[..., None] | None
    ) -> float:
        """Makes one step, tells it, and gives its seconds of CPU."""
        began = thread_time()
        x, y = next(data)
        loss = nn.functional.cross_entropy(self.model(x), y)
        self.optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        self.optimizer.step()
        if told is not None:
            told(loss=loss, lr=0.001, grad_norm=norm, samples=len(x))
        return thread_time() - began


def ignore(loss: object, lr: float, grad_norm: object, samples: int) -> None:
    """Does nothing."""


def read(loss: torch.Tensor, lr: float, grad_norm: torch.Tensor, samples: int) -> None:
    """Reads both tensors and forgets them."""
    loss.item()
    grad_norm.item()


def interval(values: list[float]) -> tuple[float, float]:
    """Gives the 95 % interval of the median, by order statistics."""
    ordered, half = sorted(values), 0.98 * math.sqrt(len(values))
    low = max(0, math.floor(len(values) / 2 - half))
    high = min(len(values) - 1, math.ceil(len(values) / 2 + half))
    return ordered[low], ordered[high]


def main() -> int:
    blocks = 6 if "--quick" in sys.argv[1:] else 30
    device = "cuda" if "cuda" in sys.argv[1:] else "cpu"
    torch.set_num_threads(1)
    data, order = batches(device), random.Random(0)
    training, by_hand = Training(device), HandWritten()
    with epochwatch.start("bench", port=0, addr="127.0.0.1", gpu=False) as run:
        steps: dict[str, tuple[Iterator[tuple[torch.Tensor, torch.Tensor]], Callable[..., None] | None]] = {
            "epochwatch": (iter(run.batches(cycle(data))), run.step),
            "prometheus_client": (cycle(data), by_hand.step),
            "an empty function": (cycle(data), ignore),
            "item() alone": (cycle(data), read),
            "nobody, again": (cycle(data), None),
            "nobody": (cycle(data), None),
        }
        added: dict[str, list[float]] = {name: [] for name in steps if name != "nobody"}
        base_seconds: list[float] = []
        for block in range(blocks + 1):
            seconds = dict.fromkeys(steps, 0.0)
            for _ in range(PAIRS):
                for name in order.sample(sorted(steps), len(steps)):
                    seconds[name] += training.step(*steps[name])
            if block:  # the first one warms up
                base_seconds.append(seconds["nobody"] / PAIRS)
                for name, overheads in added.items():
                    overheads.append(seconds[name] / seconds["nobody"] - 1)
    print(f"loop  a step takes {median(base_seconds) * 1e3:.3f} ms of CPU")
    for name, overheads in added.items():
        low, high = interval(overheads)
        print(f"loop  told to {name:<17} {median(overheads):+.3%} of it (95 %: {low:+.3%} to {high:+.3%})")
    low, _ = interval(added["epochwatch"])
    within = low <= TARGET
    print(f"loop  {'within' if within else 'ABOVE'} {TARGET:.1%}")
    return int(not within)


if __name__ == "__main__":
    sys.exit(main())
