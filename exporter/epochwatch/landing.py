"""Brings CUDA scalars to the host without waiting for the device.

A scalar is copied into pinned memory on the stream that makes it, with an event behind it; it is read when
the event has passed. The CUDA API is called from the training thread only: a query from another thread would
break a CUDA graph capture in progress (cudaStreamCaptureModeGlobal).
"""

from __future__ import annotations

from collections import deque
from typing import Any

FLYING_LIMIT = 1024


class Landing:
    """A value on its way to the host; once `landed`, `value` is it, or None if the device failed."""

    __slots__ = ("landed", "value")

    def __init__(self) -> None:
        self.landed = False
        self.value: float | None = None

    def land(self, value: float | None) -> None:
        """Settles the value; `landed` last, as another thread reads it first."""
        self.value = value
        self.landed = True


class PinnedCopies:
    """The asynchronous copies of one CUDA device, oldest first."""

    def __init__(self, torch: Any, device: Any) -> None:
        self._torch = torch
        self._device = device
        self._cells: dict[Any, list[Any]] = {}
        self._events: list[Any] = []
        self._next = 0
        self._flying: deque[tuple[Landing, Any, Any]] = deque()

    def __len__(self) -> int:
        return len(self._flying)

    def copy(self, tensor: Any) -> Landing | None:
        """Takes a one-element CUDA tensor and starts its copy; None if that is not possible just now.

        It is not while a CUDA graph is being captured and while 1024 copies are under way.

        Raises:
            RuntimeError: As `poll` does, which it does first.
        """
        torch = self._torch
        if torch.cuda.is_current_stream_capturing():
            return None
        self._land()
        if len(self._flying) >= FLYING_LIMIT:
            return None
        source = tensor.detach()
        # Conversion happens on the device; float32 holds every narrower type.
        narrow = source.is_floating_point() and source.element_size() <= 4
        cell = self._cells_of(torch.float32 if narrow else torch.float64)[self._next]
        event = self._event()
        cell.copy_(source.reshape(()), non_blocking=True)
        event.record(torch.cuda.current_stream(self._device))
        self._next = (self._next + 1) % FLYING_LIMIT
        landing = Landing()
        self._flying.append((landing, cell, event))
        return landing

    def poll(self) -> None:
        """Lands every copy whose event has passed, without waiting; none while a CUDA graph is being captured.

        Raises:
            RuntimeError: When the device has failed; whatever was under way is then given up.
        """
        if self._flying and not self._torch.cuda.is_current_stream_capturing():
            self._land()

    def _land(self) -> None:
        try:
            while self._flying and self._flying[0][2].query():
                landing, cell, _ = self._flying.popleft()
                landing.land(cell.item())
        except Exception:
            self.give_up()
            raise

    def give_up(self) -> None:
        """Settles everything under way as lost."""
        while self._flying:
            self._flying.popleft()[0].land(None)

    def _cells_of(self, dtype: Any) -> list[Any]:
        cells = self._cells.get(dtype)
        if cells is None:
            # Outside of inference mode, or the buffer could not be written outside of it later.
            with self._torch.inference_mode(False):
                buffer = self._torch.empty(FLYING_LIMIT, dtype=dtype, device="cpu", pin_memory=True)
                cells = self._cells[dtype] = [buffer[i] for i in range(FLYING_LIMIT)]
        return cells

    def _event(self) -> Any:
        if self._next == len(self._events):
            self._events.append(self._torch.cuda.Event())
        return self._events[self._next]
