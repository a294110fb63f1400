"""A training for the stack tests that tells its own events and ends as its argument says."""

from __future__ import annotations

import sys
import time

import epochwatch

# Long enough to be discovered and scraped a few times.
EPOCHS = 60


def main(ending: str) -> None:
    details = {"model": "cnn-2x", "dataset": "digits", "batch_size": 32}
    with epochwatch.start(f"tells-{ending}", epochs=EPOCHS, port=0, addr="127.0.0.1", details=details) as run:
        for epoch in run.epochs():
            run.step(loss=1 / (epoch + 1), samples=8)
            # One better value, at the third epoch; every other one is worse than it.
            run.log("validation", loss=1 / (epoch + 1), accuracy=0.9 if epoch == 2 else 0.5)
            with run.phase("checkpointing", path="checkpoints/last.pt"):
                time.sleep(0.2)
        if ending == "raises":
            raise RuntimeError("the data set has a hole")
        if ending == "runs-out":
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has 1.00 GiB free")
        while ending == "waits":
            time.sleep(0.1)


main(sys.argv[1])
