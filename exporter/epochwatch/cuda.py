"""What torch's CUDA allocator holds on this process's devices.

Read from the allocator's own books at a scrape: no device is asked, nothing is waited for, and torch is not
imported, nor CUDA initialised, by looking.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from types import ModuleType

from . import catalogue as c
from .collector import Reading


class CudaSource:
    """Reads the allocator of every device this process has taken memory from."""

    name = "cuda"

    def __init__(self, environ: Mapping[str, str], modules: Mapping[str, ModuleType] = sys.modules) -> None:
        self._environ = environ
        self._modules = modules

    def collect(self) -> Iterable[Reading]:
        """Gives nothing before torch has initialised CUDA."""
        torch = self._modules.get("torch")
        cuda = getattr(torch, "cuda", None)
        if cuda is None or not cuda.is_initialized():
            return
        for ordinal in range(cuda.device_count()):
            stats = cuda.memory_stats_as_nested_dict(ordinal)
            reserved = stats["reserved_bytes"]["all"]
            if not reserved["peak"]:
                continue
            allocated = stats["allocated_bytes"]["all"]
            label = (device_label(ordinal, self._environ.get("CUDA_VISIBLE_DEVICES")),)
            yield Reading(c.CUDA_MEMORY_ALLOCATED_BYTES, label, float(allocated["current"]))
            yield Reading(c.CUDA_MEMORY_RESERVED_BYTES, label, float(reserved["current"]))
            yield Reading(c.CUDA_MEMORY_PEAK_ALLOCATED_BYTES, label, float(allocated["peak"]))
            yield Reading(c.CUDA_ALLOC_RETRIES_TOTAL, label, float(stats["num_alloc_retries"]))


def device_label(ordinal: int, visible: str | None) -> str:
    """Takes torch's number of a device and gives nvidia-smi's, where CUDA_VISIBLE_DEVICES lists numbers."""
    entries = [entry.strip() for entry in (visible or "").split(",")]
    if ordinal < len(entries) and all(entry.isdecimal() for entry in entries):
        return entries[ordinal]
    return str(ordinal)
