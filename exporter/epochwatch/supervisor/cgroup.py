"""What the kernel says of this process's control group: its memory, and whom the OOM killer has ended; v1 and v2.

Sources: https://docs.kernel.org/admin-guide/cgroup-v2.html (memory.events, memory.stat),
https://docs.kernel.org/admin-guide/cgroup-v1/memory.html (memory.oom_control, memory.stat).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

# Without tmpfs in it, "rss" of v1 is what v2 calls anon.
_RESIDENT = {2: ("anon", "shmem"), 1: ("total_rss", "total_shmem")}


@dataclass(frozen=True)
class Cgroup:
    """A control group with a memory controller.

    Attributes:
        directory: Where it is mounted.
        version: 1 or 2.
    """

    directory: Path
    version: int

    def oom_kills(self) -> int | None:
        """Gives how many processes in it the kernel has killed for want of memory; None if it does not say."""
        name = "memory.events" if self.version == 2 else "memory.oom_control"
        return _numbers(self.directory / name).get("oom_kill")

    def resident_bytes(self, processes: Collection[int]) -> int | None:
        """Gives the memory in use, each page once; None if others than `processes` are in the group."""
        try:
            inside = {int(line) for line in (self.directory / "cgroup.procs").read_text().split()}
            if not inside <= set(processes) or any(path.is_dir() for path in self.directory.iterdir()):
                return None
        except (OSError, ValueError):
            return None
        known = _numbers(self.directory / "memory.stat")
        parts = [known[name] for name in _RESIDENT[self.version] if name in known]
        return sum(parts) if parts else None


class OomKills:
    """Counts the OOM killer's work: in this process's group where it has one, else on the whole machine.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        cgroup: Cgroup | None,
        vmstat: Path = Path("/proc/vmstat"),
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cgroup = cgroup
        self._vmstat = vmstat
        self._clock = clock
        self._seen = self.count()
        self._last_at = -math.inf

    def look(self) -> None:
        """Notices kills; called each second or so, they are known to the second."""
        count = self.count()
        if count != self._seen:
            self._seen, self._last_at = count, self._clock()

    def seconds_since_last(self) -> float:
        """Gives how long ago the last one was noticed; infinity if none was."""
        return self._clock() - self._last_at

    def count(self) -> int:
        """Gives how many there were so far."""
        killed = self._cgroup.oom_kills() if self._cgroup is not None else None
        return _numbers(self._vmstat).get("oom_kill", 0) if killed is None else killed


def own_cgroup(proc: Path = Path("/proc/self")) -> Cgroup | None:
    """Gives the group this process is in; None if there is none with a memory controller."""
    try:
        groups = [line.split(":", 2) for line in (proc / "cgroup").read_text().splitlines()]
        mounts = [line.split() for line in (proc / "mountinfo").read_text().splitlines()]
    except OSError:
        return None
    for _, controllers, path in groups:
        version = 2 if not controllers else 1
        if version == 1 and "memory" not in controllers.split(","):
            continue
        for mount in mounts:
            kind, options = mount[mount.index("-") + 1], mount[-1].split(",")
            if kind != ("cgroup2" if version == 2 else "cgroup") or (
                version == 1 and "memory" not in options
            ):
                continue
            # In a container the mount begins at the group itself, and the path is the host's.
            for directory in (Path(mount[4] + path), Path(mount[4])):
                name = "memory.events" if version == 2 else "memory.oom_control"
                if (directory / name).exists():
                    return Cgroup(directory, version)
    return None


def _numbers(path: Path) -> Mapping[str, int]:
    """Takes a file of names and numbers and gives them; nothing if it cannot be read."""
    try:
        pairs = [line.split() for line in path.read_text().splitlines()]
    except OSError:
        return {}
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdecimal()}
