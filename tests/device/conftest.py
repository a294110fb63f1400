"""Tests of a real NVIDIA GPU; without one they are skipped, and the stand-ins' tests must do."""

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import epochwatch

torch = pytest.importorskip("torch")
CUDA = torch.cuda.is_available()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips these tests where torch sees no device."""
    for item in items:
        if not CUDA and Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.skip(reason="no CUDA device on this machine"))


@pytest.fixture
def start() -> Iterator[Callable[..., epochwatch.Run]]:
    """Starts runs on free loopback ports and ends them after the test."""
    runs: list[epochwatch.Run] = []

    def starter(**settings: object) -> epochwatch.Run:
        runs.append(epochwatch.start("device", port=0, addr="127.0.0.1", **{"gpu": False, **settings}))
        return runs[-1]

    yield starter
    for run in runs:
        run._session.end("interrupted", hold=False)  # nobody will scrape again


@pytest.fixture
def runtime_calls(tmp_path: Path) -> Callable[[Callable[[], object]], list[str]]:
    """Gives the CUDA API calls that some work makes on its thread, as the profiler (CUPTI) records them."""

    def record(work: Callable[[], object]) -> list[str]:
        from torch.profiler import ProfilerActivity, profile, record_function

        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as recorded:
            torch.cuda.synchronize()
            with record_function("under test"):
                work()
        trace = tmp_path / "trace.json"
        recorded.export_chrome_trace(str(trace))
        return calls_within(json.loads(trace.read_text())["traceEvents"])

    return record


def calls_within(events: list[dict[str, Any]]) -> list[str]:
    """Takes a trace's events and gives the names of the CUDA calls made during the work under test."""
    mark = next(e for e in events if e.get("name") == "under test" and e.get("cat") == "user_annotation")
    began, ended = mark["ts"], mark["ts"] + mark["dur"]
    return [
        event["name"]
        for event in events
        if event.get("cat") in ("cuda_runtime", "cuda_driver") and began <= event["ts"] <= ended
    ]


@pytest.fixture
def nvidia_smi() -> Callable[[str], str]:
    """Gives what nvidia-smi says of the first device; skips where there is none."""
    if shutil.which("nvidia-smi") is None:
        pytest.skip("nvidia-smi is not on the PATH")

    def ask(query: str) -> str:
        command = ["nvidia-smi", "-i", "0", f"--query-gpu={query}", "--format=csv,noheader,nounits"]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    return ask


@pytest.fixture
def busy_device() -> Iterator[Callable[[], None]]:
    """Gives the device work that only ends well after a test has looked at it."""

    def occupy() -> None:
        torch.cuda._sleep(4_000_000_000)  # clock cycles: some two seconds

    yield occupy
    torch.cuda.synchronize()


@pytest.fixture
def wait_for() -> Callable[..., Any]:
    """Gives a wait for something to become true."""
    return waited_for


def waited_for(condition: Callable[[], Any], seconds: float = 20.0) -> Any:
    """Waits until `condition` gives something true, and gives that."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
    return found
