"""What epochwatch adds to a process that has torch: time to import and start, and resident memory.

Each reading is a fresh process. Time is CPU time of the whole process; memory is what the kernel counts as
resident, after one scrape. The GPU is left out: where NVML is, its library comes on top.

    python bench/footprint.py [--quick]
"""

from __future__ import annotations

import subprocess
import sys
from statistics import median

CHILD = """
import sys, time
import torch

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 1e6

before = resident()
began = time.process_time()
import epochwatch
imported = time.process_time()
run = epochwatch.start("bench", port=0, addr="127.0.0.1", gpu=False)
started = time.process_time()
after_start = resident()
run.step(loss=1.0)
import http.client
connection = http.client.HTTPConnection("127.0.0.1", int(run.url.rsplit(":", 1)[1]))
connection.request("GET", "/metrics")
connection.getresponse().read()
connection.close()
run._session.end("finished", hold=False)
print((imported - began) * 1e3, (started - imported) * 1e3, after_start - before, resident() - before)
"""
MILLISECONDS, MEGABYTES = 120, 15


def main() -> int:
    rounds = 3 if "--quick" in sys.argv[1:] else 15
    readings = []
    for _ in range(rounds):
        told = subprocess.run(
            [sys.executable, "-c", CHILD], check=True, capture_output=True, text=True
        ).stdout
        readings.append(tuple(map(float, told.split())))
    importing, starting, started, scraped = map(median, zip(*readings, strict=True))
    best = min(first + second for first, second, _, _ in readings)
    quick, small = importing + starting <= MILLISECONDS, scraped <= MEGABYTES
    print(
        f"footprint  import {importing:.0f} ms and start {starting:.0f} ms of CPU (best of {rounds} "
        f"{best:.0f} ms together), {'within' if quick else 'ABOVE'} {MILLISECONDS} ms together"
    )
    print(
        f"footprint  memory {started:.1f} MB once started, {scraped:.1f} MB once scraped, "
        f"{'within' if small else 'ABOVE'} {MEGABYTES} MB"
    )
    return (not quick) + (not small)


if __name__ == "__main__":
    sys.exit(main())
