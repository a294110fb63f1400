"""The CUDA side against a recording stand-in of torch's CUDA API; no device is needed, none is touched.

What a stand-in cannot show, that the real calls do not synchronise, is for a machine with a GPU.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from epochwatch import catalogue as c
from epochwatch.collector import Reading
from epochwatch.cuda import CudaSource
from epochwatch.gpu_visibility import DeviceNames
from epochwatch.landing import CHUNK_VALUES, CHUNKS, Landing, PinnedCopies

torch = pytest.importorskip("torch")


class Event:
    """An event that passes when the test says so."""

    def __init__(self, device: "Device") -> None:
        self._device = device
        self._recorded_at = 0

    def record(self, stream: "Stream") -> None:
        self._device.calls.append(f"record on {stream.cuda_stream}")
        self._device.work += 1
        self._recorded_at = self._device.work

    def query(self) -> bool:
        self._device.calls.append("query")
        if self._device.broken:
            raise RuntimeError("CUDA error: device-side assert triggered")
        return self._device.done >= self._recorded_at


class Stream:
    def __init__(self, address: int) -> None:
        self.cuda_stream = address


class Device:
    """Stands in for `torch`: records what it is asked, and works off copies when told."""

    float32, float64 = torch.float32, torch.float64
    inference_mode = staticmethod(torch.inference_mode)

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.work = 0
        self.done = 0
        self.capturing = False
        self.broken = False
        self.stream = Stream(7)
        self._C = SimpleNamespace(_cuda_getCurrentRawStream=lambda device: self.stream.cuda_stream)
        self.cuda = SimpleNamespace(
            Event=lambda: Event(self),
            current_stream=lambda device: self.stream,
            is_current_stream_capturing=lambda: self.capturing,
            stream=self._with_stream,
        )

    def finish(self) -> None:
        self.done = self.work

    def empty(
        self, size: tuple[int, ...], dtype: torch.dtype, device: object, pin_memory: bool = False
    ) -> torch.Tensor:
        assert (device, pin_memory) in (("cpu", True), (0, False))
        self.calls.append("memory")
        return torch.full(size, -1.0, dtype=dtype)

    def _foreach_copy_(self, cells: list[torch.Tensor], sources: list[torch.Tensor]) -> None:
        self.calls.append(f"copy of {len(cells)}")
        torch._foreach_copy_(cells, sources)

    @contextmanager
    def _with_stream(self, stream: Stream) -> Iterator[None]:
        before, self.stream = self.stream, stream
        yield
        self.stream = before


@pytest.fixture
def device() -> Device:
    return Device()


@pytest.fixture
def copies(device: Device) -> PinnedCopies:
    return PinnedCopies(device, 0, torch.float64)


def sent(copies: PinnedCopies, *values: float, now: float = 0.0) -> list[Landing]:
    """Sends values as those of one step, and gives their landings."""
    landings = [copies.stage(torch.tensor(value, dtype=torch.float64)) for value in values]
    copies.send(now)
    return landings


def told(landings: list[Landing]) -> list[float | None]:
    """Gives the values of those that have landed."""
    return [landing.value for landing in landings if landing.landed]


def test_a_value_lands_when_its_event_has_passed(device: Device, copies: PinnedCopies) -> None:
    """Until then it is on its way, and nobody waits for it."""
    landing = copies.stage(torch.tensor(2.5, dtype=torch.float64, requires_grad=True) * 1.0)
    assert copies.send(0.0)
    copies.poll()
    assert (landing.landed, len(copies)) == (False, 1)
    device.finish()
    copies.poll()
    assert (landing.landed, landing.value, len(copies)) == (True, 2.5, 0)


def test_the_values_of_a_step_are_one_launch(device: Device, copies: PinnedCopies) -> None:
    """Loss, norm and own metrics go together."""
    landings = sent(copies, 1.0, 2.0, 3.0)
    device.finish()
    copies.poll()
    assert device.calls.count("copy of 3") == 1
    assert told(landings) == [1.0, 2.0, 3.0]


def test_quick_steps_go_to_the_host_together(device: Device, copies: PinnedCopies) -> None:
    """One copy to the host and one event for a quarter of a second of them; the very first step goes at once."""
    landings = [landing for step in range(50) for landing in sent(copies, step, now=step / 1000)]
    assert device.calls.count("record on 7") == 1
    sent(copies, 50.0, now=0.25)
    assert device.calls.count("record on 7") == 2
    device.finish()
    copies.poll()
    assert told(landings) == list(range(50))


def test_slow_steps_go_to_the_host_one_by_one(device: Device, copies: PinnedCopies) -> None:
    """The NaN of a step that takes seconds does not wait for the next one."""
    for step in range(5):
        sent(copies, step, now=step * 3.0)
        assert device.calls.count("record on 7") == step + 1


def test_a_full_chunk_goes_to_the_host(device: Device, copies: PinnedCopies) -> None:
    """However quick the steps are, and values never get mixed up."""
    landings = [landing for step in range(3 * CHUNK_VALUES) for landing in sent(copies, step, -step)]
    copies.poll()
    device.finish()
    copies.poll()
    assert told(landings) == [sign * step for step in range(3 * CHUNK_VALUES) for sign in (1, -1)]


def test_memory_is_taken_at_the_first_value_alone(device: Device, copies: PinnedCopies) -> None:
    """Later it might make the host wait for a device at work."""
    for step in range(20):
        sent(copies, step, now=step * 3.0)
        device.done = max(0, device.work - 3)
    assert device.calls.count("memory") == 2
    assert device.calls[:2] == ["memory", "memory"]


def test_only_the_oldest_is_asked_for(device: Device, copies: PinnedCopies) -> None:
    """A look costs one query while nothing has arrived, however much is under way."""
    for step in range(5):
        sent(copies, step, now=step * 3.0)
    device.calls.clear()
    copies.poll()
    assert device.calls == ["query"]


def test_values_of_two_streams_are_copied_each_on_its_own(device: Device, copies: PinnedCopies) -> None:
    """The copy to the host must come after what makes the values, also when the loop has gone to another stream."""
    landings = sent(copies, 1.0, now=0.0) + sent(copies, 2.0, now=0.01)
    device.stream = Stream(8)
    landings += sent(copies, 3.0, now=0.02)
    copies.poll()
    assert [call for call in device.calls if call.startswith("record")] == [
        "record on 7",
        "record on 7",
        "record on 8",
    ]
    assert device.stream.cuda_stream == 8
    device.finish()
    copies.poll()
    assert told(landings) == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("tensor", "dtype", "value"),
    [
        (torch.tensor(2.5, dtype=torch.bfloat16), torch.float32, 2.5),
        (torch.tensor([2.5], dtype=torch.float16), torch.float32, 2.5),
        (torch.tensor(1 / 3, dtype=torch.float64), torch.float64, 1 / 3),
        (torch.tensor(2**40), torch.float64, 2.0**40),
        (torch.tensor(float("nan")), torch.float32, float("nan")),
    ],
    ids=["bfloat16", "one element", "float64", "int64", "NaN"],
)
def test_every_type_arrives_exactly(
    tensor: torch.Tensor, dtype: torch.dtype, value: float, device: Device
) -> None:
    """Narrow floats go through float32, the rest through float64."""
    copies = PinnedCopies(device, 0, dtype)
    landing = copies.stage(tensor)
    copies.send(0.0)
    device.finish()
    copies.poll()
    assert landing.value == pytest.approx(value, rel=0, abs=0, nan_ok=True)


def test_values_of_inference_mode_and_outside_share_the_buffer(device: Device, copies: PinnedCopies) -> None:
    """A first value from within inference mode does not spoil the buffer for training."""
    with torch.inference_mode():
        first = sent(copies, 1.0)
    second = copies.stage(torch.tensor(2.0, dtype=torch.float64, requires_grad=True))
    copies.send(1.0)
    device.finish()
    copies.poll()
    assert told([*first, second]) == [1.0, 2.0]


def test_nothing_is_asked_of_the_device_while_a_graph_is_captured(
    device: Device, copies: PinnedCopies
) -> None:
    """A copy would become part of the graph, and a query of an earlier one would spoil it."""
    sent(copies, 1.0)
    device.capturing = True
    device.finish()
    device.calls.clear()
    copies.poll()
    landing = copies.stage(torch.tensor(2.0))
    assert not copies.send(9.0)
    assert (device.calls, landing.landed, landing.value, len(copies)) == ([], True, None, 1)


def test_a_device_far_behind_costs_values_not_memory(device: Device, copies: PinnedCopies) -> None:
    """At the limit further values are lost until older ones have landed; the buffers go round."""
    for _ in range(CHUNKS * CHUNK_VALUES):
        sent(copies, 1.0)
    (lost,) = sent(copies, 2.0)
    assert (lost.landed, lost.value) == (True, None)
    device.finish()
    (landing,) = sent(copies, 3.0, now=1.0)
    device.finish()
    copies.poll()
    assert landing.value == 3.0


@pytest.mark.parametrize("count", [CHUNK_VALUES + 1, 3 * CHUNK_VALUES, CHUNKS * CHUNK_VALUES + 1])
def test_a_step_of_more_values_than_a_chunk_holds_arrives(
    count: int, device: Device, copies: PinnedCopies
) -> None:
    """Its first ones, the loss above all, arrive in any case, the rest as far as there is room; no memory is taken."""
    sent(copies, -1.0)
    landings = sent(copies, *range(count), now=1.0)
    device.finish()
    copies.poll()
    room = (CHUNKS - 1) * CHUNK_VALUES
    assert told(landings) == [float(index) if index < room else None for index in range(count)]
    assert device.calls.count("memory") == 2
    (landing,) = sent(copies, 2.0, now=2.0)
    device.finish()
    copies.poll()
    assert landing.value == 2.0


@pytest.mark.parametrize("while_sending", [False, True])
def test_a_failed_device_gives_everything_up(
    while_sending: bool, device: Device, copies: PinnedCopies
) -> None:
    """After a CUDA error nothing is waited for any more; the error is the caller's to count."""
    landings = sent(copies, 1.0) + sent(copies, 2.0)
    device.broken = True
    with pytest.raises(RuntimeError, match="device-side assert"):
        sent(copies, 3.0) if while_sending else copies.poll()
    assert (told(landings), len(copies)) == ([None, None], 0)


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
