"""A cluster of trainings that is not there: thousands of ranks, served from the page of one real run.

The page comes from a training of epochwatch itself, with the GPU readings of a stand-in of the driver where a C
compiler is at hand. Each rank has an address of its own on one loopback port; counters grow and times move on.

    page() -> Fleet(page, ranks) -> write_targets() + serve()
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
STAND_IN = ROOT / "tests/exporter/gpu/nvml_stand_in.c"
RUN, RANKS_PER_RUN = "fleet", 250
TRAINING = """
import os, sys, time, urllib.request, epochwatch
with epochwatch.start(sys.argv[1], epochs=90, port=0, addr="127.0.0.1") as run:
    for epoch in range(3):
        for batch in run.batches(range(50)):
            for part in ("forward", "backward", "optimizer"):
                with run.part(part):
                    pass
            run.step(loss=1 / (batch + 1), lr=0.1, grad_norm=1.0, samples=64, tokens=65536)
        with run.phase("evaluating"):
            run.log("validation", loss=1 / (epoch + 1), accuracy=0.9, f1=0.8)
        run.epoch_end()
        with run.phase("checkpointing"):
            time.sleep(0.01)
    for _ in range(30):
        page = urllib.request.urlopen(run.url + "/metrics").read().decode()
        if "training_gpu_temperature_celsius{" in page:
            break
        time.sleep(0.1)
    print(page, flush=True)
    os._exit(0)  # no farewell: it would be held for the next scrape
"""
DRIVER = {
    "driver": "580.82.07",
    "count": "1",
    "0.uuid": "GPU-11111111-aaaa-4000-8000-000000000000",
    "0.pci": "00000000:01:00.0",
    "0.name": "NVIDIA H100 80GB HBM3",
    "0.utilization": "93",
    "0.memory_total": str(80 << 30),
    "0.memory_used": str(60 << 30),
    "0.memory_reserved": str(1 << 30),
    "0.processes": "0",
    "0.temperature": "61",
    "0.slowdown": "92",
    "0.sm_clock": "1755",
    "0.power": "612345",
    "0.power_limit": "700000",
    "0.energy": "123456789",
    "0.events": "0x18",
    "0.mig": "0",
    **{f"0.violation.{policy}": "0" for policy in range(6)},
    "0.ecc.0.0": "0",
    "0.ecc.1.0": "0",
}
# What grows while a healthy run goes on; the rest of the counters tell of trouble and stay where they are.
GROWING = re.compile(
    r"training_(steps|samples|tokens|step_part_seconds|phase_seconds|gpu_energy_joules|exporter_update_seconds)_total"
    r"|training_step_duration_seconds_\w+|training_global_step"
)
BREATHING = re.compile(
    r"training_(gpu_(utilization_ratio|temperature_celsius|power_watts|sm_clock_hertz)|loss|loss_ewma|gradient_norm)"
)


def page() -> str:
    """Gives what `/metrics` of a real training says, GPU included where a C compiler is there."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("cc", path=sys.exec_prefix + "/bin")
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "8"}
        if compiler:
            library = Path(folder, "libnvidia-ml.so.1")
            subprocess.run(
                [compiler, "-shared", "-fPIC", "-O1", "-pthread", "-o", library, STAND_IN], check=True
            )
            machine = Path(folder, "machine")
            machine.write_text("".join(f"{key} {value}\n" for key, value in DRIVER.items()))
            environment |= {"LD_LIBRARY_PATH": folder, "NVML_STAND_IN": str(machine)}
        command = [sys.executable, "-c", TRAINING, RUN]
        return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout


class Fleet:
    """So many ranks in runs of 250, each with the series of one page.

    Args:
        page: What one rank says.
        ranks: How many there are.
        ranks_per_run: How many train together.
    """

    def __init__(self, page: str, ranks: int, ranks_per_run: int = RANKS_PER_RUN) -> None:
        self.ranks = ranks
        self.ranks_per_run = ranks_per_run
        self.lines = [line for line in page.splitlines() if line]
        self.series = sum(not line.startswith("#") for line in self.lines)
        self.began = time.time()
        self.scrapes = 0
        self._second, self._body = 0, b""

    def places(self) -> Iterator[tuple[str, int]]:
        """Gives run and rank of each."""
        for number in range(self.ranks):
            yield f"run-{number // self.ranks_per_run}", number % self.ranks_per_run

    def write_targets(self, path: Path, address: str) -> None:
        """Writes the file_sd file by which Prometheus finds them."""
        groups = [
            {
                "targets": [address],
                "labels": {"__metrics_path__": f"/{run}/{rank}", "instance": f"{run}-{rank}:9400"},
            }
            for run, rank in self.places()
        ]
        unfinished = path.with_suffix(".tmp")
        unfinished.write_text(json.dumps(groups))
        unfinished.replace(path)

    def body(self, run: str, rank: str, now: float) -> bytes:
        """Gives what one rank says now."""
        if int(now) != self._second:
            self._second = int(now)
            self._body = "\n".join(self._line(line, now) for line in self.lines).encode() + b"\n"
        self.scrapes += 1
        # Labels come sorted, and none that a series has stands between these two.
        return self._body.replace(f'rank="0",run="{RUN}"'.encode(), f'rank="{rank}",run="{run}"'.encode())

    def _line(self, line: str, now: float) -> str:
        if line.startswith("#"):
            return line
        series, value = line.rsplit(" ", 1)
        name = series.partition("{")[0]
        elapsed = now - self.began
        if GROWING.fullmatch(name):
            return f"{series} {float(value) * (1 + elapsed / 60):.6g}"
        if BREATHING.fullmatch(name):
            return f"{series} {float(value) * random.uniform(0.98, 1.0):.6g}"
        if name in ("training_last_progress_timestamp_seconds", "training_last_checkpoint_timestamp_seconds"):
            return f"{series} {now:.3f}"
        return line


class Rank(asyncio.Protocol):
    """One kept-alive connection of Prometheus."""

    def __init__(self, fleet: Fleet, open_now: set[asyncio.Transport]) -> None:
        self._fleet = fleet
        self._open_now = open_now
        self._transport: asyncio.Transport | None = None
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._open_now.add(transport)

    def connection_lost(self, error: Exception | None) -> None:
        assert self._transport is not None
        self._open_now.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        self._received += data
        while b"\r\n\r\n" in self._received:
            request, self._received = self._received.split(b"\r\n\r\n", 1)
            _, run, rank = request.split(b" ", 2)[1].decode().split("/")
            body = self._fleet.body(run, rank, time.time())
            head = f"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {len(body)}\r\n\r\n"
            self._transport.write(head.encode() + body)


@contextmanager
def serve(fleet: Fleet) -> Iterator[str]:
    """Serves all ranks on a free loopback port, from a thread; gives its address."""
    loop = asyncio.new_event_loop()
    open_now: set[asyncio.Transport] = set()
    server = loop.run_until_complete(
        loop.create_server(lambda: Rank(fleet, open_now), "127.0.0.1", 0, backlog=4096)
    )
    host, port = server.sockets[0].getsockname()
    thread = threading.Thread(target=loop.run_forever, name="fleet")
    thread.start()
    try:
        yield f"{host}:{port}"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        server.close()
        for transport in open_now.copy():
            transport.abort()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
