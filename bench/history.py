"""What keeping a history costs: an epoch on the training thread, and the end of a run, with a history and without.

Two runs get the same epochs in turns, 100 steps and one evaluation each. An epoch's CPU time is the training thread's.
The end is wall-clock time from the loop's last line to after the `with` block; nobody scrapes, so that nothing else is
waited for. It includes the report's own process, which a run waits for until 5 seconds after its end at most.

    python bench/history.py [--quick]
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from time import thread_time

import epochwatch
from epochwatch.report.store import History

STEPS = 100
TARGET_RATIO = 1.25
TARGET_END_SECONDS = 5.5


def epoch(run: epochwatch.Run, number: int) -> float:
    """Makes an epoch of nothing but telling, and gives its seconds of CPU."""
    began = thread_time()
    for step in range(STEPS):
        run.step(loss=1.0 / (number + step + 1), lr=0.1, grad_norm=1.0, samples=32)
    run.log("validation", loss=1.0 / (number + 1), accuracy=number / (number + 1))
    run.epoch_end()
    return thread_time() - began


def per_epoch(directory: Path, epochs: int) -> tuple[float, float]:
    """Gives the median seconds of an epoch without and with a history."""
    seconds: dict[bool, list[float]] = {False: [], True: []}
    common = {"port": 0, "addr": "127.0.0.1", "gpu": False}
    with (
        epochwatch.start("without", **common) as without,
        epochwatch.start("with", history=directory, **common) as with_history,
    ):
        for number in range(epochs):
            for kept, run in (
                ((False, without), (True, with_history))
                if number % 2
                else ((True, with_history), (False, without))
            ):
                seconds[kept].append(epoch(run, number))
    return median(seconds[False]), median(seconds[True])


def end(history: Path | None) -> float:
    """Gives the seconds that the end of a run takes."""
    with epochwatch.start("end", port=0, addr="127.0.0.1", gpu=False, history=history) as run:
        for number in range(30):
            epoch(run, number)
        began = time.perf_counter()
    return time.perf_counter() - began


def main() -> int:
    rounds, epochs = (2, 300) if "--quick" in sys.argv[1:] else (5, 2000)
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch) / "runs"
        without, kept = per_epoch(directory, epochs)
        ends = [(end(None), end(directory)) for _ in range(rounds)]
        size_kib = (directory / "history.db").stat().st_size / 1024
        began = time.perf_counter()
        History(directory).heads()
        heads_seconds = time.perf_counter() - began
    plain, drawn = (median(times) for times in zip(*ends, strict=True))
    print(
        f"history  an epoch of {STEPS} steps: {without * 1e6:.0f} µs of CPU without, {kept * 1e6:.0f} µs with "
        f"a history, {(kept - without) * 1e6:+.1f} µs, ratio {kept / without:.3f}"
    )
    print(f"history  the end of a run: {plain:.3f} s without, {drawn:.3f} s with a history and its report")
    print(
        f"history  {size_kib:.0f} KiB for a run of {epochs} epochs and {rounds} of 30; "
        f"listed in {heads_seconds * 1e3:.1f} ms"
    )
    reached = kept / without <= TARGET_RATIO and max(drawn for _, drawn in ends) <= TARGET_END_SECONDS
    print(f"history  {'within' if reached else 'ABOVE'} ratio {TARGET_RATIO} and {TARGET_END_SECONDS} s")
    return int(not reached)


if __name__ == "__main__":
    sys.exit(main())
