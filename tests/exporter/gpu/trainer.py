"""Run by the tests as a process of its own: a trainer whose GPU source is driven over standard input.

Takes one JSON object as its argument (`pace`, `place`), then one command a line, and answers each with one
line of JSON. The NVML it loads is whatever LD_LIBRARY_PATH says.
"""

import json
import logging
import os
import sys
import threading
import time

from prometheus_client import CollectorRegistry, generate_latest

from epochwatch.collector import Collector
from epochwatch.gpu import Pace, gpu_source
from epochwatch.ranks import Place
from epochwatch.troubles import Troubles

SETTINGS = json.loads(sys.argv[1])
LOG: list[str] = []


class ListHandler(logging.Handler):
    def emit(self, record):
        LOG.append(record.getMessage())


def scrape(registry):
    started = time.perf_counter()
    text = generate_latest(registry).decode()
    return {"text": text, "seconds": time.perf_counter() - started}


def scrape_in_child(registry, seconds):
    """Forks; the child scrapes until it has a temperature, for so long at most, and tells what it saw."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        deadline = time.monotonic() + seconds
        answer = scrape(registry)
        while "gpu_temperature_celsius{" not in answer["text"] and time.monotonic() < deadline:
            time.sleep(0.02)
            answer = scrape(registry)
        os.write(writer, json.dumps(answer).encode())
        os._exit(0)
    os.waitpid(child, 0)
    return json.loads(os.read(reader, 1_000_000))


def close_in_child(source):
    child = os.fork()
    if child == 0:
        source.close()
        os._exit(0)
    return {"status": os.waitpid(child, 0)[1]}


def main():
    logging.getLogger("epochwatch").addHandler(ListHandler())
    troubles = Troubles()
    source = gpu_source(
        Place(**SETTINGS["place"]), on_error=troubles.report_exception, pace=Pace(**SETTINGS["pace"])
    )
    imported = "pynvml" in sys.modules
    registry = CollectorRegistry()
    started = time.perf_counter()
    if source is not None:
        source.start()
    start_seconds = time.perf_counter() - started
    sources = [source] if source is not None else []
    registry.register(Collector({"run": "r"}, sources, on_error=troubles.report_exception))
    commands = {
        "hello": lambda: {
            "source": source is not None,
            "imported_before_start": imported,
            "start_seconds": start_seconds,
            "pid": os.getpid(),
            "thread": threading.get_native_id(),
        },
        "scrape": lambda: scrape(registry),
        "scrape-in-child": lambda: scrape_in_child(registry, 5),
        "scrape-in-child-briefly": lambda: scrape_in_child(registry, 0.3),
        "troubles": lambda: {"counts": dict(troubles.counts), "log": LOG},
        "start": lambda: source.start() or {},
        "close": lambda: close(source),
        "fork-and-close": lambda: close_in_child(source),
        "environ": lambda: os.environ.update(CUDA_VISIBLE_DEVICES="1") or {},
    }
    for line in sys.stdin:
        sys.stdout.write(json.dumps(commands[line.strip()]()) + "\n")
        sys.stdout.flush()


def close(source):
    started = time.perf_counter()
    source.close()
    return {
        "seconds": time.perf_counter() - started,
        "threads": [thread.name for thread in threading.enumerate() if thread.name.startswith("epochwatch")],
    }


main()
