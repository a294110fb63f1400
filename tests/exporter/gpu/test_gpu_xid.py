"""Xid errors: through NVML's events, counted per device, whatever becomes of the other readings."""

import time

CRITICAL = (48, 62, 64, 74, 79, 95, 119, 120)


def xids(scrape) -> dict[str, float]:
    return {series: value for series, value in scrape.items() if series.startswith("gpu_xid") and value}


def watched(machine, run) -> None:
    run.scrape_until(lambda _: machine.count("nvmlEventSetWait_v2"))


def test_the_critical_xids_start_at_zero(machine, trainer):
    """A counter born at 1 would hide its first increase from every rule; no time stamp before the first."""
    run = trainer(machine)
    watched(machine, run)
    assert {s: v for s, v in run.scrape().items() if s.startswith("gpu_xid")} == {
        f"gpu_xid_errors_total{{gpu=0,xid={xid}}}": 0 for xid in CRITICAL
    }


def test_an_xid_is_counted_with_its_time(big_machine, trainer):
    """Of the device it happened on, a new number too; those of other devices are not this process's."""
    run = trainer(big_machine, CUDA_VISIBLE_DEVICES="0,2")
    watched(big_machine, run)
    before = time.time()
    for gpu, xid in ((0, 79), (2, 31), (1, 79), (2, 31)):
        big_machine.xid(gpu, xid)
    got = run.scrape_until(lambda scrape: scrape.get("gpu_xid_errors_total{gpu=2,xid=31}") == 2)
    assert xids(got) == {
        "gpu_xid_errors_total{gpu=0,xid=79}": 1,
        "gpu_xid_errors_total{gpu=2,xid=31}": 2,
        "gpu_xid_last_timestamp_seconds{gpu=0,xid=79}": got["gpu_xid_last_timestamp_seconds{gpu=0,xid=79}"],
        "gpu_xid_last_timestamp_seconds{gpu=2,xid=31}": got["gpu_xid_last_timestamp_seconds{gpu=2,xid=31}"],
    }
    for series, value in xids(got).items():
        if "timestamp" in series:
            assert before <= value <= time.time()


def test_what_happened_before_the_start_is_not_counted(machine, trainer):
    """The driver does not replay old events."""
    machine.xid(0, 48)
    run = trainer(machine)
    watched(machine, run)
    machine.xid(0, 63)
    got = run.scrape_until(lambda scrape: "gpu_xid_errors_total{gpu=0,xid=63}" in scrape)
    assert got["gpu_xid_errors_total{gpu=0,xid=48}"] == 0


def test_an_xid_of_another_slice_is_not_ours(machine, trainer):
    """One laid at the door of a GPU instance counts for its MIG device only, one of the chip for all."""
    machine.partition()
    run = trainer(machine, CUDA_VISIBLE_DEVICES="MIG-bbbb")
    watched(machine, run)
    machine.xid(0, 13, gpu_instance=7)
    machine.xid(0, 43, gpu_instance=9)
    machine.xid(0, 79)
    got = run.scrape_until(lambda scrape: scrape.get("gpu_xid_errors_total{gpu=0:2,xid=79}"))
    assert {s for s in xids(got) if "total" in s} == {
        "gpu_xid_errors_total{gpu=0:2,xid=43}",
        "gpu_xid_errors_total{gpu=0:2,xid=79}",
    }


def test_a_device_without_events_has_no_xid_series(machine, trainer):
    """A 0 would claim that somebody listens; the other readings do not suffer."""
    machine.set("0.events", None)
    run = trainer(machine)
    got = run.scrape_read()
    got = run.scrape_read()
    assert not [series for series in got if series.startswith("gpu_xid")]
    assert got["gpu_temperature_celsius{gpu=0}"] == 61
    assert run.ask("troubles")["counts"] == {}


def test_xids_are_served_while_the_driver_hangs(machine, trainer):
    """The Xid is the reason for the hang: it must not vanish with the readings."""
    run = trainer(machine, pace={"stale_after_seconds": 0.2})
    watched(machine, run)
    run.scrape_read()
    machine.set("hang", "nvmlDeviceGetUtilizationRates")
    machine.xid(0, 79)
    got = run.scrape_until(lambda scrape: scrape.up == 0 and xids(scrape))
    assert got["gpu_xid_errors_total{gpu=0,xid=79}"] == 1
    assert got.readings() == {}


def test_waiting_that_fails_is_told_and_taken_up_again(machine, trainer):
    """It does not spin: a lost device makes every wait return at once."""
    run = trainer(machine)
    watched(machine, run)
    machine.set("wait", 999)
    run.scrape_until(lambda _: run.ask("troubles")["counts"].get("nvml_xid"))
    waits = machine.count("nvmlEventSetWait_v2")
    time.sleep(0.3)
    assert machine.count("nvmlEventSetWait_v2") <= waits + 1
    machine.set("wait", None)
    again = machine.count("nvmlEventSetCreate")
    run.scrape_until(lambda _: machine.count("nvmlEventSetCreate") > again)
    machine.xid(0, 74)
    assert run.scrape_until(lambda scrape: scrape.get("gpu_xid_errors_total{gpu=0,xid=74}") == 1).up == 1
    assert run.ask("troubles")["log"] == [
        "nvml_xid: NvmlError: nvmlEventSetWait_v2: Unknown Error (NVML error 999)"
    ]


def test_a_lost_gpu_does_not_deafen_the_watch_for_the_others(big_machine, trainer):
    """The watch goes on with the devices that still take part."""
    run = trainer(big_machine)
    watched(big_machine, run)
    big_machine.set("1.lost", 1)
    big_machine.set("wait", 15)
    run.scrape_until(lambda _: run.ask("troubles")["counts"].get("nvml_xid"))
    big_machine.set("wait", None)
    waits = big_machine.count("nvmlEventSetWait_v2")
    run.scrape_until(lambda _: big_machine.count("nvmlEventSetWait_v2") > waits)
    big_machine.xid(2, 74)
    run.scrape_until(lambda scrape: scrape.get("gpu_xid_errors_total{gpu=2,xid=74}") == 1)


def test_counts_survive_a_driver_that_is_opened_anew(machine, trainer):
    """The counters belong to the process, not to one initialisation of NVML."""
    run = trainer(machine)
    watched(machine, run)
    machine.xid(0, 74)
    run.scrape_until(lambda scrape: scrape.get("gpu_xid_errors_total{gpu=0,xid=74}") == 1)
    machine.set("0.power", "!1")
    run.scrape_until(lambda scrape: scrape.up == 0)
    machine.set("0.power", 1000)
    run.scrape_until(lambda scrape: scrape.up == 1 and machine.count("nvmlEventSetCreate") > 1)
    waits = machine.count("nvmlEventSetWait_v2")
    run.scrape_until(lambda _: machine.count("nvmlEventSetWait_v2") > waits)
    machine.xid(0, 74)
    run.scrape_until(lambda scrape: scrape.get("gpu_xid_errors_total{gpu=0,xid=74}") == 2)
