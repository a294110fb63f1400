"""When NVML is touched, by which thread, in which process, and how it ends."""

import subprocess
import sys
import time

import pytest

TEMPERATURE = "gpu_temperature_celsius{gpu=0}"


@pytest.mark.parametrize("module", ["epochwatch", "epochwatch.gpu"])
def test_importing_does_not_load_the_binding(module):
    """A training without a GPU pays neither its time nor its memory."""
    code = f"import sys, {module}; sys.exit('pynvml' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_binding_is_loaded_by_the_thread_that_uses_it(machine, trainer):
    """Finding the library takes no import either; only the start does, and not in the caller's thread."""
    run = trainer(machine)
    run.scrape_read()
    assert run.hello["imported_before_start"] is False
    assert run.hello["thread"] not in {thread for _, thread, _ in machine.calls()}


def test_starting_twice_starts_one_sampler(machine, trainer):
    """The second start is harmless."""
    run = trainer(machine)
    run.ask("start")
    run.scrape_read()
    assert machine.count("nvmlInitWithFlags") == 1


def test_sampling_pauses_while_nobody_scrapes(machine, trainer):
    """No reading after the bound; the first scrape afterwards wakes it and finds the source up."""
    run = trainer(machine, pace={"pause_after_seconds": 0.1, "stale_after_seconds": 0.6})
    run.scrape_read()
    time.sleep(0.5)
    reads = machine.count("nvmlDeviceGetPowerUsage")
    time.sleep(0.3)
    assert machine.count("nvmlDeviceGetPowerUsage") == reads
    first = run.scrape()
    assert first.up == 1
    assert first.readings() == {}
    assert run.scrape_read()[TEMPERATURE] == 61
    assert run.ask("troubles")["counts"] == {}


def test_xids_are_counted_in_a_pause(machine, trainer):
    """Waiting for events costs nothing, and what happened meanwhile is there at the next scrape."""
    run = trainer(machine, pace={"pause_after_seconds": 0.05})
    run.scrape_until(lambda _: machine.count("nvmlEventSetWait_v2"))
    time.sleep(0.2)
    machine.xid(0, 79)
    time.sleep(0.5)
    assert run.scrape()["gpu_xid_errors_total{gpu=0,xid=79}"] == 1


def test_a_forked_child_that_serves_opens_nvml_for_itself(machine, trainer):
    """NVML is not valid after a fork; the parent goes on undisturbed."""
    run = trainer(machine)
    run.scrape_read()
    assert "training_gpu_temperature_celsius" in run.ask("scrape-in-child")["text"]
    by_process = {}
    for pid, _, function in machine.calls():
        by_process.setdefault(pid, []).append(function)
    parent = by_process.pop(run.hello["pid"])
    (child,) = by_process.values()
    assert child[0] == "nvmlInitWithFlags"
    assert parent.count("nvmlInitWithFlags") == 1
    assert run.scrape_read()[TEMPERATURE] == 61


def test_a_forked_child_that_does_not_serve_touches_nothing(machine, trainer):
    """A DataLoader worker inherits the source and leaves it alone; its end ends nothing of the parent's."""
    run = trainer(machine)
    run.scrape_read()
    assert run.ask("fork-and-close") == {"status": 0}
    assert {pid for pid, _, _ in machine.calls()} == {run.hello["pid"]}
    assert run.scrape_read().up == 1


def test_closing_ends_the_threads_and_gives_nvml_back(machine, trainer):
    """Events first, then NVML; closing again, and scraping afterwards, are harmless."""
    run = trainer(machine)
    run.scrape_until(lambda _: machine.count("nvmlEventSetWait_v2"))
    closed = run.ask("close")
    assert closed["threads"] == []
    assert closed["seconds"] < 5
    assert [function for _, _, function in machine.calls()][-2:] == ["nvmlEventSetFree", "nvmlShutdown"]
    run.ask("close")
    run.ask("start")
    got = run.scrape()
    assert got.up == 1
    assert got.readings() == {}
    assert machine.count("nvmlInitWithFlags") == 1


def test_a_forked_child_of_a_closed_source_leaves_nvml_alone(machine, trainer):
    """What was closed stays closed, in every process."""
    run = trainer(machine)
    run.scrape_read()
    run.ask("close")
    assert "gpu_temperature" not in run.ask("scrape-in-child-briefly")["text"]
    assert {pid for pid, _, _ in machine.calls()} == {run.hello["pid"]}


def test_cuda_visible_devices_may_be_set_until_nvml_is_opened(big_machine, trainer):
    """A script that sets it in its first lines is understood, like CUDA understands it."""
    big_machine.set("init", 999)
    run = trainer(big_machine)
    run.scrape_until(lambda scrape: scrape.up == 0)
    run.ask("environ")
    big_machine.set("init", None)
    got = run.scrape_until(lambda scrape: scrape.up == 1)
    assert [series for series in got if series.startswith("gpu_temperature")] == [
        "gpu_temperature_celsius{gpu=1}"
    ]
