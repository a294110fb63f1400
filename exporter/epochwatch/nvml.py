"""The seam to NVIDIA's management library: every call goes through here, every failure comes out as ours.

Error codes: NVML API reference, enum nvmlReturn_t (docs.nvidia.com/deploy/nvml-api).
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
from typing import Any

from .errors import EpochwatchError

LIBRARY = "nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1"

UNINITIALIZED = 1
INVALID_ARGUMENT = 2
NOT_SUPPORTED = 3
NO_PERMISSION = 4
NOT_FOUND = 6
DRIVER_NOT_LOADED = 9
TIMEOUT = 10
LIBRARY_NOT_FOUND = 12
FUNCTION_NOT_FOUND = 13
GPU_IS_LOST = 15
RESET_REQUIRED = 16
LIB_RM_VERSION_MISMATCH = 18
NO_DATA = 21
VGPU_ECC_NOT_SUPPORTED = 22
DEPRECATED = 26
GPU_NOT_FOUND = 28

ADVICE = {
    DRIVER_NOT_LOADED: "load the NVIDIA kernel driver until nvidia-smi works, or start with gpu=False",
    LIB_RM_VERSION_MISMATCH: "the driver was updated under a running kernel module; reboot the machine",
    GPU_IS_LOST: "it has fallen off the bus; dmesg has its Xid, the machine needs a reboot",
    RESET_REQUIRED: "end the processes on it, then nvidia-smi --gpu-reset",
}


class GpuError(EpochwatchError):
    """Why there are no GPU readings; told in the log and by exporter_collector_up, never raised to a loop.

    GpuError
    ├── NvmlError                a call failed; `code` is NVML's
    │   ├── ReadingAbsentError   this device or driver has no such reading
    │   ├── NvmlTimeoutError     nothing happened in the time given
    │   ├── GpuLostError         the device is gone until it is reset
    │   └── DriverError          nothing works any more; NVML must be initialised anew
    ├── StaleReadingsError       the driver does not answer
    └── OrderUnknownError        which device is this process's cannot be told
    """


class NvmlError(GpuError):
    def __init__(self, function: str, code: int, text: str) -> None:
        advice = f"; {ADVICE[code]}" if code in ADVICE else ""
        super().__init__(f"{function}: {text} (NVML error {code}){advice}")
        self.code = code


class ReadingAbsentError(NvmlError):
    pass


class NvmlTimeoutError(NvmlError):
    pass


class GpuLostError(NvmlError):
    pass


class DriverError(NvmlError):
    pass


KINDS: dict[int, type[NvmlError]] = {
    **dict.fromkeys(
        (NOT_SUPPORTED, NO_PERMISSION, FUNCTION_NOT_FOUND, NO_DATA, DEPRECATED), ReadingAbsentError
    ),
    VGPU_ECC_NOT_SUPPORTED: ReadingAbsentError,
    TIMEOUT: NvmlTimeoutError,
    **dict.fromkeys((GPU_IS_LOST, RESET_REQUIRED, GPU_NOT_FOUND), GpuLostError),
    **dict.fromkeys(
        (UNINITIALIZED, DRIVER_NOT_LOADED, LIBRARY_NOT_FOUND, LIB_RM_VERSION_MISMATCH), DriverError
    ),
}


def library_present() -> bool:
    """Tells whether this machine has NVML at all; loads the library, does not touch the driver."""
    try:
        ctypes.CDLL(LIBRARY)
    except OSError:
        return False
    return True


class Nvml:
    """One initialisation of NVML. The library counts them, so others in this process are not disturbed."""

    def __init__(self) -> None:
        """Loads the binding and initialises NVML; can take seconds, and for ever with a stuck driver.

        Raises:
            NvmlError: The library or its driver does not work.
        """
        # Not at import: 20 ms and 5 MB that a machine without a GPU need not spend.
        import pynvml

        self._binding: Any = pynvml
        self.call("nvmlInit")

    def call(self, function: str, *arguments: Any, **options: Any) -> Any:
        """Calls `function` of the binding and gives its answer.

        Raises:
            NvmlError: NVML said no, or is too old to have it (ReadingAbsentError).
        """
        try:
            return getattr(self._binding, function)(*arguments, **options)
        except self._binding.NVMLError as error:
            kind = KINDS.get(error.value, NvmlError)
            raise kind(function, error.value, str(error)) from None

    def close(self) -> None:
        """Gives the initialisation back."""
        with contextlib.suppress(NvmlError):  # gone already: as a rule the reason for closing
            self.call("nvmlShutdown")
