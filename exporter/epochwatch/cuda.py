"""What torch's CUDA allocator holds on this process's devices.

Read from the allocator's own books at a scrape: no device is asked, nothing is waited for, and torch is not
imported, nor CUDA initialised, by looking.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import Any

from . import catalogue as c
from .collector import Reading
from .gpu_visibility import DeviceNames


class CudaSource:
    """Reads the allocator of every device this process has taken memory from.

    Args:
        environ: Where CUDA_VISIBLE_DEVICES stands.
        names: Gives what NVML calls the devices, so that `gpu` means the same here and there; None while that is
            being found out, when nothing is served rather than under a name that would change.
    """

    name = "cuda"

    def __init__(
        self,
        environ: Mapping[str, str],
        names: Callable[[], DeviceNames | None] = DeviceNames,
        modules: Mapping[str, ModuleType] = sys.modules,
    ) -> None:
        self._environ = environ
        self._names = names
        self._modules = modules

    def collect(self) -> Iterable[Reading]:
        """Gives nothing before torch has initialised CUDA."""
        torch = self._modules.get("torch")
        cuda = getattr(torch, "cuda", None)
        if cuda is None or not cuda.is_initialized() or (names := self._names()) is None:
            return
        visible = self._environ.get("CUDA_VISIBLE_DEVICES")
        for ordinal in range(cuda.device_count()):
            stats = cuda.memory_stats_as_nested_dict(ordinal)
            reserved = stats["reserved_bytes"]["all"]
            if not reserved["peak"]:
                continue
            allocated = stats["allocated_bytes"]["all"]
            label = (names.label(ordinal, uuid(cuda, ordinal)) or device_label(ordinal, visible),)
            yield Reading(c.CUDA_MEMORY_ALLOCATED_BYTES, label, float(allocated["current"]))
            yield Reading(c.CUDA_MEMORY_RESERVED_BYTES, label, float(reserved["current"]))
            yield Reading(c.CUDA_MEMORY_PEAK_ALLOCATED_BYTES, label, float(allocated["peak"]))
            yield Reading(c.CUDA_ALLOC_RETRIES_TOTAL, label, float(stats["num_alloc_retries"]))


def uuid(cuda: Any, ordinal: int) -> str | None:
    """Gives the UUID of a device; None before torch 2.4, whose properties have none."""
    found = getattr(cuda.get_device_properties(ordinal), "uuid", None)
    return None if found is None else str(found)


def device_label(ordinal: int, visible: str | None) -> str:
    """Takes torch's number of a device and gives the best guess at nvidia-smi's where NVML cannot be asked."""
    entries = [entry.strip() for entry in (visible or "").split(",")]
    if ordinal < len(entries) and all(entry.isdecimal() for entry in entries):
        return entries[ordinal]
    return str(ordinal)
