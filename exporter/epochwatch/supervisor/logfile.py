"""The log of a job: the output as it came, turned over by size; a full disk costs the log, never the job."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import BinaryIO

from ..errors import JobError
from ..troubles import Troubles

RETRY_SECONDS = 10.0


class LogFile:
    """One file that is appended to, as FILE.1 and so on when it has its size; for any thread.

    Args:
        size_bytes: The most a file holds.
        files: How many old ones are kept.
    """

    def __init__(
        self,
        path: Path,
        size_bytes: int,
        files: int,
        troubles: Troubles,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._size_bytes = size_bytes
        self._files = files
        self._troubles = troubles
        self._clock = clock
        self._lock = Lock()
        self._file: BinaryIO | None = None
        self._written = 0
        self._lost = 0
        self._retry_at = -1.0

    def write(self, data: bytes) -> None:
        """Takes output; if it cannot be written it is counted, and the log is tried again after ten seconds."""
        with self._lock:
            if self._clock() < self._retry_at:
                self._lost += len(data)
                return
            try:
                self._write(data)
            except OSError as error:
                self._give_up(error)

    def close(self) -> None:
        """Closes the file."""
        with self._lock:
            self._let_go()

    def _let_go(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            try:
                file.close()
            except OSError as error:  # a network file system may refuse only now what was written
                self._troubles.report("log_file", f"{self._path}: {error.strerror or error}")

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        try:
            if self._lost:
                self._append(f"\n[epochwatch: {self._lost} bytes are missing here]\n".encode())
                self._lost = 0
            while rest:
                rest = rest[self._append(rest) :]
        except OSError:
            self._lost += len(rest)
            raise

    def _append(self, data: bytes | memoryview) -> int:
        file = self._ready_file()
        written = file.write(data[: max(1, self._size_bytes - self._written)]) or 0
        self._written += written
        return written

    def _ready_file(self) -> BinaryIO:
        if self._file is not None and self._written >= self._size_bytes:
            self._let_go()
            self._turn_over()
        if self._file is None:
            self._file = _opened(self._path)
            self._written = os.fstat(self._file.fileno()).st_size
            if self._written >= self._size_bytes:
                return self._ready_file()
        return self._file

    def _turn_over(self) -> None:
        for number in range(self._files - 1, 0, -1):
            older = numbered(self._path, number)
            if older.exists():
                older.replace(numbered(self._path, number + 1))
        self._path.replace(numbered(self._path, 1))

    def _give_up(self, error: OSError) -> None:
        self._retry_at = self._clock() + RETRY_SECONDS
        self._let_go()
        self._troubles.report(
            "log_file",
            f"{self._path} cannot be written ({error.strerror or error}); the job goes on without it, and it is "
            f"tried again every {RETRY_SECONDS:.0f} s",
        )


def numbered(path: Path, number: int) -> Path:
    """Gives the name of the `number`th old log."""
    return path.with_name(f"{path.name}.{number}")


def check(path: Path) -> None:
    """Makes sure that a log can be written, its directory included.

    Raises:
        JobError: If it cannot; says why.
    """
    try:
        _opened(path).close()
    except OSError as error:
        raise JobError(
            f"log_file {path} cannot be written: {error.strerror or error}; name a file in a directory that this user "
            "may write to (key log_file:, flag --log-file)"
        ) from error


def _opened(path: Path) -> BinaryIO:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("ab", buffering=0)
