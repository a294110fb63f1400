"""What a device tells, in which unit, and what is absent when it does not."""

import pytest


def test_a_healthy_gpu_tells_every_quantity_in_base_units(machine, trainer):
    """Percent become a ratio, milliwatts watts, megahertz hertz, nanoseconds seconds."""
    run = trainer(machine)
    machine.set("0.processes", 2)
    machine.set("0.process.0", f"1 {1 << 30}")
    machine.set("0.process.1", f"{run.hello['pid']} {50 << 30}")
    machine.set("0.violation.1", 2_500_000_000)
    machine.set("0.violation.4", 9_000_000_000)
    machine.set("0.ecc.0.0", 3)
    info = (
        "gpu_info{driver=580.82.07,gpu=0,mig_profile=,name=NVIDIA H100 80GB HBM3,pci_bus_id=00000000:01:00.0,"
        "uuid=GPU-11111111-aaaa-4000-8000-000000000000}"
    )
    got = run.scrape_read()
    assert {info: 1} | got.readings() == {
        info: got[info],
        "gpu_utilization_ratio{gpu=0}": 0.93,
        "gpu_memory_used_bytes{gpu=0}": 60 << 30,
        "gpu_memory_total_bytes{gpu=0}": 80 << 30,
        "gpu_process_memory_used_bytes{gpu=0}": 50 << 30,
        "gpu_temperature_celsius{gpu=0}": 61,
        "gpu_slowdown_temperature_celsius{gpu=0}": 92,
        "gpu_power_watts{gpu=0}": 612.345,
        "gpu_power_limit_watts{gpu=0}": 700,
        "gpu_sm_clock_hertz{gpu=0}": 1.755e9,
        "gpu_energy_joules_total{gpu=0}": 123456.789,
        "gpu_throttle_seconds_total{gpu=0,reason=power}": 0,
        "gpu_throttle_seconds_total{gpu=0,reason=thermal}": 2.5,
        "gpu_throttle_seconds_total{gpu=0,reason=sync_boost}": 0,
        "gpu_throttle_seconds_total{gpu=0,reason=board_limit}": 0,
        "gpu_throttle_seconds_total{gpu=0,reason=reliability}": 0,
        "gpu_ecc_errors_total{gpu=0,severity=corrected}": 3,
        "gpu_ecc_errors_total{gpu=0,severity=uncorrected}": 0,
    }
    assert run.ask("troubles")["counts"] == {}


SERIES_OF = {
    "utilization": ["gpu_utilization_ratio{gpu=0}"],
    "memory_total": ["gpu_memory_used_bytes{gpu=0}", "gpu_memory_total_bytes{gpu=0}"],
    "temperature": ["gpu_temperature_celsius{gpu=0}"],
    "slowdown": ["gpu_slowdown_temperature_celsius{gpu=0}"],
    "power": ["gpu_power_watts{gpu=0}"],
    "power_limit": ["gpu_power_limit_watts{gpu=0}"],
    "sm_clock": ["gpu_sm_clock_hertz{gpu=0}"],
    "energy": ["gpu_energy_joules_total{gpu=0}"],
    "violation.0": ["gpu_throttle_seconds_total{gpu=0,reason=power}"],
    "ecc.1.0": ["gpu_ecc_errors_total{gpu=0,severity=uncorrected}"],
}


@pytest.mark.parametrize("error", [3, 4, 13, 21, 22, 26])
def test_a_reading_the_device_does_not_have_is_absent_alone(machine, trainer, error):
    """Neither 0 nor NaN stands for it, every other reading is served, and nothing is called an error."""
    run = trainer(machine)
    whole = run.scrape_read().readings()
    for reading, series in SERIES_OF.items():
        healthy = machine.get(f"0.{reading}")
        machine.set(f"0.{reading}", f"!{error}")
        got = run.scrape_read()
        machine.set(f"0.{reading}", healthy)
        assert set(whole) - set(got.readings()) == set(series)
        assert got.up == 1
    assert run.ask("troubles")["counts"] == {}


def test_a_reading_that_fails_is_absent_and_counted_once(machine, trainer):
    """An unknown error is told with device and call when it begins, not at every reading."""
    machine.set("0.power", "!999")
    run = trainer(machine)
    got = run.scrape_read()
    run.scrape_read()
    assert "gpu_power_watts{gpu=0}" not in got
    assert got["gpu_temperature_celsius{gpu=0}"] == 61
    assert got.up == 1
    assert run.ask("troubles") == {
        "counts": {"nvml_reading": 1},
        "log": [
            "nvml_reading: GpuError: GPU 0 (NVIDIA H100 80GB HBM3, GPU-11111111-aaaa-4000-8000-000000000000)"
            ": nvmlDeviceGetPowerUsage: Unknown Error (NVML error 999)"
        ],
    }
    machine.set("0.power", "5000")
    assert run.scrape_read()["gpu_power_watts{gpu=0}"] == 5
    machine.set("0.power", "!999")
    run.scrape_read()
    assert run.ask("troubles")["counts"] == {"nvml_reading": 2}


def test_an_error_newer_than_the_binding_is_told_in_the_librarys_words(machine, trainer):
    """A code that nvidia-ml-py does not know is no crash."""
    machine.set("0.energy", "!31")
    run = trainer(machine)
    run.scrape_read()
    assert run.ask("troubles")["log"][0].endswith(
        "nvmlDeviceGetTotalEnergyConsumption: Something newer than the binding (NVML error 31)"
    )


@pytest.mark.parametrize(
    ("processes", "expected"),
    [
        ([], None),
        (["999999 5"], None),
        (["{pid} 18446744073709551615"], None),
        (["{pid} 5", "999999 7"], 5),
        (["{pid} 5", "{pid} 7"], 12),
    ],
)
def test_process_memory_is_of_this_process_or_absent(machine, trainer, processes, expected):
    """A container that sees other process numbers, or a driver that does not say, makes no 0."""
    run = trainer(machine)
    machine.set("0.processes", len(processes))
    for place, line in enumerate(processes):
        machine.set(f"0.process.{place}", line.format(pid=run.hello["pid"]))
    assert run.scrape_read().get("gpu_process_memory_used_bytes{gpu=0}") == expected


def test_an_old_driver_gives_memory_in_its_own_way(machine, trainer, old_nvml):
    """Without the second version of the call, used memory includes what the driver keeps; MIG is unknown."""
    machine.set("0.mig", None)
    got = trainer(machine, old_nvml).scrape_read()
    assert got["gpu_memory_used_bytes{gpu=0}"] == 61 << 30
    assert "gpu_process_memory_used_bytes{gpu=0}" not in got
    assert got.up == 1


def test_a_mig_device_has_its_own_memory_and_the_chips_temperature(machine, trainer):
    """Utilization and power are no slice's: absent, without an error."""
    machine.partition()
    run = trainer(machine, CUDA_VISIBLE_DEVICES="MIG-bbbb")
    got = run.scrape_read()
    assert [series for series in got if series.startswith("gpu_info")] == [
        "gpu_info{driver=580.82.07,gpu=0:2,mig_profile=1g.10gb,name=NVIDIA H100 80GB HBM3,"
        "pci_bus_id=00000000:01:00.0,uuid=MIG-bbbbbbbb-0000}"
    ]
    assert got.readings() == {
        "gpu_memory_used_bytes{gpu=0:2}": 4 << 30,
        "gpu_memory_total_bytes{gpu=0:2}": 10 << 30,
        "gpu_temperature_celsius{gpu=0:2}": 61,
        "gpu_slowdown_temperature_celsius{gpu=0:2}": 92,
        "gpu_sm_clock_hertz{gpu=0:2}": 1.755e9,
        **{
            f"gpu_throttle_seconds_total{{gpu=0:2,reason={reason}}}": 0
            for reason in ("power", "thermal", "sync_boost", "board_limit", "reliability")
        },
    }
    assert run.ask("troubles")["counts"] == {}


def test_counters_follow_the_driver(machine, trainer):
    """Energy and throttled time are the driver's own counters, so nothing is missed between two readings."""
    run = trainer(machine)
    run.scrape_read()
    machine.set("0.energy", 123457789)
    machine.set("0.violation.0", 1_500_000_000)
    got = run.scrape_read()
    assert got["gpu_energy_joules_total{gpu=0}"] == 123457.789
    assert got["gpu_throttle_seconds_total{gpu=0,reason=power}"] == 1.5
