"""A training for the stack tests that ends as its argument says: raise, finish, nan, or be killed from outside."""

from __future__ import annotations

import sys
import time

import epochwatch


def main(ending: str) -> None:
    with epochwatch.start(f"will-{ending}", epochs=1000, port=0, addr="127.0.0.1") as run:
        for epoch in run.epochs(1000):
            run.step(loss=float("nan") if ending == "nan" else 1 / (epoch + 1), samples=8)
            run.log("validation", loss=1 / (epoch + 1), accuracy=0.5)
            time.sleep(0.2)
            # Long enough to be discovered and scraped a few times.
            if epoch == 60 and ending == "raise":
                raise RuntimeError("the data set has a hole")
            if epoch == 60 and ending == "finish":
                break


main(sys.argv[1])
