"""A lock between processes, that the kernel takes back when its holder dies however it dies."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from pathlib import Path

from ..errors import StateError

LISTING_SECONDS = 0.02


class Lock:
    """A lock on a file, which says which process took it.

    A child process that is given the descriptor holds the lock too: the training that outlives a killed supervisor
    still keeps a second one from starting.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    @property
    def descriptor(self) -> int | None:
        """Gives what a child must inherit to hold the lock as well; None while it is not held."""
        return self._descriptor

    def acquire(self) -> bool:
        """Takes the lock if nobody has it, and tells whether that is so now.

        Raises:
            StateError: If the file cannot be opened, or its file system has no locks.
        """
        if self._descriptor is not None:
            return False
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise self._unusable(error) from error
        try:
            if not _locked(descriptor):
                os.close(descriptor)
                return False
        except OSError as error:
            os.close(descriptor)
            raise self._unusable(error) from error
        self._descriptor = descriptor
        with contextlib.suppress(OSError):  # the disk is full; who holds it is a courtesy
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        return True

    def is_held(self) -> bool:
        """Tells whether somebody has it, for a listing; who acquires it in this very moment tries once more."""
        try:
            with self.path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except OSError as error:
            return error.errno in (errno.EWOULDBLOCK, errno.EACCES)
        return False

    def holder(self) -> str:
        """Names who took the lock last, as in "process 4711"."""
        with contextlib.suppress(OSError, ValueError):
            return f"process {int(self.path.read_text())}"
        return "another process"

    def release(self) -> None:
        """Gives the lock back, also for children that have inherited it."""
        if self._descriptor is None:
            return
        with contextlib.suppress(OSError):
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        os.close(self._descriptor)
        self._descriptor = None

    def _unusable(self, error: OSError) -> StateError:
        return StateError(
            f"{self.path} cannot be locked: {error.strerror or error}; give a state directory on a file system with "
            "locks that can be written (--state-dir, environment EPOCHWATCH_STATE_DIR)"
        )


def run_lock(directory: Path, job: str) -> Lock:
    """Gives the lock that is held while a job runs."""
    return Lock(directory / f"{job}.running")


def schedule_lock(directory: Path, job: str) -> Lock:
    """Gives the lock that is held while a scheduler has charge of a job."""
    return Lock(directory / f"{job}.scheduled")


def _locked(descriptor: int) -> bool:
    for pause_seconds in (LISTING_SECONDS, 0.0):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise
        # A listing that looks whether it is held has it for a moment.
        time.sleep(pause_seconds)
    return False
