"""No library, a broken driver, a driver that hangs, a GPU that falls off the bus."""

import re
import time

import pytest

from epochwatch.nvml import library_present

STAMP = "exporter_last_collect_timestamp_seconds{collector=nvml}"
UP = "exporter_collector_up{collector=nvml}"
TEMPERATURE = "gpu_temperature_celsius{gpu=0}"


@pytest.mark.skipif(library_present(), reason="this machine has NVIDIA's library")
def test_without_the_library_there_is_no_nvml_series(trainer):
    """A machine without an NVIDIA driver is healthy: no source, no collector that is down."""
    run = trainer(None, library=None)
    assert run.hello["source"] is False
    assert run.scrape() == {}


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            9,
            "nvml: DriverError: nvmlInit: Driver Not Loaded (NVML error 9); load the NVIDIA kernel driver "
            "until nvidia-smi works, or start with gpu=False",
        ),
        (
            18,
            "nvml: DriverError: nvmlInit: RM has detected an NVML/RM version mismatch. (NVML error 18); the "
            "driver was updated under a running kernel module; reboot the machine",
        ),
        (999, "nvml: NvmlError: nvmlInit: Unknown Error (NVML error 999)"),
    ],
)
def test_a_library_that_fails_is_down_and_tried_again(machine, trainer, code, message):
    """The reason is logged once, with what to do; the readings come once the driver works."""
    machine.set("init", code)
    run = trainer(machine)
    got = run.scrape_until(lambda scrape: scrape.up == 0)
    run.scrape()
    assert dict(got) == {UP: 0}
    assert run.ask("troubles")["log"] == [message]
    machine.set("init", None)
    got = run.scrape_until(lambda scrape: scrape.up == 1)
    assert got[TEMPERATURE] == 61


def test_a_failing_library_is_tried_less_and_less_often(machine, trainer):
    """The pauses double: no busy loop against a driver that will not come back soon."""
    machine.set("init", 18)
    run = trainer(machine, pace={"period_seconds": 0.05})
    run.scrape_until(lambda _: machine.count("nvmlInitWithFlags") >= 4)
    tries = machine.count("nvmlInitWithFlags")
    time.sleep(0.2)
    assert machine.count("nvmlInitWithFlags") <= tries + 1


def test_a_driver_that_goes_away_is_opened_anew(machine, trainer):
    """The old initialisation is given back, and the series go on afterwards."""
    run = trainer(machine)
    run.scrape_until(lambda _: machine.count("nvmlEventSetWait_v2"))
    machine.set("wait", 1)
    run.scrape_until(lambda _: machine.count("nvmlEventSetFree"))
    machine.set("0.temperature", "!1")
    got = run.scrape_until(lambda scrape: scrape.up == 0)
    assert got.readings() == {}
    assert set(run.ask("troubles")["counts"]) == {"nvml"}
    machine.set("wait", None)
    machine.set("0.temperature", 64)
    got = run.scrape_until(lambda scrape: scrape.up == 1)
    assert got[TEMPERATURE] == 64
    assert machine.count("nvmlInitWithFlags") - machine.count("nvmlShutdown") == 1


def test_a_hanging_driver_never_hangs_the_scrape(machine, trainer):
    """The last readings are served until they are too old, with their age; then the source is down."""
    run = trainer(machine, pace={"stale_after_seconds": 1.0})
    healthy = run.scrape_read()
    machine.set("hang", "nvmlDeviceGetPowerUsage")
    machine.set("0.temperature", 99)
    run.scrape_until(lambda _: machine.calls()[-1][2] in ("nvmlDeviceGetPowerUsage", "nvmlEventSetWait_v2"))
    held = run.scrape()
    assert held.up == 1
    assert held.readings() == healthy.readings()
    stale = run.scrape_until(lambda scrape: scrape.up == 0)
    assert stale.readings() == {}
    assert time.time() - stale[STAMP] > 1
    assert max(run.scrape().seconds for _ in range(20)) < 1
    assert run.ask("troubles")["log"] == [
        "nvml: StaleReadingsError: the NVIDIA driver has not answered for more than 1 s; nvidia-smi will "
        "hang too, dmesg says why (NVRM, Xid)"
    ]
    machine.set("hang", None)
    assert run.scrape_until(lambda scrape: scrape.up == 1)[TEMPERATURE] == 99


def test_a_driver_that_hangs_from_the_start_does_not_hold_up_the_start(machine, trainer):
    """`start` returns, nothing is served, and after the bound the source is down."""
    machine.set("hang", "nvmlInitWithFlags")
    run = trainer(machine, pace={"stale_after_seconds": 1.0})
    assert run.hello["start_seconds"] < 1
    first = run.scrape()
    assert first.gpu() == {}
    assert first.up == 1
    assert run.scrape_until(lambda scrape: scrape.up == 0).gpu() == {}


@pytest.mark.parametrize("function", ["nvmlInitWithFlags", "nvmlDeviceGetPowerUsage", "nvmlEventSetWait_v2"])
@pytest.mark.parametrize("closed", [True, False])
def test_a_hanging_call_does_not_keep_the_process_alive(machine, trainer, function, closed):
    """Neither closing nor the end of the interpreter waits for it."""
    machine.set("hang", function)
    run = trainer(machine, pace={"close_seconds": 0.2})
    run.scrape_until(lambda _: machine.count(function))
    if closed:
        assert run.ask("close")["seconds"] < 2
    code, seconds = run.end()
    assert code == 0
    assert seconds < 5


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (
            15,
            "GPU is lost (NVML error 15); it has fallen off the bus; dmesg has its Xid, the machine needs a "
            "reboot",
        ),
        (16, "GPU requires restart (NVML error 16); end the processes on it, then nvidia-smi --gpu-reset"),
    ],
)
def test_a_gpu_that_is_lost_is_told_apart(big_machine, trainer, code, told):
    """Its readings are absent, who it is stays; the others are served; it is counted and logged once."""
    run = trainer(big_machine)
    run.scrape_read()
    if code == 15:
        big_machine.set("1.lost", 1)
    else:
        big_machine.set("1.utilization", f"!{code}")
    run.scrape_read()
    got = run.scrape_read()
    assert got.up == 1
    assert {re.search("gpu=([0-9]+)", series)[1] for series in got.readings()} == {"0", "2"}
    assert [s for s in got if s.startswith("gpu_info") and ",gpu=1," in s]
    troubles = run.ask("troubles")
    assert troubles["counts"]["nvml_gpu_lost"] == 1
    (line,) = [line for line in troubles["log"] if line.startswith("nvml_gpu_lost")]
    # It may be lost in the middle of a reading: any call can be the one that says so.
    assert re.sub("nvmlDevice[A-Za-z]+", "CALL", line) == (
        "nvml_gpu_lost: GpuError: GPU 1 (NVIDIA H100 80GB HBM3, GPU-22222222-bbbb-4000-8000-000000000001): "
        f"CALL: {told}"
    )


def test_a_gpu_lost_before_the_start_is_not_numbered(big_machine, trainer):
    """CUDA cannot use it either; the others are served."""
    big_machine.set("0.lost", 1)
    got = trainer(big_machine, CUDA_VISIBLE_DEVICES="0").scrape_read()
    assert [series for series in got if series.startswith("gpu_temperature")] == [
        "gpu_temperature_celsius{gpu=1}"
    ]


def test_after_a_loss_the_same_devices_are_found_again(big_machine, trainer):
    """Opened anew without GPU 0, index 1 would be GPU 2; the process still has GPU 1."""
    run = trainer(big_machine, CUDA_VISIBLE_DEVICES="1,0")
    run.scrape_read()
    big_machine.set("0.lost", 1)
    big_machine.set("1.power", "!1")
    run.scrape_until(lambda scrape: scrape.up == 0)
    big_machine.set("1.power", 1000)
    got = run.scrape_until(lambda scrape: scrape.up == 1)
    assert [series for series in got if series.startswith("gpu_temperature")] == [
        "gpu_temperature_celsius{gpu=1}"
    ]
    assert (
        "nvml_gpu_lost: GpuError: GPU-11111111-aaaa-4000-8000-000000000000: gone when NVML was opened anew; "
        "see dmesg"
    ) in run.ask("troubles")["log"]


def test_a_gpu_that_comes_back_can_be_lost_again(machine, trainer):
    """Each loss counts once."""
    run = trainer(machine)
    for losses in (1, 2):
        machine.set("0.utilization", "!16")
        assert run.scrape_read().readings() == {}
        machine.set("0.utilization", 5)
        assert run.scrape_read()["gpu_utilization_ratio{gpu=0}"] == 0.05
        assert run.ask("troubles")["counts"]["nvml_gpu_lost"] == losses
