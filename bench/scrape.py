"""What a scrape costs the training process, against prometheus_client with the same families and series.

Both endpoints are up in one process and read in turns by another, which asks as Prometheus does. The cost is the
process's CPU time per scrape. The gap is the longest time for which a busy loop on the main thread stands still in a
window of 0.1 s or more with one scrape in it. Windows without a scrape, in turn with the others, show what other
processes of the machine do to such a loop; what a scrape adds is the median of the differences.

    python bench/scrape.py [--quick]
"""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from statistics import median
from threading import Event, Thread
from time import perf_counter, process_time, sleep

import prometheus_client
from prometheus_client.parser import text_string_to_metric_families

import epochwatch
from epochwatch.catalogue import STEP_BUCKETS_SECONDS

SCRAPES = 20
WINDOW_SECONDS = 0.1
GAP_TARGET_SECONDS = 0.005
# Reads each line as an address, reads that once for each count, and says when it is done.
READER = """
import sys, urllib.request
accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
for line in sys.stdin:
    address, count = line.split()
    for _ in range(int(count)):
        request = urllib.request.Request(address, headers={"Accept": accept, "Accept-Encoding": "gzip"})
        urllib.request.urlopen(request).read()
    print("done", flush=True)
"""


def same_series(text: str) -> prometheus_client.CollectorRegistry:
    """Takes a /metrics page and gives a registry with the same families and series, made by hand."""
    registry = prometheus_client.CollectorRegistry()
    for family in text_string_to_metric_families(text):
        names = [name for name in family.samples[0].labels if name != "le"]
        if family.type == "histogram":
            histogram = prometheus_client.Histogram(
                family.name, family.documentation, names, registry=registry, buckets=STEP_BUCKETS_SECONDS
            )
            histogram.labels(*[family.samples[0].labels[name] for name in names]).observe(0.1)
            continue
        kind = prometheus_client.Counter if family.type == "counter" else prometheus_client.Gauge
        metric = kind(family.name, family.documentation, names, registry=registry)
        for sample in family.samples:
            child = metric.labels(*[sample.labels[name] for name in names])
            child.inc(max(0.0, sample.value)) if family.type == "counter" else child.set(sample.value)
    return registry


def series(text: str) -> int:
    return sum(bool(line) and not line.startswith("#") for line in text.splitlines())


class Reader:
    """The process that scrapes."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", READER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def tell(self, address: str, count: int) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{address} {count}\n")
        self.process.stdin.flush()

    def wait(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "done\n"

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


def cpu_milliseconds(reader: Reader, address: str) -> float:
    """Gives this process's CPU per scrape; its main thread waits."""
    began = process_time()
    reader.tell(address, SCRAPES)
    reader.wait()
    return (process_time() - began) / SCRAPES * 1e3


def longest_gap_seconds(reader: Reader, address: str | None) -> float:
    """Gives the longest wait of a busy loop in one window, in which `address` is read once from begin to end."""
    read = Event()

    def scrape() -> None:
        sleep(WINDOW_SECONDS / 4)
        if address is not None:
            reader.tell(address, 1)
            reader.wait()
        read.set()

    scraping = Thread(target=scrape)
    scraping.start()
    longest, now = 0.0, perf_counter()
    ends = now + WINDOW_SECONDS
    while now < ends or not read.is_set():
        before, now = now, perf_counter()
        longest = max(longest, now - before)
    scraping.join()
    return longest


def main() -> int:
    rounds = 10 if "--quick" in sys.argv[1:] else 80
    prometheus_client.disable_created_metrics()  # they would double its counters
    with epochwatch.start("bench", port=0, addr="127.0.0.1", gpu=False, epochs=30) as run:
        for epoch in range(3):
            for step in range(300):
                run.step(loss=1.0 / (step + 1), lr=0.1, grad_norm=1.0, samples=64)
            run.log("validation", loss=1.0 / (epoch + 1), accuracy=0.9, f1=0.8)
            run.epoch_end()
        ours = f"{run.url}/metrics"
        page = urllib.request.urlopen(ours).read().decode()
        registry = same_series(page)
        server, thread = prometheus_client.start_http_server(0, "127.0.0.1", registry)
        theirs = f"http://127.0.0.1:{server.server_port}/metrics"
        other = urllib.request.urlopen(theirs).read().decode()
        print(f"scrape  series: epochwatch {series(page)}, prometheus_client {series(other)}")
        reader = Reader()
        cpu: dict[str, list[float]] = {ours: [], theirs: []}
        gaps: dict[str | None, list[float]] = {ours: [], theirs: [], None: []}
        try:
            for address in cpu:
                cpu_milliseconds(reader, address)
            for _ in range(rounds):
                for address, costs in cpu.items():
                    costs.append(cpu_milliseconds(reader, address))
            for _ in range(rounds):
                for maybe, longest in gaps.items():
                    longest.append(longest_gap_seconds(reader, maybe))
                    sleep(0.01)
        finally:
            reader.close()
            server.shutdown()
            server.server_close()
            thread.join()
    ratio = median(mine / other for mine, other in zip(cpu[ours], cpu[theirs], strict=True))
    added = median(mine - idle for mine, idle in zip(gaps[ours], gaps[None], strict=True))
    cheap, short = ratio <= 1, added <= GAP_TARGET_SECONDS
    print(
        f"scrape  CPU: epochwatch {median(cpu[ours]):.2f} ms, prometheus_client {median(cpu[theirs]):.2f} ms, "
        f"ratio {ratio:.2f}, {'within' if cheap else 'ABOVE'} 1"
    )
    for name, address in {"epochwatch": ours, "prometheus_client": theirs, "no scrape": None}.items():
        told = sorted(gaps[address])
        print(
            f"scrape  longest gap of a busy loop: {name:<17} {median(told) * 1e3:.2f} ms "
            f"(nine in ten below {told[int(0.9 * len(told))] * 1e3:.2f})"
        )
    print(
        f"scrape  a scrape of epochwatch adds {added * 1e3:.2f} ms to it, "
        f"{'within' if short else 'ABOVE'} {GAP_TARGET_SECONDS * 1e3:.0f} ms"
    )
    return (not cheap) + (not short)


if __name__ == "__main__":
    sys.exit(main())
