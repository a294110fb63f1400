"""What NVML and torch would have said of a made-up training's GPUs."""

from __future__ import annotations

from collections.abc import Iterator

from grafana.preview.made_up.openmetrics import Values, noise
from grafana.preview.made_up.runs import MadeUpRun

DEVICE = "NVIDIA H100 80GB HBM3"
GIB = 2**30


def device(run: MadeUpRun, rank: int) -> Iterator[tuple[str, dict[str, str], Values]]:
    gpu = {"gpu": str(rank)}
    of_device = int(2**32 * noise(run.host, rank)) % 16**8
    info = {
        "uuid": f"GPU-{of_device:08x}",
        "name": DEVICE,
        "pci_bus_id": f"00000000:{rank + 1:02X}:00.0",
        "driver": "580.159.04",
        "mig_profile": "",
    }

    def busy(t: float) -> float:
        level = {"training": 0.95, "evaluating": 0.72, "checkpointing": 0.18}.get(run.state(t), 0.0)
        return max(0.0, min(1.0, level - 0.1 * run.heat(t, rank) + 0.03 * noise(run.name, rank, t)))

    def degrees(t: float) -> float:
        return round(
            47 + 19 * busy(t) + 3 * rank % 4 + 17 * run.heat(t, rank) + noise(run.name, rank, "C", t)
        )

    def joules(t: float) -> float:
        return 560 * run.trained(t) + 120 * (t - run.started)

    yield "gpu_info", gpu | info, lambda t: 1
    yield "gpu_utilization_ratio", gpu, busy
    yield (
        "gpu_memory_used_bytes",
        gpu,
        lambda t: (run.memory_gib + noise(run.name, rank, int(t / 900))) * GIB,
    )
    yield "gpu_memory_total_bytes", gpu, lambda t: 79.6 * GIB
    yield "gpu_process_memory_used_bytes", gpu, lambda t: (run.memory_gib - 1.2) * GIB
    yield "gpu_temperature_celsius", gpu, degrees
    yield "gpu_slowdown_temperature_celsius", gpu, lambda t: 87
    yield "gpu_power_watts", gpu, lambda t: 120 + 540 * busy(t) - 60 * run.heat(t, rank)
    yield "gpu_power_limit_watts", gpu, lambda t: 700
    yield "gpu_sm_clock_hertz", gpu, lambda t: (1980 - 420 * run.heat(t, rank)) * 1e6
    yield "gpu_energy_joules_total", gpu, joules
    for reason in ("thermal", "power"):
        share = 0.34 if reason == "thermal" else 0.0

        def held(t: float, share: float = share) -> float:
            hot_since = run.started + 0.5 * run.epochs * run.epoch_seconds
            return max(0.0, t - hot_since) * share if rank == run.hot_rank else 0.0

        yield "gpu_throttle_seconds_total", gpu | {"reason": reason}, held
    for severity in ("corrected", "uncorrected"):
        some = severity == "corrected" and rank == run.hot_rank
        yield (
            "gpu_ecc_errors_total",
            gpu | {"severity": severity},
            lambda t, s=some: 2 + s * (run.done(t) // 1.5),
        )
    if rank == run.hot_rank:
        failed_at = run.started + 0.3 * run.epochs * run.epoch_seconds
        xid = gpu | {"xid": "63"}
        yield "gpu_xid_errors_total", xid, lambda t: 1 if t >= failed_at else None
        yield "gpu_xid_last_timestamp_seconds", xid, lambda t: failed_at if t >= failed_at else None
    yield "cuda_memory_allocated_bytes", gpu, lambda t: (run.memory_gib * (0.72 + 0.1 * busy(t))) * GIB
    yield "cuda_memory_reserved_bytes", gpu, lambda t: (run.memory_gib - 2) * GIB
    yield "cuda_memory_peak_allocated_bytes", gpu, lambda t: run.memory_gib * 0.9 * GIB
    retries = float(rank == run.hot_rank)
    yield "cuda_alloc_retries_total", gpu, lambda t: retries * (run.done(t) // 7)
