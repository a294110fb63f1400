"""What the scheduled jobs of the stack tests run: ends as its argument says, without a word of its own but `speaks`."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time

import epochwatch


def speaks() -> None:
    with epochwatch.start("digits-mlp", epochs=3, port=0, addr="127.0.0.1") as run:
        run.step(loss=1.0)
        raise RuntimeError("the data set has a hole")


def main(ending: str) -> None:
    if ending == "raises":
        raise RuntimeError("the data set has a hole")
    if ending == "runs-out":
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has 1.00 GiB free")
    if ending == "is-killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if ending == "segfaults":
        ctypes.string_at(0)
    if ending == "hangs":
        time.sleep(600)
    if ending == "speaks":
        speaks()


main(sys.argv[1])
