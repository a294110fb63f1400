"""Keeps what is known of a job in one JSON file a job, that outlives the scheduler and the machine.

A file is replaced whole and synced, so that a power cut leaves the old one or the new one.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from ..errors import StateError
from ..troubles import LOGGER
from .state import JobState

VERSION = 1
SUFFIX = ".job.json"
NAME_LIMIT_BYTES = 200  # of the 255 that a file's name may have
_TEXTS = ("schedule", "timezone", "last_outcome")
_COUNTS = ("runs", "log_matches")


def check_name(job: str) -> None:
    """Looks whether a job's name can be one of a file.

    Raises:
        StateError: If it cannot.
    """
    if "/" in job or job.startswith(".") or len(os.fsencode(job)) > NAME_LIMIT_BYTES:
        raise StateError(
            f"job {job!r} cannot name a file: give a name without '/', that starts with no '.' and has at "
            f"most {NAME_LIMIT_BYTES} bytes"
        )


class StateFile:
    """The file of one job in the state directory.

    Raises:
        StateError: If the job's name cannot be one of a file, or the directory cannot be made.
    """

    def __init__(self, directory: Path, job: str) -> None:
        check_name(job)
        self.path = directory / f"{job}{SUFFIX}"
        self._job = job
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unusable(directory, error) from error

    def stamp(self) -> int | None:
        """Gives what changes when the file is written; None if there is none."""
        try:
            return self.path.stat().st_mtime_ns
        except OSError:
            return None

    def read(self, otherwise: JobState | None = None) -> JobState:
        """Gives what the file says; if there is none, or it is damaged, which is then set aside, gives `otherwise`.

        Raises:
            StateError: If it cannot be read, or a newer epochwatch wrote it.
        """
        try:
            text = self.path.read_bytes()
        except FileNotFoundError:
            return otherwise or JobState()
        except OSError as error:
            raise _unusable(self.path, error) from error
        try:
            return parsed(text, self.path)
        except ValueError as error:
            self._set_aside(error)
            return otherwise or JobState()

    def write(self, state: JobState) -> None:
        """Replaces the file.

        Raises:
            StateError: If it cannot be written; the old one is still there.
        """
        unfinished = self.path.with_suffix(f".{os.getpid()}.tmp")
        content = json.dumps(
            {"version": VERSION, "job": self._job, **asdict(state)}, indent=1, ensure_ascii=False
        )
        try:
            with unfinished.open("w", encoding="utf-8") as file:
                file.write(content + "\n")
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(self.path)
            _sync_directory(self.path.parent)
        except OSError as error:
            with contextlib.suppress(OSError):
                unfinished.unlink()
            raise _unusable(self.path, error) from error

    def update(self, change: Callable[[JobState], JobState], otherwise: JobState | None = None) -> JobState:
        """Reads, changes and writes while nobody else does, and gives what was written.

        Args:
            otherwise: What is changed where the file says nothing; nothing known by default.

        Raises:
            StateError: As `read` and `write`.
        """
        with self._alone():
            state = change(self.read(otherwise))
            self.write(state)
            return state

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        # A scheduler and a run by hand may both have something to write about one job.
        path = self.path.with_suffix(".lock")
        descriptor = None
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            if descriptor is not None:
                os.close(descriptor)
            raise _unusable(path, error) from error
        try:
            yield
        finally:
            os.close(descriptor)

    def _set_aside(self, why: ValueError) -> None:
        aside = self.path.with_suffix(f".damaged-{int(time.time())}")
        try:
            self.path.replace(aside)
        except OSError as error:
            raise _unusable(self.path, error) from error
        LOGGER.warning(
            "%s is damaged (%s): it is kept as %s, and what it said of the runs of %s is lost",
            self.path,
            why,
            aside.name,
            self._job,
        )


def parsed(text: bytes, path: Path) -> JobState:
    """Takes a file's content and gives the state.

    Raises:
        StateError: If a newer epochwatch wrote it.
        ValueError: If it is damaged.
    """
    content = json.loads(text)
    if not isinstance(content, dict) or type(content.get("version")) is not int:
        raise ValueError("it has no version")
    if content["version"] > VERSION:
        raise StateError(
            f"{path} was written by a newer epochwatch (version {content['version']} of the format, this one knows "
            f"{VERSION}): use that one, or another state directory"
        )
    known = {each.name for each in fields(JobState)}
    return JobState(
        **{
            name: _checked(name, value)
            for name, value in content.items()
            if name in known and value is not None
        }
    )


def states(directory: Path) -> dict[str, JobState]:
    """Gives the state of every job in a directory, by its name, sorted; damaged files are left out and where they are.

    Raises:
        StateError: If the directory cannot be read, or a file is of a newer epochwatch.
    """
    try:
        paths = sorted(path for path in directory.iterdir() if path.name.endswith(SUFFIX))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise _unusable(directory, error) from error
    found = {}
    for path in paths:
        try:
            found[path.name.removesuffix(SUFFIX)] = parsed(path.read_bytes(), path)
        except ValueError as error:
            LOGGER.warning("%s is damaged (%s)", path, error)
        except FileNotFoundError:
            continue
    return found


def default_directory(environ: Mapping[str, str]) -> Path:
    """Gives where state is kept if nothing is said: EPOCHWATCH_STATE_DIR, else as the XDG base directories have it."""
    given = environ.get("EPOCHWATCH_STATE_DIR")
    if given:
        return Path(given)
    base = environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path(environ.get("HOME", "/")) / ".local" / "state") / "epochwatch"


def _fits(name: str, value: Any) -> bool:
    if name in _TEXTS:
        return isinstance(value, str)
    if name in _COUNTS:
        return isinstance(value, dict) and all(type(count) is int and count >= 0 for count in value.values())
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _checked(name: str, value: Any) -> Any:
    if not _fits(name, value):
        raise ValueError(f"{name} cannot be {value!r}")
    return value


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unusable(path: Path, error: OSError) -> StateError:
    return StateError(
        f"{path} cannot be used: {error.strerror or error}; give a directory that can be written "
        "(--state-dir, environment EPOCHWATCH_STATE_DIR)"
    )
