"""NVML and torch's allocator on a real device, held against nvidia-smi and against what a test does to it."""

import subprocess
import sys
import urllib.request
from collections.abc import Callable, Mapping

import pytest
from prometheus_client.parser import text_string_to_metric_families

import epochwatch

torch = pytest.importorskip("torch")

Start = Callable[..., epochwatch.Run]
# Energy and ECC are missing on some consumer cards, throttle times under some hypervisors.
TOLD_EVERYWHERE = {
    "training_gpu_utilization_ratio",
    "training_gpu_memory_used_bytes",
    "training_gpu_memory_total_bytes",
    "training_gpu_temperature_celsius",
    "training_gpu_slowdown_temperature_celsius",
    "training_gpu_power_watts",
    "training_gpu_power_limit_watts",
    "training_gpu_sm_clock_hertz",
}


def samples(run: epochwatch.Run) -> dict[str, list[tuple[Mapping[str, str], float]]]:
    """Scrapes a run and gives its samples by name."""
    page = urllib.request.urlopen(f"{run.url}/metrics", timeout=10).read().decode()
    found: dict[str, list[tuple[Mapping[str, str], float]]] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def first(run: epochwatch.Run, name: str, **labels: str) -> float | None:
    """Gives the value of the first device's series; None if it is not there."""
    for own, value in samples(run).get(name, []):
        if own.get("gpu") == "0" and labels.items() <= own.items():
            return value
    return None


@pytest.fixture
def read(start: Start, wait_for: Callable[..., object]) -> epochwatch.Run:
    """Gives a run whose GPUs have been read."""
    run = start(gpu=True)
    wait_for(lambda: "training_gpu_temperature_celsius" in samples(run))
    return run


def test_the_device_tells_what_every_device_tells(read: epochwatch.Run) -> None:
    """No reading failed, and the source is up."""
    page = samples(read)
    assert TOLD_EVERYWHERE - page.keys() == set()
    assert [value for labels, value in page["training_exporter_collector_up"]] == [1.0] * len(
        page["training_exporter_collector_up"]
    )
    assert "training_exporter_errors_total" not in page


@pytest.mark.parametrize(
    ("name", "query", "factor"),
    [
        ("training_gpu_memory_total_bytes", "memory.total", 1 << 20),
        ("training_gpu_power_limit_watts", "power.limit", 1.0),
        ("training_gpu_temperature_celsius", "temperature.gpu", 1.0),
        ("training_gpu_memory_used_bytes", "memory.used", 1 << 20),
    ],
)
def test_a_reading_is_nvidia_smis(
    name: str, query: str, factor: float, read: epochwatch.Run, nvidia_smi: Callable[[str], str]
) -> None:
    """In our units; what moves may move a little in between."""
    assert first(read, name) == pytest.approx(float(nvidia_smi(query)) * factor, rel=0.1)


def test_the_device_is_named_as_nvidia_smi_names_it(
    read: epochwatch.Run, nvidia_smi: Callable[[str], str]
) -> None:
    """Name, UUID, address and driver stand in gpu_info."""
    (labels,) = [labels for labels, _ in samples(read)["training_gpu_info"] if labels["gpu"] == "0"]
    told = [labels[name] for name in ("name", "uuid", "pci_bus_id", "driver")]
    assert told == nvidia_smi("name,uuid,pci.bus_id,driver_version").split(", ")


def test_work_shows_in_utilization_clock_and_energy(
    read: epochwatch.Run, wait_for: Callable[..., object]
) -> None:
    """A device that multiplies matrices is busy, and uses energy where it can tell so."""
    matrix = torch.randn(4096, 4096, device="cuda", dtype=torch.bfloat16)
    energy = first(read, "training_gpu_energy_joules_total")

    def worked() -> bool:
        for _ in range(5000):  # some seconds, the devices' own sample period being up to one
            matrix @ matrix
        torch.cuda.synchronize()
        return (first(read, "training_gpu_utilization_ratio") or 0) > 0.5

    wait_for(worked)
    if energy is not None:
        wait_for(lambda: worked() and first(read, "training_gpu_energy_joules_total") > energy + 50)


def test_the_allocators_memory_shows_under_the_same_name(read: epochwatch.Run) -> None:
    """64 MB more allocated are 64 MB more told, with nvidia-smi's number of the device."""
    before = first(read, "training_cuda_memory_allocated_bytes") or 0.0
    block = torch.empty(64 << 20, dtype=torch.uint8, device="cuda")
    assert first(read, "training_cuda_memory_allocated_bytes") == before + block.numel()
    assert first(read, "training_cuda_memory_peak_allocated_bytes") >= before + block.numel()


OUT_OF_MEMORY = """
import epochwatch, torch
run = epochwatch.start("oom", port=0, addr="127.0.0.1", gpu=False)
try:
    with run:
        held = torch.empty(32 << 20, dtype=torch.uint8, device="cuda")
        torch.empty(1 << 50, dtype=torch.uint8, device="cuda")
except torch.OutOfMemoryError as error:
    from pathlib import Path
    from epochwatch.failure import describe
    failure = describe(error, Path.cwd())
    print(failure.kind, run._books.progress.exceptions["cuda_oom"], failure.memory)
"""


def test_the_real_out_of_memory_error_is_told_apart() -> None:
    """With what the allocator held when it came."""
    child = subprocess.run(
        [sys.executable, "-W", "error", "-c", OUT_OF_MEMORY], check=True, capture_output=True, text=True
    )
    kind, count, memory = child.stdout.strip().split(" ", 2)
    assert (kind, count) == ("cuda_oom", "1")
    assert "GiB" in memory or "MiB" in memory


FORKED = """
import urllib.request
import epochwatch, torch
from torch.utils.data import DataLoader
with epochwatch.start("forked", port=0, addr="127.0.0.1") as run:
    x = torch.ones(1, device="cuda")
    for batch in run.batches(DataLoader(torch.arange(64.0), batch_size=8, num_workers=2)):
        run.step(loss=(batch.cuda().sum() * x).squeeze(), samples=len(batch))
    run._books.settle()
    page = urllib.request.urlopen(f"{run.url}/metrics").read().decode()
    run._session.end("finished", hold=False)
print([line for line in page.splitlines() if line.startswith(("training_steps_total", "training_loss{"))])
"""


def test_loader_workers_are_forked_beside_a_device_in_use() -> None:
    """CUDA and NVML are open in the trainer; its workers inherit neither trouble nor a port."""
    child = subprocess.run([sys.executable, "-c", FORKED], check=True, capture_output=True, text=True)
    assert "training_steps_total" in child.stdout
    assert " 8.0" in child.stdout
    assert "252.0" in child.stdout  # the mean of the sums of eight numbers up to 63
