"""Tells Prometheus where this run is: one file_sd file per process, in a directory that Prometheus watches.

The file goes when the run ends in order. After a crash it stays, so that the death is seen, until the next
start on this host clears it away.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

_NAME = re.compile(r"epochwatch-(?P<host>.+)-(?P<pid>\d+)-(?P<port>\d+)\.json")


class TargetFile:
    """The file_sd file of one process.

    Prometheus refuses the whole file over one label value that is no text.
    """

    def __init__(self, directory: Path, host: str, pid: int, port: int) -> None:
        self._host = re.sub(r"[^A-Za-z0-9.]", "_", host)
        self._directory = directory
        self.path = directory / f"epochwatch-{self._host}-{pid}-{port}.json"

    def write(self, target: str, labels: Mapping[str, str]) -> None:
        """Writes the file whole, after clearing away those of this host's dead processes.

        Args:
            target: `host:port` as Prometheus is to reach it.
            labels: Further labels; those that start with `__` only steer the scrape.

        Raises:
            OSError: If the directory cannot be made or written.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        self._clear_dead()
        # Not .json, or Prometheus could read it half written.
        unfinished = self.path.with_suffix(".tmp")
        unfinished.write_text(json.dumps([{"targets": [target], "labels": dict(labels)}]) + "\n")
        unfinished.replace(self.path)

    def remove(self) -> None:
        """Removes the file."""
        self.path.unlink(missing_ok=True)

    def _clear_dead(self) -> None:
        for path in self._directory.glob("epochwatch-*.json"):
            named = _NAME.fullmatch(path.name)
            if named and named["host"] == self._host and not is_alive(int(named["pid"])):
                path.unlink(missing_ok=True)


def is_alive(pid: int) -> bool:
    """Tells whether a process of that id runs on this host."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
