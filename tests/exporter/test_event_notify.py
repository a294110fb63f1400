"""Who is told, and what the start knows of the GPUs."""

from collections.abc import Callable, Iterable

import pytest

from epochwatch import catalogue
from epochwatch.collector import Reading
from epochwatch.notify import gpu_names, reachable
from epochwatch.nvml import GpuError


def gpu(number: int, name: str) -> Reading:
    return Reading(catalogue.GPU_INFO, (str(number), f"GPU-{number}", name, "", "580.65", ""), 1.0)


def no_answer() -> Iterable[Reading]:
    raise GpuError("the driver does not answer")


@pytest.mark.parametrize(
    ("collect", "names"),
    [
        (
            lambda: [gpu(0, "NVIDIA H100"), gpu(1, "NVIDIA H100"), gpu(2, "NVIDIA L4")],
            "2 × NVIDIA H100, NVIDIA L4",
        ),
        (
            lambda: [Reading(catalogue.GPU_TEMPERATURE_CELSIUS, ("0",), 40.0), gpu(0, "NVIDIA H100")],
            "NVIDIA H100",
        ),
        (list, ""),
        (no_answer, ""),
    ],
    ids=["several", "one", "none in time", "a driver that fails"],
)
def test_the_gpus_are_counted_by_name(collect: Callable[[], Iterable[Reading]], names: str) -> None:
    """Devices of one name are counted; without any in time, or with a driver that fails, nothing is said."""
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    assert gpu_names(collect, 1.5, sleep, lambda: now[0]) == names
    assert now[0] < 1.6


def test_the_driver_may_take_a_moment() -> None:
    """The names are waited for until the first reading is there."""
    answers = iter([[], [], [gpu(0, "NVIDIA H100")]])
    assert gpu_names(lambda: next(answers), 1.5, lambda seconds: None) == "NVIDIA H100"


@pytest.mark.parametrize(
    ("url", "link"),
    [
        ("http://10.0.0.5:9400", "http://10.0.0.5:9400"),
        ("http://127.0.0.1:9400", ""),
        ("http://localhost:9400", ""),
        ("http://[::1]:9400", ""),
    ],
)
def test_only_an_address_that_others_can_reach_is_linked(url: str, link: str) -> None:
    """A loopback address is no link for somebody with a phone."""
    assert reachable(url) == link
