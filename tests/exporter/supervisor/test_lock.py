"""One holder at a time, whatever becomes of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from epochwatch.errors import StateError
from epochwatch.supervisor.lock import Lock, run_lock, schedule_lock

HOLD = """
import sys, time, subprocess
from pathlib import Path
from epochwatch.supervisor.lock import run_lock
lock = run_lock(Path(sys.argv[1]), "nightly")
assert lock.acquire()
child = subprocess.Popen(["sleep", "60"], pass_fds=[lock.descriptor])
print(child.pid, flush=True)
if sys.argv[2] == "release":
    lock.release()
    print("released", flush=True)
time.sleep(60)
"""


def test_one_at_a_time(tmp_path: Path) -> None:
    """A held lock is refused to others, also within one process, until it is given back."""
    first, second = run_lock(tmp_path, "nightly"), run_lock(tmp_path, "nightly")

    assert first.acquire()
    assert not first.acquire()
    assert not second.acquire()
    assert second.holder() == f"process {os.getpid()}"
    first.release()
    assert second.acquire()
    second.release()


def test_locks_of_jobs_are_their_own(tmp_path: Path) -> None:
    """Another job, and the scheduler's own lock, are not in the way."""
    locks = [run_lock(tmp_path, "a"), run_lock(tmp_path, "b"), schedule_lock(tmp_path, "a")]

    assert [lock.acquire() for lock in locks] == [True] * 3
    for lock in locks:
        lock.release()


def test_a_training_that_outlives_its_supervisor_keeps_the_lock(tmp_path: Path) -> None:
    """kill -9 of the holder frees the lock only once its child has ended too."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path, "keep"], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    with holder.stdout:
        child = int(holder.stdout.readline())
    holder.kill()
    holder.wait()
    lock = run_lock(tmp_path, "nightly")

    assert not lock.acquire()
    os.kill(child, signal.SIGKILL)
    while not lock.acquire():
        pass
    lock.release()


def test_a_process_left_behind_does_not_keep_a_released_lock(tmp_path: Path) -> None:
    """A daemon that a training has left does not keep the next run from starting."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path, "release"], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    with holder.stdout:
        child = int(holder.stdout.readline())
        assert holder.stdout.readline() == "released\n"
    lock = run_lock(tmp_path, "nightly")

    assert lock.acquire()
    lock.release()
    os.kill(child, signal.SIGKILL)
    holder.kill()
    holder.wait()


def test_a_full_disk_does_not_loosen_it(tmp_path: Path) -> None:
    """A lock is held although its holder's number cannot be written; it is then nobody's by name."""
    script = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from epochwatch.supervisor.lock import run_lock\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
        "first, second = (run_lock(Path(sys.argv[1]), 'nightly') for _ in range(2))\n"
        "assert first.acquire() and not second.acquire() and second.holder() == 'another process'"
    )

    assert subprocess.run([sys.executable, "-c", script, tmp_path], check=False).returncode == 0


def test_a_file_that_cannot_be_locked(tmp_path: Path) -> None:
    """The error says which file, why, and which option to use."""
    with pytest.raises(StateError, match=r"missing.* cannot be locked: No such file.*--state-dir"):
        Lock(tmp_path / "missing" / "nightly.running").acquire()
    with pytest.raises(StateError, match="cannot be locked: Is a directory"):
        Lock(tmp_path).acquire()
