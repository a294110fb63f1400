"""Tells Prometheus where this run is: one file_sd file per process, in a directory that Prometheus watches.

The file goes when the run ends in order. After a crash it stays, so that the death is seen, until the next
start on this host clears it away.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

_NAME = re.compile(
    r"epochwatch-(?P<host>[^-]+)(-(?P<container>[0-9a-f]{12}))?-(?P<pid>\d+)-(?P<port>\d+)\.json"
)
# PROC_PID_INIT_INO of Linux's include/linux/proc_ns.h: outside of all containers.
_MACHINE_NAMESPACE = 0xEFFFFFFC


class TargetFile:
    """The file_sd file of one process.

    Prometheus refuses the whole file over one label value that is no text.

    Args:
        container: What tells this process's ids from those of another container; empty outside of all. It is read from
            the kernel if it is not given.
    """

    def __init__(
        self, directory: Path, host: str, pid: int, port: int, *, container: str | None = None
    ) -> None:
        self._host = re.sub(r"[^A-Za-z0-9.]", "_", host)
        self._container = own_container() if container is None else container
        self._directory = directory
        where = "-".join(filter(None, (self._host, self._container)))
        self.path = directory / f"epochwatch-{where}-{pid}-{port}.json"

    def write(self, target: str, labels: Mapping[str, str]) -> None:
        """Writes the file whole, then clears away those of this host's dead processes.

        Args:
            target: `host:port` as Prometheus is to reach it.
            labels: Further labels; those that start with `__` only steer the scrape.

        Raises:
            OSError: If the directory cannot be made or written.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        # Not .json, or Prometheus could read it half written.
        unfinished = self.path.with_suffix(".tmp")
        unfinished.write_text(json.dumps([{"targets": [target], "labels": dict(labels)}]) + "\n")
        unfinished.replace(self.path)
        self._clear_dead(target)

    def remove(self) -> None:
        """Removes the file."""
        self.path.unlink(missing_ok=True)

    def _clear_dead(self, target: str) -> None:
        for path in self._directory.glob("epochwatch-*.json"):
            named = _NAME.fullmatch(path.name)
            if named and named["host"] == self._host and path != self.path:
                # In a folder with the sticky bit (1777) another user's file cannot be removed.
                with suppress(OSError):
                    if self._is_dead(named) or _announces(path, target):
                        path.unlink(missing_ok=True)

    def _is_dead(self, named: re.Match[str]) -> bool:
        # Of a process of another container nobody here can tell.
        return (named["container"] or "") == self._container and not is_alive(int(named["pid"]))


def own_container() -> str:
    """Gives what tells this process's ids from those of another container on this or another machine.

    Containers may share a host name (--network host, hostNetwork, two of one compose service), and each counts its
    processes from 1. Gives an empty text outside of all containers, and where the kernel does not say.
    """
    try:
        namespace = Path("/proc/self/ns/pid").stat().st_ino
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
    except OSError:
        return ""
    if namespace == _MACHINE_NAMESPACE:
        return ""
    return hashlib.sha256(f"{boot}{namespace}".encode()).hexdigest()[:12]


def is_alive(pid: int) -> bool:
    """Tells whether a process of that id runs in this container or on this host."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _announces(path: Path, target: str) -> bool:
    """Tells whether a file announces `target` alone: only one process can listen there, and this one does."""
    try:
        return [group["targets"] for group in json.loads(path.read_text())] == [[target]]
    except (ValueError, KeyError, TypeError):
        return False
