"""The GPU readings as a source of the collector: the sampler's last word, its age judged, never a wait."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from .collector import Reading
from .gpu_events import XidLedger
from .gpu_sampler import Sampler
from .gpu_session import OnError, Session, open_session
from .gpu_visibility import DeviceNames
from .nvml import GpuError, library_present
from .ranks import Place


@dataclass(frozen=True)
class Pace:
    """How often the devices are read.

    Attributes:
        period_seconds: From one reading to the next.
        stale_after_seconds: Age from which on readings are not served and the source counts as down.
        pause_after_seconds: Time without a scrape after which reading pauses; longer than any scrape
            interval that Prometheus' look-back of 5 minutes allows.
        close_seconds: Longest wait at the end for a driver call that may never return.
    """

    period_seconds: float = 1.0
    stale_after_seconds: float = 15.0
    pause_after_seconds: float = 300.0
    close_seconds: float = 1.0


DEFAULT_PACE = Pace()


class StaleReadingsError(GpuError):
    pass


class GpuSource:
    """This rank's GPUs, read on an own thread: a stuck driver makes readings old, never a scrape slow."""

    name = "nvml"

    def __init__(
        self,
        environ: Mapping[str, str],
        place: Place,
        *,
        on_error: OnError,
        pace: Pace,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._environ = environ
        self._place = place
        self._on_error = on_error
        self._pace = pace
        self._now = now
        self._clock = clock
        self._pid = 0
        self._sampler: Sampler | None = None
        self._ledger = XidLedger()
        # By process: a lock that another thread held at a fork stays locked in the child.
        self._locks: dict[int, threading.Lock] = {}
        self._closed = False
        self._uuids: tuple[str, ...] = ()
        self._names: DeviceNames | None = None

    def start(self) -> None:
        """Starts to sample; returns at once, whatever state the driver is in. Harmless if started already."""
        pid = os.getpid()
        with self._locks.setdefault(pid, threading.Lock()):
            if self._closed or self._pid == pid:
                return
            self._ledger = XidLedger()
            self._sampler = Sampler(
                self._open_session,
                period_seconds=self._pace.period_seconds,
                pause_after_seconds=self._pace.pause_after_seconds,
                now=self._now,
                clock=self._clock,
            )
            self._sampler.start()
            self._pid = pid

    def close(self) -> None:
        """Stops to sample. Waits a moment for the threads, not for a driver that does not answer."""
        with self._locks.setdefault(os.getpid(), threading.Lock()):
            self._closed = True
            sampler, self._sampler = self._sampler, None
        # Not in a forked child: there the threads are gone, and their locks may be held for ever.
        if sampler is not None and self._pid == os.getpid():
            sampler.close(self._pace.close_seconds)

    def collect(self) -> Iterator[Reading]:
        """Gives the last readings, and the Xid counts whether there are readings or not.

        Raises:
            GpuError: NVML does not work, or the last readings are too old.
        """
        if self._pid not in (0, os.getpid()):
            self.start()  # neither the threads nor NVML came along through a fork
        yield from self._ledger.readings()
        sampler = self._sampler
        if sampler is None:
            return
        sampler.ask()
        state = sampler.state
        if state.failure is not None:
            # The one exception is raised at every scrape, and would collect every scrape's frames.
            raise state.failure.with_traceback(None)
        now = self._clock()
        if state.sampled_clock is not None and now - state.sampled_clock <= self._pace.stale_after_seconds:
            yield from state.readings
        elif state.awake_since is not None and now - state.awake_since > self._pace.stale_after_seconds:
            raise StaleReadingsError(
                "the NVIDIA driver has not answered for more than "
                f"{self._pace.stale_after_seconds:g} s; nvidia-smi will hang too, dmesg says why (NVRM, Xid)"
            )

    def sampled_at(self) -> float | None:
        sampler = self._sampler
        return None if sampler is None else sampler.state.sampled_at

    def sampling_seconds(self) -> float | None:
        sampler = self._sampler
        return None if sampler is None else sampler.state.sampling_seconds

    def names(self) -> DeviceNames | None:
        """Gives what the devices are called; nothing in it if NVML does not work, None while that is not known."""
        sampler = self._sampler
        if self._names is None and (sampler is None or sampler.state.failure is not None):
            return DeviceNames()
        return self._names

    def _open_session(self) -> Session:
        session = open_session(
            self._environ,
            self._place,
            self._ledger,
            uuids=self._uuids,
            on_error=self._on_error,
            now=self._now,
        )
        if self._names is None:
            # As at first: with a GPU lost since, positions and numbers would name others.
            self._names = session.names
        if not self._uuids:
            self._uuids = tuple(gpu.uuid for gpu in session.gpus)
        return session


def gpu_source(
    place: Place,
    *,
    on_error: OnError,
    environ: Mapping[str, str] = os.environ,
    pace: Pace = DEFAULT_PACE,
) -> GpuSource | None:
    """Gives the source of this rank's GPUs, not started; None on a machine without NVIDIA's library.

    Args:
        environ: Read when NVML is opened, as CUDA reads it when it is: a script may set it until then.
    """
    if not library_present():
        return None
    return GpuSource(environ, place, on_error=on_error, pace=pace)
