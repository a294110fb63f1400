"""Keeps the processes of the jobs: which belong to which, what they use, and that none is left, neither alive nor dead.

Whatever the commands started becomes ours when its parent is gone: this process is their subreaper, or process 1. There
is one nursery in a process, and whoever starts processes there by other means must not expect to find them after
`reap_orphans`.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Container, Iterable, Sequence
from threading import Lock
from typing import NamedTuple

import psutil

from ..supervised import RUN_ID
from .cgroup import Cgroup, own_cgroup
from .jobbook import Usage
from .spawn import Child

# Of what the command left running, at its end.
REST_GRACE_SECONDS = 5.0
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


class Reaped(NamedTuple):
    """A child's end: its exit code, or minus the signal; and the CPU it and those it waited for have used."""

    code: int
    cpu_seconds: float


class Nursery:
    """All processes below this one, but for our own, and those that were there before, which an entry point started.

    Args:
        cgroup: The group they are in.

    Raises:
        ValueError: If SIGCHLD is ignored, which only the main thread can change, and this is another.
    """

    def __init__(self, cgroup: Cgroup | None = None) -> None:
        self._cgroup = own_cgroup() if cgroup is None else cgroup
        self._lock = Lock()
        # By the pid of a run's command: the CPU of what it left behind and we reaped.
        self._orphans_cpu_seconds: dict[int, float] = {}
        self._run_ids: dict[int, str] = {}
        self._strangers = set(psutil.Process().children(recursive=True))
        if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
            # Inherited from whoever started this process: the kernel would bury the commands, and their ends with them.
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def start(self, run_id: str, spawn: Callable[[], Child]) -> Child:
        """Starts a command, whose environment has `run_id`, and takes care of it until `reap`."""
        with self._lock:  # or it could be taken for an orphan, or another run's, before it is known
            child = spawn()
            self._orphans_cpu_seconds[child.pid] = 0.0
            self._run_ids[child.pid] = run_id
        return child

    def assist(self, start: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
        """Starts a process of our own, which belongs to no run; its exit code may be lost to `reap_orphans`."""
        with self._lock:
            self._strangers = {one for one in self._strangers if one.is_running()}
            process = start()
            with contextlib.suppress(psutil.Error):
                self._strangers.add(psutil.Process(process.pid))
        return process

    def await_end(self, pid: int) -> None:
        """Blocks until a command has ended, and leaves it to be reaped."""
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

    def reap(self, pid: int) -> Reaped:
        """Waits for a command that was started, and forgets it."""
        _, status, used = os.wait4(pid, 0)
        self.reap_orphans()  # while it is still known whose they are
        with self._lock:
            orphans = self._orphans_cpu_seconds.pop(pid)
            del self._run_ids[pid]
        return Reaped(os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime + orphans)

    def abandon(self, pid: int) -> None:
        """Kills a command that nobody watches any more, with its descendants, and forgets it, unless it was reaped."""
        if pid in self._run_ids:
            self.kill(pid)
            self.end_rest(pid, 1.0)  # what it was about to start
            self.reap(pid)

    def reap_orphans(self) -> None:
        """Waits for those that have ended and have no parent but us, without waiting."""
        with self._lock, contextlib.suppress(ChildProcessError):
            while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
                if ended.si_pid in self._run_ids:
                    return  # its own thread waits for it; until then it hides the others
                session = os.getsid(ended.si_pid)
                _, _, used = os.wait4(ended.si_pid, 0)
                # One that has left the session can only be told apart where there is one run.
                owner = next(iter(self._run_ids), 0) if len(self._run_ids) == 1 else session
                if owner in self._orphans_cpu_seconds:
                    self._orphans_cpu_seconds[owner] += used.ru_utime + used.ru_stime

    def members(self, pid: int) -> list[psutil.Process]:
        """Gives the processes that a command and its descendants are, those it has left to us included."""
        with self._lock:
            processes = without(self._strangers, psutil.Process().children(recursive=True))
            others = self._run_ids.keys() - {pid}
        if not others:
            return processes
        run_id = self._run_ids.get(pid, "")
        return [process for process in processes if _belongs(process, pid, run_id)]

    def usage(self, pid: int) -> Usage:
        """Gives what a command and its descendants use now."""
        members = self.members(pid)
        cpu_seconds = self._orphans_cpu_seconds.get(pid, 0.0)
        resident_bytes = 0
        for process in members:
            with contextlib.suppress(psutil.Error), process.oneshot():
                times = process.cpu_times()
                cpu_seconds += times.user + times.system + times.children_user + times.children_system
                resident_bytes += process.memory_info().rss
        if self._cgroup is not None and len(self._run_ids) == 1:
            own = psutil.Process()
            group = self._cgroup.resident_bytes([own.pid, *(process.pid for process in members)])
            if group is not None:
                resident_bytes = max(0, group - _private_bytes(own))
        return Usage(cpu_seconds, resident_bytes)

    def end_rest(self, pid: int, grace_seconds: float) -> None:
        """Ends what a command has left behind: with SIGTERM, and after the grace with SIGKILL."""
        rest = [process for process in self.members(pid) if process.pid != pid]
        _send(rest, signal.SIGTERM)
        if not _wait(rest, min(grace_seconds, REST_GRACE_SECONDS)):
            self.kill(pid)
            _wait(rest, 1.0)

    def signal_all(self, number: int) -> None:
        """Sends a signal to the group of each command; waits for nothing, so that a signal handler may call it."""
        for pid in tuple(self._run_ids):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, number)

    def kill(self, pid: int) -> None:
        """Kills a command and all its descendants."""
        _send(self.members(pid), signal.SIGKILL)


def without(
    strangers: Container[psutil.Process], processes: Sequence[psutil.Process]
) -> list[psutil.Process]:
    """Takes processes, parents first, and gives those that are no strangers, nor below one."""
    foreign = {process.pid for process in processes if process in strangers}
    known = []
    for process in processes:
        if foreign and (process.pid in foreign or _parent(process) in foreign):
            foreign.add(process.pid)
        else:
            known.append(process)
    return known


def _parent(process: psutil.Process) -> int | None:
    with contextlib.suppress(psutil.Error):
        return int(process.ppid())
    return None


def _send(processes: Iterable[psutil.Process], number: int) -> None:
    """Sends a signal to processes, those that have ended by now left out."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.send_signal(number)


def _belongs(process: psutil.Process, pid: int, run_id: str) -> bool:
    with contextlib.suppress(psutil.Error, OSError):
        return os.getsid(process.pid) == pid or process.environ().get(RUN_ID) == run_id
    return False


def _private_bytes(process: psutil.Process) -> int:
    memory = process.memory_info()
    return int(memory.rss - memory.shared)


def _wait(processes: Sequence[psutil.Process], seconds: float) -> bool:
    """Waits until all have ended, so long at most, and tells whether they have."""
    deadline = time.monotonic() + seconds
    pause = 0.01
    while any(map(_is_alive, processes)):
        if time.monotonic() >= deadline:
            return False
        time.sleep(pause)
        pause = min(2 * pause, 0.5)
    return True


def _is_alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False
