"""The machine's GPUs and MIG devices as NVML lists them: in PCI order, whatever CUDA_VISIBLE_DEVICES says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .nvml import INVALID_ARGUMENT, NOT_FOUND, GpuLostError, Nvml, NvmlError, ReadingAbsentError


@dataclass(frozen=True)
class Gpu:
    """A device that CUDA can give out: a whole GPU, or a MIG device of one.

    Attributes:
        label: nvidia-smi's number, "0"; for a MIG device the GPU's and its own, "0:1".
        mig_profile: "1g.5gb", empty for a whole GPU.
        handle: NVML's handle of the device.
        chip: NVML's handle of the GPU that carries it; of a whole GPU, its own.
        gpu_instance: NVML's number of the GPU instance, None for a whole GPU.
    """

    label: str
    uuid: str
    name: str
    pci_bus_id: str
    handle: Any
    chip: Any
    mig_profile: str = ""
    gpu_instance: int | None = None
    compute_instance: int | None = None


@dataclass(frozen=True)
class Board:
    """A physical GPU; `mig` is None unless it is in MIG mode, and then holds its MIG devices."""

    gpu: Gpu
    mig: tuple[Gpu, ...] | None = None


def read_boards(nvml: Nvml) -> list[Board]:
    """Gives the machine's GPUs in NVML's order, without those that may not be used or do not answer."""
    boards = []
    for index in range(nvml.call("nvmlDeviceGetCount")):
        try:
            boards.append(_read_board(nvml, index))
        except (ReadingAbsentError, GpuLostError):
            # Another job's device under cgroup rules, or a dead one: CUDA does not number them either.
            continue
    return boards


def _read_board(nvml: Nvml, index: int) -> Board:
    handle = nvml.call("nvmlDeviceGetHandleByIndex", index)
    gpu = Gpu(
        label=str(index),
        uuid=nvml.call("nvmlDeviceGetUUID", handle),
        name=nvml.call("nvmlDeviceGetName", handle),
        pci_bus_id=nvml.call("nvmlDeviceGetPciInfo", handle).busId,
        handle=handle,
        chip=handle,
    )
    return Board(gpu, _read_mig_devices(nvml, gpu))


def _read_mig_devices(nvml: Nvml, board: Gpu) -> tuple[Gpu, ...] | None:
    try:
        mode, _ = nvml.call("nvmlDeviceGetMigMode", board.handle)
    except ReadingAbsentError:
        return None
    if not mode:
        return None
    devices = []
    for slot in range(nvml.call("nvmlDeviceGetMaxMigDeviceCount", board.handle)):
        try:
            handle = nvml.call("nvmlDeviceGetMigDeviceHandleByIndex", board.handle, slot)
        except NvmlError as error:
            if error.code not in (NOT_FOUND, INVALID_ARGUMENT):
                raise
            continue  # an empty slot
        devices.append(_read_mig_device(nvml, board, handle, slot))
    return tuple(devices)


def _read_mig_device(nvml: Nvml, board: Gpu, handle: Any, slot: int) -> Gpu:
    # "NVIDIA A100-SXM4-40GB MIG 1g.5gb"
    name, _, profile = str(nvml.call("nvmlDeviceGetName", handle)).partition(" MIG ")
    return Gpu(
        label=f"{board.label}:{slot}",
        uuid=nvml.call("nvmlDeviceGetUUID", handle),
        name=name,
        pci_bus_id=board.pci_bus_id,
        handle=handle,
        chip=board.handle,
        mig_profile=profile or "unknown",
        gpu_instance=nvml.call("nvmlDeviceGetGpuInstanceId", handle),
        compute_instance=nvml.call("nvmlDeviceGetComputeInstanceId", handle),
    )
