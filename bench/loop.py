"""What epochwatch adds to a training loop: two equal trainings, one watched, step by step in random order.

A small network learns scikit-learn's digits in steps of about a millisecond. Each step is timed by the thread's CPU
time; a block is 256 pairs, as many as the recorder folds at once, so that the folding is in every block. Said are
the median of the blocks' overheads and the 95 % interval of that median (order statistics). A third training, as
unwatched as the second, shows in the same way what the method finds where there is nothing to find.

    python bench/loop.py [--quick]
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
from torch import nn

import epochwatch

PAIRS = 256
TARGET = 0.001


def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    images, labels = load_digits(return_X_y=True)
    x, y = torch.tensor(images, dtype=torch.float32) / 16, torch.tensor(labels)
    return list(zip(x.split(96), y.split(96), strict=True))[:-1]


def training(
    data: Iterator[tuple[torch.Tensor, torch.Tensor]], told: Callable[..., None] | None
) -> Callable[[], float]:
    """Gives a function that makes one step and gives its seconds of CPU."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

    def step() -> float:
        began = thread_time()
        x, y = next(data)
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        if told is not None:
            told(loss=loss, lr=0.01, grad_norm=norm, samples=len(x))
        return thread_time() - began

    return step


def interval(values: list[float]) -> tuple[float, float]:
    """Gives the 95 % interval of the median, by order statistics."""
    ordered, half = sorted(values), 0.98 * math.sqrt(len(values))
    low = max(0, math.floor(len(values) / 2 - half))
    high = min(len(values) - 1, math.ceil(len(values) / 2 + half))
    return ordered[low], ordered[high]


def main() -> int:
    blocks = 10 if "--quick" in sys.argv[1:] else 50
    torch.set_num_threads(1)
    data, order = batches(), random.Random(0)
    added: dict[str, list[float]] = {"watched": [], "not watched": []}
    with epochwatch.start("bench", port=0, addr="127.0.0.1", gpu=False) as run:
        steps = {
            "watched": training(iter(run.batches(cycle(data))), run.step),
            "not watched": training(cycle(data), None),
            "base": training(cycle(data), None),
        }
        base_seconds: list[float] = []
        for block in range(blocks + 1):
            seconds = dict.fromkeys(steps, 0.0)
            for _ in range(PAIRS):
                for name in order.sample(sorted(steps), len(steps)):
                    seconds[name] += steps[name]()
            if block:  # the first one warms up
                base_seconds.append(seconds["base"] / PAIRS)
                for name, overheads in added.items():
                    overheads.append(seconds[name] / seconds["base"] - 1)
    print(f"loop  a step takes {median(base_seconds) * 1e3:.3f} ms of CPU")
    for name, overheads in added.items():
        low, high = interval(overheads)
        print(f"loop  {name:<12} {median(overheads):+.3%} of it (95 %: {low:+.3%} to {high:+.3%})")
    low, _ = interval(added["watched"])
    within = low <= TARGET
    print(f"loop  {'within' if within else 'ABOVE'} {TARGET:.1%}")
    return int(not within)


if __name__ == "__main__":
    sys.exit(main())
