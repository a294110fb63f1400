"""Carries a stream of the command's output to where it was going, and lets others have a look; a thread for each."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import threading
from collections.abc import Callable, Sequence

from ..troubles import Troubles

CHUNK_BYTES = 256 * 1024
# Whoever read our output is gone: a closed pipe, a terminal that hung up.
_GONE = {errno.EPIPE, errno.EIO, errno.EBADF, errno.ECONNRESET}


class Pump:
    """Reads `source` until its end and writes to `target` what comes, byte for byte and as soon as it comes.

    Args:
        source: Descriptor of the reading end; closed at the end.
        target: Descriptor that is written to.
        lookers: Are given the same bytes, after they were written.
        outlives_target: Whether to read on once nobody reads `target` any more; else the command is told so, as if
            it had written there itself.
    """

    def __init__(
        self,
        source: int,
        target: int,
        lookers: Sequence[Callable[[bytes], None]],
        *,
        outlives_target: bool,
        troubles: Troubles,
    ) -> None:
        self._source = source
        self._target = target
        self._lookers = lookers
        self._outlives_target = outlives_target
        self._troubles = troubles
        self._target_gone = False
        self._stop_read, self._stop_write = os.pipe2(os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name=f"epochwatch-pump-{target}", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def wait(self, seconds: float) -> bool:
        """Waits for the stream's end, so long at most, and tells whether it has come."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def stop(self) -> None:
        """Ends it though somebody may still write; what has come by then is carried."""
        with contextlib.suppress(OSError):  # it has ended by itself
            os.write(self._stop_write, b"!")

    def close(self) -> None:
        """Closes what `stop` needs; only after the thread's end."""
        os.close(self._stop_write)
        os.close(self._stop_read)

    def _run(self) -> None:
        try:
            while data := self._read():
                self._write(data)
                for look in self._lookers:
                    look(data)
                if self._target_gone and not self._outlives_target:
                    return
        except Exception as error:
            self._troubles.report_exception("output", error)
        finally:
            os.close(self._source)

    def _read(self) -> bytes:
        poll = select.poll()
        poll.register(self._source, select.POLLIN)
        poll.register(self._stop_read, select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in poll.poll()}
            try:
                return os.read(self._source, CHUNK_BYTES) if self._source in ready else b""
            except BlockingIOError:
                continue
            except OSError as error:
                if error.errno == errno.EIO:  # how the last close of a pseudo-terminal's other side is seen
                    return b""
                raise

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest and not self._target_gone:
            try:
                rest = rest[os.write(self._target, rest) :]
            except BlockingIOError:  # somebody else made the descriptor so
                select.select([], [self._target], [])
            except OSError as error:
                self._target_gone = error.errno in _GONE
                if self._target_gone and not self._outlives_target:
                    return  # the command is told, as it would be without us
                self._troubles.report(
                    "output",
                    f"{len(rest)} bytes of output cannot be passed on ({error.strerror}); the job goes on",
                )
                return
