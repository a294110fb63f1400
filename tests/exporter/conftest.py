"""Runs, scrapes and child processes for the tests of the training side."""

import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

import epochwatch

Labels = frozenset[tuple[str, str]]


class Scrape:
    """One reading of a /metrics page."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.samples = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def value(self, name: str, /, **labels: str) -> float | None:
        """Gives the value of the one series of that name with these labels among its own; None if absent."""
        wanted = frozenset(labels.items())
        found = [value for (known, own), value in self.samples.items() if known == name and wanted <= own]
        assert len(found) <= 1, f"{name} with {labels} is no single series"
        return found[0] if found else None

    def names(self) -> set[str]:
        return {name for name, _ in self.samples}

    def state(self) -> list[str]:
        """Gives the states that are 1."""
        return [
            dict(labels)["state"]
            for (name, labels), value in self.samples.items()
            if name == "training_run_state" and value
        ]


def local(url: str) -> str:
    """Takes a run's url and gives the same endpoint on loopback."""
    return f"http://127.0.0.1:{url.rsplit(':', 1)[1]}"


def scrape(run: epochwatch.Run | str) -> Scrape:
    """Reads /metrics of a run or of a base address."""
    base = local(run if isinstance(run, str) else run.url)
    with urllib.request.urlopen(f"{base}/metrics", timeout=10) as answer:
        return Scrape(answer.read().decode())


def wait_until(condition: Callable[[], object], seconds: float = 20.0) -> object:
    """Waits until `condition` gives something true, and gives that; exceptions of a connection mean not yet."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            found = condition()
        except OSError:
            found = None
        if found:
            return found
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def open_descriptors() -> int:
    """Gives how many files and sockets this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture(autouse=True)
def _clean_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No setting comes from outside, and no thread is left behind."""
    for name in [name for name in os.environ if name.startswith(("EPOCHWATCH_", "SLURM_", "OMPI_", "PMI_"))]:
        monkeypatch.delenv(name)
    yield
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("epochwatch")]


@pytest.fixture
def start() -> Iterator[Callable[..., epochwatch.Run]]:
    """Starts runs on free loopback ports and ends them after the test; no socket is left behind."""
    runs: list[epochwatch.Run] = []
    before = open_descriptors()

    def starter(name: str = "digits", **settings: object) -> epochwatch.Run:
        settings = {"port": 0, "addr": "127.0.0.1", "gpu": False, **settings}
        runs.append(epochwatch.start(name, **settings))
        return runs[-1]

    yield starter
    for run in runs:
        run._session.end("interrupted", hold=False)  # nobody will scrape again
    assert open_descriptors() <= before


@pytest.fixture
def trainer(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a script as a process of its own, and kills what is left of it after the test."""
    started: list[subprocess.Popen[str]] = []

    def starter(script: str, stdin: int | None = None, **environment: str) -> subprocess.Popen[str]:
        path = tmp_path / f"train{len(started)}.py"
        path.write_text(script)
        process = subprocess.Popen(
            [sys.executable, "-W", "error", str(path)],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        started.append(process)
        return process

    yield starter
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def free_port() -> int:
    """Gives a loopback port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def last_scrape() -> Iterator[Callable[[int], Callable[[], Scrape]]]:
    """Reads a port again and again from now on; what it gives waits for the end and gives the last reading."""
    stop = threading.Event()
    threads: list[threading.Thread] = []

    def follow(port: int) -> Callable[[], Scrape]:
        read: list[Scrape] = []

        def loop() -> None:
            while not stop.wait(0.02):
                try:
                    read.append(scrape(f"http://127.0.0.1:{port}"))
                except OSError:
                    if read:
                        return

        threads.append(threading.Thread(target=loop, name="scraper"))
        threads[-1].start()

        def last() -> Scrape:
            threads[0].join(20)
            assert read, "nothing could be read"
            return read[-1]

        return last

    yield follow
    stop.set()
    for thread in threads:
        thread.join(20)
