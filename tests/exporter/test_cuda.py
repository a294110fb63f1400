"""The CUDA side against a recording stand-in of torch's CUDA API; no device is needed, none is touched.

What a stand-in cannot show, that the real calls do not synchronise, is for a machine with a GPU.
"""

import os
from types import SimpleNamespace
from typing import Any

import pytest

from epochwatch import catalogue as c
from epochwatch.collector import Reading
from epochwatch.cuda import CudaSource
from epochwatch.gpu_visibility import DeviceNames
from epochwatch.landing import FLYING_LIMIT, PinnedCopies

torch = pytest.importorskip("torch")


class Event:
    """An event that passes when the test says so."""

    def __init__(self, device: "Device") -> None:
        self._device = device
        self._recorded_at = 0

    def record(self, stream: str) -> None:
        assert stream == "current stream of cuda:0"
        self._device.work += 1
        self._recorded_at = self._device.work

    def query(self) -> bool:
        self._device.calls.append("query")
        if self._device.broken:
            raise RuntimeError("CUDA error: device-side assert triggered")
        return self._device.done >= self._recorded_at


class Device:
    """Stands in for `torch`: records what it is asked, and works off copies when told."""

    float32, float64 = torch.float32, torch.float64

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.work = 0
        self.done = 0
        self.capturing = False
        self.broken = False
        self.cuda = SimpleNamespace(
            Event=lambda: Event(self),
            current_stream=lambda device: f"current stream of {device}",
            is_current_stream_capturing=lambda: self.capturing,
        )

    def inference_mode(self, mode: bool) -> Any:
        return torch.inference_mode(mode)

    def empty(self, size: int, dtype: torch.dtype, device: str, pin_memory: bool) -> torch.Tensor:
        assert (device, pin_memory) == ("cpu", True)
        return torch.empty(size, dtype=dtype)


@pytest.fixture
def device() -> Device:
    return Device()


@pytest.fixture
def copies(device: Device) -> PinnedCopies:
    return PinnedCopies(device, "cuda:0")


def test_a_value_lands_when_its_event_has_passed(device: Device, copies: PinnedCopies) -> None:
    """Until then it is on its way, and nobody waits for it."""
    landing = copies.copy(torch.tensor(2.5, requires_grad=True) * 1.0)
    assert landing is not None
    copies.poll()
    assert (landing.landed, len(copies)) == (False, 1)
    device.done = 1
    copies.poll()
    assert (landing.landed, landing.value, len(copies)) == (True, 2.5, 0)


def test_values_land_in_order_and_only_the_oldest_is_asked_for(device: Device, copies: PinnedCopies) -> None:
    """A look costs one query while nothing has arrived, however much is under way."""
    landings = [copies.copy(torch.tensor(float(index))) for index in range(100)]
    device.calls.clear()
    copies.poll()
    assert device.calls == ["query"]
    device.done = 60
    copies.poll()
    assert [landing.value for landing in landings if landing and landing.landed] == list(
        map(float, range(60))
    )


@pytest.mark.parametrize(
    ("tensor", "value"),
    [
        (torch.tensor(2.5, dtype=torch.bfloat16), 2.5),
        (torch.tensor([2.5], dtype=torch.float16), 2.5),
        (torch.tensor(1 / 3, dtype=torch.float64), 1 / 3),
        (torch.tensor(2**40), 2.0**40),
        (torch.tensor(float("nan")), float("nan")),
    ],
    ids=["bfloat16", "one element", "float64", "int64", "NaN"],
)
def test_every_type_arrives_exactly(
    tensor: torch.Tensor, value: float, device: Device, copies: PinnedCopies
) -> None:
    """Narrow floats go through float32, the rest through float64."""
    landing = copies.copy(tensor)
    device.done = 1
    copies.poll()
    assert landing is not None
    assert landing.value == pytest.approx(value, rel=0, abs=0, nan_ok=True)


def test_values_of_inference_mode_and_outside_share_the_buffer(device: Device, copies: PinnedCopies) -> None:
    """A first value from within inference mode does not spoil the buffer for training."""
    with torch.inference_mode():
        first = copies.copy(torch.tensor(1.0))
    second = copies.copy(torch.tensor(2.0, requires_grad=True))
    device.done = 2
    copies.poll()
    assert [landing.value for landing in (first, second) if landing] == [1.0, 2.0]


def test_nothing_is_asked_of_the_device_while_a_graph_is_captured(
    device: Device, copies: PinnedCopies
) -> None:
    """A copy would become part of the graph, and a query of an earlier one would spoil it."""
    assert copies.copy(torch.tensor(1.0)) is not None
    device.capturing, device.done = True, 1
    copies.poll()
    assert copies.copy(torch.tensor(2.0)) is None
    assert (device.work, device.calls, len(copies)) == (1, [], 1)


def test_a_device_far_behind_costs_values_not_memory(device: Device, copies: PinnedCopies) -> None:
    """At the limit further values are left out until older ones have landed; the buffer goes round."""
    for _ in range(FLYING_LIMIT):
        assert copies.copy(torch.tensor(1.0)) is not None
    assert copies.copy(torch.tensor(2.0)) is None
    device.done = device.work
    copies.poll()
    landing = copies.copy(torch.tensor(3.0))
    device.done = device.work
    copies.poll()
    assert landing is not None
    assert landing.value == 3.0


def test_a_failed_device_gives_everything_up(device: Device, copies: PinnedCopies) -> None:
    """After a CUDA error nothing is waited for any more; the error is the caller's to count."""
    landing = copies.copy(torch.tensor(1.0))
    device.broken = True
    with pytest.raises(RuntimeError, match="device-side assert"):
        copies.poll()
    assert landing is not None
    assert (landing.landed, landing.value, len(copies)) == (True, None, 0)


def allocator(peak: int) -> dict[str, object]:
    return {
        "allocated_bytes": {"all": {"current": 100, "peak": 300}},
        "reserved_bytes": {"all": {"current": 200, "peak": peak}},
        "num_alloc_retries": 4,
    }


def cuda_torch(initialized: bool, **properties: str) -> Any:
    return SimpleNamespace(
        cuda=SimpleNamespace(
            is_initialized=lambda: initialized,
            device_count=lambda: 2,
            memory_stats_as_nested_dict=lambda ordinal: allocator(peak=ordinal * 400),
            get_device_properties=lambda ordinal: SimpleNamespace(**properties),
        )
    )


NAMES = DeviceNames({"aaaa": "3", "bbbb": "0:1"}, ("5", "6"))


@pytest.mark.parametrize(
    ("visible", "names", "properties", "gpu"),
    [
        ("GPU-aaaa,GPU-bbbb", NAMES, {"uuid": "aaaa"}, "3"),
        ("MIG-cccc,MIG-bbbb", NAMES, {"uuid": "MIG-BBBB"}, "0:1"),
        ("3,7", NAMES, {"uuid": "bbbb"}, "0:1"),
        ("GPU-aaaa,GPU-bbbb", NAMES, {"uuid": "of another machine"}, "6"),
        ("GPU-aaaa,GPU-bbbb", NAMES, {}, "6"),
        (None, DeviceNames(), {"uuid": "aaaa"}, "1"),
        ("3,7", DeviceNames(), {}, "7"),
        ("GPU-aaaa,GPU-bbbb", DeviceNames(), {}, "1"),
        ("", DeviceNames(), {}, "1"),
        ("5", DeviceNames(), {}, "1"),
    ],
)
def test_the_allocator_is_read_of_devices_in_use(
    visible: str | None, names: DeviceNames, properties: dict[str, str], gpu: str
) -> None:
    """Only devices this process took memory from are shown, under the label their NVML readings have."""
    environ = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    torch = cuda_torch(initialized=True, **properties)
    assert list(CudaSource(environ, lambda: names, {"torch": torch}).collect()) == [
        Reading(c.CUDA_MEMORY_ALLOCATED_BYTES, (gpu,), 100.0),
        Reading(c.CUDA_MEMORY_RESERVED_BYTES, (gpu,), 200.0),
        Reading(c.CUDA_MEMORY_PEAK_ALLOCATED_BYTES, (gpu,), 300.0),
        Reading(c.CUDA_ALLOC_RETRIES_TOTAL, (gpu,), 4.0),
    ]


def test_a_device_is_not_served_under_a_name_that_would_change() -> None:
    """While NVML is being asked what the devices are called, their memory waits."""
    assert list(CudaSource({}, lambda: None, {"torch": cuda_torch(initialized=True)}).collect()) == []


@pytest.mark.parametrize(
    "modules", [{}, {"torch": cuda_torch(initialized=False)}], ids=["no torch", "no CUDA yet"]
)
def test_looking_initialises_nothing(modules: dict[str, Any]) -> None:
    """Without torch, or before CUDA is in use, there is nothing to show and nothing is started."""
    assert list(CudaSource({}, modules=modules).collect()) == []


def test_the_real_torch_of_this_machine_is_read_without_harm() -> None:
    """Whatever torch this machine has, reading it does not initialise CUDA."""
    before = torch.cuda.is_initialized()
    list(CudaSource(os.environ).collect())
    assert torch.cuda.is_initialized() == before
