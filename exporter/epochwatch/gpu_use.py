"""Adds up what the GPUs did during a run, from readings taken now and then."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from . import catalogue as c
from .collector import Buckets, Reading
from .report.record import GpuUse


@dataclass
class Seen:
    """What was read of one GPU, by metric."""

    name: str = ""
    first: dict[str, float] = field(default_factory=dict)
    last: dict[str, float] = field(default_factory=dict)
    highest: dict[str, float] = field(default_factory=dict)
    total: dict[str, float] = field(default_factory=dict)
    count: dict[str, int] = field(default_factory=dict)

    def add(self, metric: str, value: float) -> None:
        self.first.setdefault(metric, value)
        self.last[metric] = value
        self.highest[metric] = max(value, self.highest.get(metric, value))
        self.total[metric] = self.total.get(metric, 0.0) + value
        self.count[metric] = self.count.get(metric, 0) + 1

    def mean(self, metric: c.Metric) -> float | None:
        count = self.count.get(metric.name, 0)
        return self.total[metric.name] / count if count else None


class GpuTally:
    """Takes readings of GPUs, gives a summary of each."""

    def __init__(self) -> None:
        self._gpus: dict[str, Seen] = {}

    def add(self, readings: Iterable[Reading]) -> None:
        """Takes all readings of one moment; those of other things are passed over."""
        for metric, labels, value in readings:
            if "gpu" not in metric.labels or isinstance(value, Buckets):
                continue
            seen = self._gpus.setdefault(labels[metric.labels.index("gpu")], Seen())
            if metric is c.GPU_INFO:
                seen.name = labels[metric.labels.index("name")]
            else:
                seen.add(metric.name, value)

    def uses(self) -> tuple[GpuUse, ...]:
        """Gives what is known of each GPU."""
        return tuple(_use(gpu, seen) for gpu, seen in sorted(self._gpus.items()))


def _use(gpu: str, seen: Seen) -> GpuUse:
    use = GpuUse(
        gpu,
        seen.name,
        samples=seen.count.get(c.GPU_MEMORY_USED_BYTES.name, 0),
        utilization_mean_ratio=seen.mean(c.GPU_UTILIZATION_RATIO),
        memory_peak_bytes=seen.highest.get(c.GPU_MEMORY_USED_BYTES.name),
        memory_total_bytes=seen.last.get(c.GPU_MEMORY_TOTAL_BYTES.name),
        allocated_peak_bytes=seen.highest.get(c.CUDA_MEMORY_PEAK_ALLOCATED_BYTES.name),
        power_mean_watts=seen.mean(c.GPU_POWER_WATTS),
        temperature_peak_celsius=seen.highest.get(c.GPU_TEMPERATURE_CELSIUS.name),
    )
    energy = c.GPU_ENERGY_JOULES_TOTAL.name
    if seen.count.get(energy, 0) > 1:
        use = replace(use, energy_joules=max(0.0, seen.last[energy] - seen.first[energy]))
    return use
