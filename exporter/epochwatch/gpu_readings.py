"""One device, read once: every quantity it has, in the catalogue's units; what it has not is absent.

Of a MIG device, memory is its own; temperature, clock and throttling are the chip's that carries it, for
they hold for every slice; power and energy are of the whole board and say nothing about the slice.
Units and meanings: NVML API reference, device queries.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from . import catalogue as c
from .collector import Reading
from .gpu_devices import Gpu
from .nvml import INVALID_ARGUMENT, DriverError, GpuLostError, Nvml, NvmlError, ReadingAbsentError

TEMPERATURE_GPU = 0  # nvmlTemperatureSensors_t
THRESHOLD_SLOWDOWN = 1  # nvmlTemperatureThresholds_t
CLOCK_SM = 1  # nvmlClockType_t
MEMORY_INFO_V2 = 0x02000028  # struct version: without what the driver keeps for itself, as nvidia-smi shows
VOLATILE_ECC = 0  # nvmlEccCounterType_t: since the driver was loaded
ECC_SEVERITIES = {"corrected": 0, "uncorrected": 1}  # nvmlMemoryErrorType_t
# nvmlPerfPolicyType_t, without "low utilization": a clock lowered for want of work is no throttling.
THROTTLE_REASONS = {"power": 0, "thermal": 1, "sync_boost": 2, "board_limit": 3, "reliability": 5}

Probe = Callable[[Nvml, Gpu], Iterator[Reading]]


def utilization(nvml: Nvml, gpu: Gpu) -> Iterator[Reading]:
    percent = nvml.call("nvmlDeviceGetUtilizationRates", gpu.handle).gpu
    yield Reading(c.GPU_UTILIZATION_RATIO, (gpu.label,), percent / 100)


def memory(nvml: Nvml, gpu: Gpu) -> Iterator[Reading]:
    try:
        info = nvml.call("nvmlDeviceGetMemoryInfo", gpu.handle, version=MEMORY_INFO_V2)
    except ReadingAbsentError:  # drivers before R510
        info = nvml.call("nvmlDeviceGetMemoryInfo", gpu.handle)
    yield Reading(c.GPU_MEMORY_USED_BYTES, (gpu.label,), info.used)
    yield Reading(c.GPU_MEMORY_TOTAL_BYTES, (gpu.label,), info.total)


def process_memory(nvml: Nvml, gpu: Gpu) -> Iterator[Reading]:
    """Gives this process's memory; nothing where NVML numbers processes otherwise, as in most containers."""
    pid = os.getpid()
    processes = nvml.call("nvmlDeviceGetComputeRunningProcesses_v3", gpu.handle)
    used = [process.usedGpuMemory for process in processes if process.pid == pid]
    if used and None not in used:
        yield Reading(c.GPU_PROCESS_MEMORY_USED_BYTES, (gpu.label,), sum(used))


def temperature(nvml: Nvml, gpu: Gpu) -> Iterator[Reading]:
    degrees = nvml.call("nvmlDeviceGetTemperature", gpu.chip, TEMPERATURE_GPU)
    yield Reading(c.GPU_TEMPERATURE_CELSIUS, (gpu.label,), degrees)


def slowdown_temperature(nvml: Nvml, gpu: Gpu) -> Iterator[Reading]:
    degrees = nvml.call("nvmlDeviceGetTemperatureThreshold", gpu.chip, THRESHOLD_SLOWDOWN)
    yield Reading(c.GPU_SLOWDOWN_TEMPERATURE_CELSIUS, (gpu.label,), degrees)


def power(nvml: Nvml, gpu: Gpu) -> Iterator[Reading]:
    milliwatts = nvml.call("nvmlDeviceGetPowerUsage", gpu.handle)
    yield Reading(c.GPU_POWER_WATTS, (gpu.label,), milliwatts / 1000)


def power_limit(nvml: Nvml, gpu: Gpu) -> Iterator[Reading]:
    milliwatts = nvml.call("nvmlDeviceGetEnforcedPowerLimit", gpu.handle)
    yield Reading(c.GPU_POWER_LIMIT_WATTS, (gpu.label,), milliwatts / 1000)


def sm_clock(nvml: Nvml, gpu: Gpu) -> Iterator[Reading]:
    megahertz = nvml.call("nvmlDeviceGetClockInfo", gpu.chip, CLOCK_SM)
    yield Reading(c.GPU_SM_CLOCK_HERTZ, (gpu.label,), megahertz * 1_000_000)


def energy(nvml: Nvml, gpu: Gpu) -> Iterator[Reading]:
    millijoules = nvml.call("nvmlDeviceGetTotalEnergyConsumption", gpu.handle)
    yield Reading(c.GPU_ENERGY_JOULES_TOTAL, (gpu.label,), millijoules / 1000)


def throttling(reason: str, policy: int) -> Probe:
    def probe(nvml: Nvml, gpu: Gpu) -> Iterator[Reading]:
        nanoseconds = nvml.call("nvmlDeviceGetViolationStatus", gpu.chip, policy).violationTime
        yield Reading(c.GPU_THROTTLE_SECONDS_TOTAL, (gpu.label, reason), nanoseconds / 1e9)

    return probe


def ecc_errors(severity: str, error_type: int) -> Probe:
    def probe(nvml: Nvml, gpu: Gpu) -> Iterator[Reading]:
        count = nvml.call("nvmlDeviceGetTotalEccErrors", gpu.handle, error_type, VOLATILE_ECC)
        yield Reading(c.GPU_ECC_ERRORS_TOTAL, (gpu.label, severity), count)

    return probe


PROBES: tuple[Probe, ...] = (
    utilization,
    memory,
    process_memory,
    temperature,
    slowdown_temperature,
    power,
    power_limit,
    sm_clock,
    energy,
    *(throttling(reason, policy) for reason, policy in THROTTLE_REASONS.items()),
    *(ecc_errors(severity, error_type) for severity, error_type in ECC_SEVERITIES.items()),
)


def info(gpu: Gpu, driver: str) -> Reading:
    labels = (gpu.label, gpu.uuid, gpu.name, gpu.pci_bus_id, driver, gpu.mig_profile)
    return Reading(c.GPU_INFO, labels, 1.0)


def read(nvml: Nvml, gpu: Gpu) -> tuple[list[Reading], list[NvmlError]]:
    """Gives the readings the device has, and the errors of those that failed this time.

    Raises:
        GpuLostError: The device is gone.
        DriverError: NVML as a whole is.
    """
    readings: list[Reading] = []
    failures: list[NvmlError] = []
    for probe in PROBES:
        try:
            readings.extend(probe(nvml, gpu))
        except (GpuLostError, DriverError):
            raise
        except ReadingAbsentError:
            continue
        except NvmlError as error:
            # Drivers differ in how they say that a MIG device has no such reading.
            if not (gpu.mig_profile and error.code == INVALID_ARGUMENT):
                failures.append(error)
    return readings, failures
