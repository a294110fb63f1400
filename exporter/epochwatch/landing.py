"""Brings CUDA scalars to the host without waiting for the device.

The values of a step are copied within the device into one chunk, by one launch for all of them. A chunk that is full,
or a quarter of a second old, is copied to pinned memory on the stream that made the values, with an event behind it; it
is read when the event has passed. A launch is the dear part (some 10 us, where `detach` takes 1), so that copying every
value to the host by itself, with an event each, costs twice as much.

The CUDA API is called from the training thread only: a query from another thread would break a CUDA graph capture
in progress (cudaStreamCaptureModeGlobal).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

CHUNK_VALUES = 128
CHUNKS = 8
FLUSH_SECONDS = 0.25


class Landing:
    """A value on its way to the host; once `landed`, `value` is it, or None if it was lost."""

    __slots__ = ("landed", "value")

    def __init__(self) -> None:
        self.landed = False
        self.value: float | None = None

    def land(self, value: float | None) -> None:
        """Settles the value; `landed` last, as another thread reads it first."""
        self.value = value
        self.landed = True


class Chunk:
    """Values of one stream on the device, the pinned memory they go to, and the event behind the copy."""

    def __init__(self, torch: Any, values: Any, host: Any) -> None:
        self.values = values
        self.host = host
        self.cells = [values[i] for i in range(CHUNK_VALUES)]
        self.event = torch.cuda.Event()
        self.stream: Any = None
        self.landings: list[Landing] = []

    def land(self) -> None:
        """Settles every value from the pinned memory."""
        for landing, value in zip(self.landings, self.host.tolist(), strict=False):
            landing.land(value)
        self.landings.clear()

    def give_up(self) -> None:
        """Settles every value as lost."""
        for landing in self.landings:
            landing.land(None)
        self.landings.clear()


class PinnedCopies:
    """The asynchronous copies of one CUDA device in one type, oldest first.

    Args:
        torch: The module.
        device: The device's number.
        dtype: Of the chunks: float32 holds every narrower type, float64 the rest.
    """

    def __init__(self, torch: Any, device: int, dtype: Any) -> None:
        self._torch = torch
        self._device = device
        self._dtype = dtype
        self._current_stream = raw_stream_reader(torch)
        self._raw_stream: int | None = None
        self._stream: Any = None
        self._staged: list[tuple[Landing, Any]] = []
        self._filling: Chunk | None = None
        self._flying: deque[Chunk] = deque()
        self._free: list[Chunk] | None = None
        self._flushed_at = float("-inf")

    def __len__(self) -> int:
        """Gives how many values are on their way."""
        filling = len(self._filling.landings) if self._filling is not None else 0
        return len(self._staged) + filling + sum(len(chunk.landings) for chunk in self._flying)

    def stage(self, tensor: Any) -> Landing:
        """Takes a one-element CUDA tensor that `send` is to copy, before anything else happens on its stream."""
        source = tensor.detach()
        landing = Landing()
        self._staged.append((landing, source if source.ndim == 0 else source.reshape(())))
        return landing

    def send(self, now: float) -> bool:
        """Starts the copies of what is staged, in its order; `now` is a clock's time in seconds.

        Returns:
            Whether all could be copied. They cannot while a CUDA graph is being captured, of which the copy would
            become a part, and while 1024 others are under way; what is left is then lost.

        Raises:
            RuntimeError: When the device has failed; whatever was under way is then given up.
        """
        staged, self._staged = self._staged, []
        try:
            capturing = self._torch.cuda.is_current_stream_capturing()
            due = now - self._flushed_at >= FLUSH_SECONDS
            while staged:
                piece = staged[:CHUNK_VALUES]
                chunk = None if capturing else self._chunk_for(len(piece))
                if chunk is None:
                    lose(staged)
                    return False
                used = len(chunk.landings)
                chunk.landings.extend(landing for landing, _ in piece)
                copy_all(self._torch, chunk.cells[used : used + len(piece)], [source for _, source in piece])
                if due or len(chunk.landings) == CHUNK_VALUES:
                    self._flush()
                    self._flushed_at = now
                del staged[:CHUNK_VALUES]
        except Exception:
            lose(staged)
            self.give_up()
            raise
        return True

    def poll(self) -> None:
        """Sends what was not sent yet and lands what has arrived, without waiting; not while a graph is captured.

        Raises:
            RuntimeError: When the device has failed; whatever was under way is then given up.
        """
        if not len(self) or self._torch.cuda.is_current_stream_capturing():
            return
        try:
            if self._filling is not None:
                self._flush()
            self._land()
        except Exception:
            self.give_up()
            raise

    def give_up(self) -> None:
        """Settles everything under way as lost."""
        if self._filling is not None:
            self._flying.append(self._filling)
            self._filling = None
        # Not used again: a failed device may still write to them.
        for chunk in self._flying:
            chunk.give_up()
        self._flying.clear()

    def _chunk_for(self, count: int) -> Chunk | None:
        """Gives the chunk that takes `count` values, 128 at most, of the current stream; None if there is none."""
        self._land()
        raw = self._current_stream(self._device)
        if raw != self._raw_stream:
            self._raw_stream, self._stream = raw, self._torch.cuda.current_stream(self._device)
        chunk = self._filling
        if chunk is not None and (
            chunk.stream is not self._stream or len(chunk.landings) + count > CHUNK_VALUES
        ):
            self._flush()
        if self._filling is None:
            self._filling = self._new_chunk()
        return self._filling

    def _new_chunk(self) -> Chunk | None:
        if self._free is None:
            self._free = new_chunks(self._torch, self._device, self._dtype)
        if not self._free:
            return None
        chunk = self._free.pop()
        chunk.stream = self._stream
        return chunk

    def _flush(self) -> None:
        """Starts the copy of the chunk to the host, on the stream that its values were made on."""
        chunk, self._filling = self._filling, None
        if chunk is None:
            return
        self._flying.append(chunk)
        if self._current_stream(self._device) == chunk.stream.cuda_stream:
            chunk.host.copy_(chunk.values, non_blocking=True)
        else:
            with self._torch.cuda.stream(chunk.stream):
                chunk.host.copy_(chunk.values, non_blocking=True)
        chunk.event.record(chunk.stream)

    def _land(self) -> None:
        while self._flying and self._flying[0].event.query():
            chunk = self._flying.popleft()
            chunk.land()
            if self._free is not None:
                self._free.append(chunk)


def new_chunks(torch: Any, device: int, dtype: Any) -> list[Chunk]:
    """Gives all the chunks there will be.

    At once and at the first value, because taking memory, pinned memory above all, may synchronise the device (CUDA
    C++ Programming Guide, "Implicit Synchronization").
    """
    # Outside of inference mode, or the memory could not be written outside of it later.
    with torch.inference_mode(False):
        values = torch.empty((CHUNKS, CHUNK_VALUES), dtype=dtype, device=device)
        host = torch.empty((CHUNKS, CHUNK_VALUES), dtype=dtype, device="cpu", pin_memory=True)
        return [Chunk(torch, values[i], host[i]) for i in range(CHUNKS)]


def lose(staged: list[tuple[Landing, Any]]) -> None:
    """Settles what was staged as lost."""
    for landing, _ in staged:
        landing.land(None)


def copy_all(torch: Any, cells: list[Any], sources: list[Any]) -> None:
    """Copies each source into its cell, by one launch where they are alike."""
    if len(sources) > 1:
        torch._foreach_copy_(cells, sources)
    else:
        cells[0].copy_(sources[0])


def raw_stream_reader(torch: Any) -> Callable[[int], int]:
    """Gives what tells the current stream of a device by its address.

    torch.cuda.current_stream makes an object, in 5 us; what torch's own compiler uses takes 0.3 us.
    """
    quick = getattr(torch._C, "_cuda_getCurrentRawStream", None)
    return quick or (lambda device: torch.cuda.current_stream(device).cuda_stream)
