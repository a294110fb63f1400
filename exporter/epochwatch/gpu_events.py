"""Xid errors: waited for on a thread of their own, counted per device, kept across NVML's ups and downs.

A critical Xid is often the last thing a driver says before its calls stop returning, so these counts are
served whatever becomes of the other readings.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from . import catalogue as c
from .collector import Reading
from .gpu_devices import Gpu
from .nvml import DriverError, GpuLostError, Nvml, NvmlError, NvmlTimeoutError, ReadingAbsentError

XID_EVENT = 0x8  # nvmlEventTypeXidCriticalError
ANY_INSTANCE = 0xFFFFFFFF  # the event concerns the whole GPU
# The Xids that end a training. Their counters start at 0, so that the first one is an increase to a rule.
CRITICAL_XIDS = (48, 62, 64, 74, 79, 95, 119, 120)
WAIT_MILLISECONDS = 250
FIRST_RETRY_SECONDS = 1.0
LAST_RETRY_SECONDS = 60.0


class XidLedger:
    """How often and when each Xid was seen, per device."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: dict[tuple[str, int], tuple[int, float | None]] = {}

    def watch(self, label: str) -> None:
        """Starts the counters of the critical Xids of a device that reports events."""
        with self._lock:
            for xid in CRITICAL_XIDS:
                self._seen.setdefault((label, xid), (0, None))

    def count(self, label: str, xid: int, at: float) -> None:
        """Counts one Xid of a device, seen at Unix time `at`."""
        with self._lock:
            count, _ = self._seen.get((label, xid), (0, None))
            self._seen[label, xid] = (count + 1, at)

    def readings(self) -> list[Reading]:
        with self._lock:
            seen = list(self._seen.items())
        readings = []
        for (label, xid), (count, last) in seen:
            labels = (label, str(xid))
            readings.append(Reading(c.GPU_XID_ERRORS_TOTAL, labels, count))
            if last is not None:
                readings.append(Reading(c.GPU_XID_LAST_TIMESTAMP_SECONDS, labels, last))
        return readings


class XidWatch:
    """Waits for the Xids of `gpus` and enters them into `ledger`, until told to stop."""

    def __init__(
        self,
        nvml: Nvml,
        gpus: Sequence[Gpu],
        ledger: XidLedger,
        *,
        on_error: Callable[[str, Exception], None],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._nvml = nvml
        self._gpus = tuple(gpus)
        self._ledger = ledger
        self._on_error = on_error
        self._now = now
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="epochwatch-gpu-xid", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self, timeout_seconds: float) -> bool:
        """Stops the watch; tells whether its thread has ended in time."""
        self._stop.set()
        self._thread.join(timeout_seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        retry_seconds = FIRST_RETRY_SECONDS
        while not self._stop.is_set():
            try:
                self._watch()
                return
            except DriverError:
                return  # the sampler meets it too, says so, and starts another watch
            except NvmlError as error:
                # A lost device makes every wait fail at once: without a pause this would spin.
                self._on_error("nvml_xid", error)
                self._stop.wait(retry_seconds)
                retry_seconds = min(2 * retry_seconds, LAST_RETRY_SECONDS)
            except Exception as error:
                self._on_error("nvml_xid", error)
                return

    def _watch(self) -> None:
        """Waits for events until told to stop; returns at once if no device reports them."""
        events = self._nvml.call("nvmlEventSetCreate")
        try:
            watched = [gpu for gpu in self._gpus if self._register(gpu, events)]
            while watched and not self._stop.is_set():
                try:
                    event = self._nvml.call("nvmlEventSetWait_v2", events, WAIT_MILLISECONDS)
                except NvmlTimeoutError:
                    continue
                self._enter(event, watched)
        finally:
            self._free(events)

    def _register(self, gpu: Gpu, events: Any) -> bool:
        try:
            # Events belong to the chip; those of another MIG device are sorted out when they come.
            self._nvml.call("nvmlDeviceRegisterEvents", gpu.chip, XID_EVENT, events)
        except (ReadingAbsentError, GpuLostError):
            return False
        self._ledger.watch(gpu.label)
        return True

    def _enter(self, event: Any, watched: Sequence[Gpu]) -> None:
        if event.eventType != XID_EVENT:
            return
        for gpu in concerned(event, watched):
            self._ledger.count(gpu.label, int(event.eventData), self._now())

    def _free(self, events: Any) -> None:
        try:
            self._nvml.call("nvmlEventSetFree", events)
        except NvmlError as error:
            if not isinstance(error, DriverError):
                self._on_error("nvml_xid", error)


def concerned(event: Any, gpus: Iterable[Gpu]) -> Iterator[Gpu]:
    """Takes an event and gives the devices among `gpus` that it concerns.

    An Xid that the driver lays at the door of one GPU instance concerns no other MIG device of the chip.
    """
    chip = _address(event.device)
    for gpu in gpus:
        if _address(gpu.chip) != chip:
            continue
        if gpu.gpu_instance is None or event.gpuInstanceId in (ANY_INSTANCE, gpu.gpu_instance):
            yield gpu


def _address(handle: Any) -> int | None:
    return ctypes.cast(handle, ctypes.c_void_p).value
