"""A machine with NVIDIA GPUs that is not there: the C stand-in of NVML, and trainers that load it."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

HERE = Path(__file__).parent
GIB = 1 << 30
UUIDS = (
    "GPU-11111111-aaaa-4000-8000-000000000000",
    "GPU-22222222-bbbb-4000-8000-000000000001",
    "GPU-22222222-cccc-4000-8000-000000000002",
)
HEALTHY = {
    "name": "NVIDIA H100 80GB HBM3",
    "utilization": "93",
    "memory_total": str(80 * GIB),
    "memory_used": str(60 * GIB),
    "memory_reserved": str(1 * GIB),
    "processes": "0",
    "temperature": "61",
    "slowdown": "92",
    "sm_clock": "1755",
    "power": "612345",
    "power_limit": "700000",
    "energy": "123456789",
    "events": "0x18",
    "mig": "0",
    **{f"violation.{policy}": "0" for policy in (0, 1, 2, 3, 4, 5)},
    "ecc.0.0": "0",
    "ecc.1.0": "0",
}
EVERY_INSTANCE = 0xFFFFFFFF


class Machine:
    """What the stand-in plays: `set` changes it while trainers run."""

    def __init__(self, folder: Path, gpus: int = 1) -> None:
        self.path = folder / "machine"
        self.log = folder / "calls"
        self.log.touch()
        self._lines: dict[str, str] = {}
        self._xids = 0
        self.set("driver", "580.82.07")
        self.set("count", str(gpus))
        for index in range(gpus):
            self.add(str(index), uuid=UUIDS[index], pci=f"00000000:{index + 1:02X}:00.0", **HEALTHY)

    def add(self, device: str, **readings: str) -> None:
        self._lines.update({f"{device}.{what}": value for what, value in readings.items()})
        self._write()

    def set(self, key: str, value: object | None) -> None:
        """Gives `key` another value; None takes its line away."""
        self._lines.pop(key, None)
        if value is not None:
            self._lines[key] = str(value)
        self._write()

    def get(self, key: str) -> str:
        return self._lines[key]

    def xid(self, gpu: int, xid: int, gpu_instance: int = EVERY_INSTANCE) -> None:
        self._xids += 1
        self.set(f"xid.{self._xids}", f"{gpu} {xid} {gpu_instance}")

    def partition(self) -> None:
        """Splits GPU 0 into two MIG devices, in the slots 0 and 2."""
        self.set("0.mig", 1)
        self.set("0.utilization", "!3")
        for slot, gpu_instance, uuid in ((0, 7, "MIG-aaaaaaaa-0000"), (2, 9, "MIG-bbbbbbbb-0000")):
            self.add(
                f"0:{slot}",
                uuid=uuid,
                name=f"{HEALTHY['name']} MIG 1g.10gb",
                gi=str(gpu_instance),
                ci="0",
                memory_total=str(10 * GIB),
                memory_used=str(4 * GIB),
                memory_reserved="0",
                processes="0",
                # Drivers say this in two ways.
                power="!2",
            )

    def calls(self) -> list[tuple[int, int, str]]:
        """Gives every call so far: process, thread, function."""
        lines = (line.split() for line in self.log.read_text().splitlines())
        return [(int(pid), int(thread), function) for pid, thread, function in lines]

    def count(self, function: str) -> int:
        return sum(called == function for _, _, called in self.calls())

    def _write(self) -> None:
        new = self.path.with_suffix(".new")
        new.write_text("".join(f"{key} {value}\n" for key, value in self._lines.items()))
        new.replace(self.path)


class Scrape(dict[str, float]):
    """The samples of one scrape: `name{label="value"}` without `run` and the training_ prefix, to value."""

    def __init__(self, text: str, seconds: float) -> None:
        self.seconds = seconds
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = ",".join(f"{k}={v}" for k, v in sample.labels.items() if k != "run")
                self[f"{sample.name.removeprefix('training_')}{{{labels}}}"] = sample.value

    def gpu(self) -> dict[str, float]:
        return {series: value for series, value in self.items() if series.startswith("gpu_")}

    def readings(self) -> dict[str, float]:
        """Gives what the device itself told: no identity, no Xid counts."""
        return {s: v for s, v in self.gpu().items() if not s.startswith(("gpu_info", "gpu_xid"))}

    @property
    def up(self) -> float | None:
        return self.get("exporter_collector_up{collector=nvml}")


class Trainer:
    """A process with a GPU source; every question waits for its answer."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.hello = self.ask("hello")

    def ask(self, command: str) -> dict:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, f"the trainer died at {command!r}"
        return json.loads(answer)

    def scrape(self) -> Scrape:
        return Scrape(**self.ask("scrape"))

    def scrape_until(self, wanted: Callable[[Scrape], object], seconds: float = 10.0) -> Scrape:
        deadline = time.monotonic() + seconds
        while not wanted(scrape := self.scrape()):
            assert time.monotonic() < deadline, f"never came; last: {dict(scrape)}"
            time.sleep(0.01)
        return scrape

    def scrape_read(self) -> Scrape:
        """Scrapes until readings made after this call are there."""
        before = time.time()
        stamp = "exporter_last_collect_timestamp_seconds{collector=nvml}"
        return self.scrape_until(lambda scrape: scrape.get(stamp, 0) > before)

    def end(self) -> tuple[int, float]:
        """Ends the standard input, and gives the exit code and the seconds that ending took."""
        assert self.process.stdin is not None
        started = time.monotonic()
        self.process.stdin.close()
        self.process.stdin = None
        return self.process.wait(10), time.monotonic() - started


def build(folder: Path, *options: str) -> Path:
    """Compiles the stand-in into `folder` and gives the folder."""
    # Set-up puts one beside Python where the machine has none.
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("cc", path=sys.exec_prefix + "/bin")
    if compiler is None:
        pytest.fail("the GPU tests compile a stand-in of NVML: no C compiler here; run: make setup-dev")
    strict = ("-Wall", "-Wextra", "-Werror")
    library = ("-shared", "-fPIC", "-O1", "-pthread", "-Wl,-soname,libnvidia-ml.so.1")
    target = folder / "libnvidia-ml.so.1"
    subprocess.run(
        [compiler, *strict, *library, *options, "-o", target, HERE / "nvml_stand_in.c"], check=True
    )
    return folder


@pytest.fixture(scope="session")
def nvml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture(scope="session")
def old_nvml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("old-nvml"), "-DOLD_DRIVER")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture
def big_machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path, gpus=3)


@pytest.fixture
def trainer(nvml: Path) -> Iterator[Callable[..., Trainer]]:
    """Starts trainers on a machine; the test fails if one of them wrote to standard error."""
    with ExitStack() as stack:

        def start(
            machine: Machine | None,
            library: Path | None = nvml,
            place: dict[str, int] | None = None,
            pace: dict[str, float] | None = None,
            **environ: str,
        ) -> Trainer:
            env = {k: v for k, v in os.environ.items() if not k.startswith("CUDA_")} | environ
            if machine is not None:
                env |= {"NVML_STAND_IN": str(machine.path), "NVML_STAND_IN_LOG": str(machine.log)}
            if library is not None:
                env["LD_LIBRARY_PATH"] = str(library)
            settings = {"place": place or {}, "pace": {"period_seconds": 0.01} | (pace or {})}
            process = subprocess.Popen(
                [sys.executable, "-W", "error", HERE / "trainer.py", json.dumps(settings)],
                env=env,
                text=True,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            stack.callback(end, process)
            return Trainer(process)

        yield start


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    _, errors = process.communicate()
    assert errors == ""
