"""Whether a run grows: resident memory and live objects over ten million steps, scraped every 50,000.

python bench/growth.py [--quick]
"""

from __future__ import annotations

import gc
import sys
import urllib.request
from pathlib import Path

import torch

import epochwatch

STEPS, EVERY = 10_000_000, 50_000
MEGABYTES = 1.0


def resident_megabytes() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


def main() -> int:
    rounds = (200_000 if "--quick" in sys.argv[1:] else STEPS) // EVERY
    loss = torch.tensor(2.3)
    with epochwatch.start("bench", port=0, addr="127.0.0.1", gpu=False) as run:

        def turn() -> None:
            for _ in range(EVERY):
                run.step(loss=loss, lr=0.1, grad_norm=1.5, samples=64)
            run.log("validation", loss=0.5, accuracy=0.9)
            run.epoch_end()
            urllib.request.urlopen(f"{run.url}/metrics").read()

        turn()
        gc.collect()
        for _ in range(3):  # buffers fill, and what the collection has torn open is taken again
            turn()
        # Counted first: the list of them is memory too.
        objects = len(gc.get_objects())
        memory = resident_megabytes()
        for _ in range(rounds):
            turn()
        grown, more = resident_megabytes() - memory, len(gc.get_objects()) - objects
    within = grown <= MEGABYTES
    print(
        f"growth  {grown:+.2f} MB and {more:+d} objects over {rounds * EVERY:,} steps, "
        f"{'within' if within else 'ABOVE'} {MEGABYTES:.0f} MB"
    )
    return int(not within)


if __name__ == "__main__":
    sys.exit(main())
