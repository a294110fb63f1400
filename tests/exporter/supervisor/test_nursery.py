"""The processes of jobs: each run's own, none left behind; as process 1, and in a control group that is too small."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest
from tests.exporter.event_receiver import Receiver

from epochwatch.supervisor.cgroup import Cgroup, own_cgroup

from .conftest import RUN

LIMIT_BYTES = 300_000_000

# In a process of its own: a nursery takes all orphans of its process.
TWO_RUNS = """
import contextlib, os, signal, subprocess, sys, time
import psutil
from epochwatch.supervised import RUN_ID
from epochwatch.supervisor.nursery import Nursery
from epochwatch.supervisor.spawn import spawn

def start(name, script):
    env = {**os.environ, RUN_ID: name}
    return nursery.start(name, lambda: spawn(["sh", "-c", script], env, None))

def sleepers(child):
    names = []
    for process in nursery.members(child.pid):
        with contextlib.suppress(psutil.Error):
            names.append(process.name())
    return names.count("sleep")

nursery = Nursery()
burn = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done"
one = start("one", f"(setsid sh -c '{burn}; NAP1' &) ; (sh -c '{burn}' &); NAP1")
two = start("two", "NAP2 & NAP2")
deadline = time.monotonic() + 20
while [sleepers(one), sleepers(two)] != [2, 2]:
    assert time.monotonic() < deadline, nursery.members(one.pid)
    nursery.reap_orphans()
    time.sleep(0.05)
used = nursery.usage(one.pid)
assert nursery.usage(two.pid).cpu_seconds < used.cpu_seconds
assert used.cpu_seconds > 0.01 and used.resident_bytes > 1e6, used
nursery.kill(one.pid)
nursery.await_end(one.pid)
nursery.end_rest(one.pid, 5.0)
code, cpu_seconds = nursery.reap(one.pid)
assert (code, cpu_seconds > 0.01) == (-9, True)
deadline = time.monotonic() + 20
while subprocess.run(["pgrep", "-fx", "NAP1"], stdout=subprocess.DEVNULL).returncode == 0:
    assert time.monotonic() < deadline
assert len(nursery.members(two.pid)) >= 2
nursery.kill(two.pid)
assert nursery.reap(two.pid).code == -9
print("done")
"""


def test_two_runs_keep_apart(nap: str) -> None:
    """What left the first one's session is still the first one's, its CPU too, and the second is not touched."""
    done = subprocess.run(
        [sys.executable, "-c", TWO_RUNS.replace("NAP", nap)], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("done\n", "")


ONE_ENDS_AS_ANOTHER_STARTS = """
import os, threading
from epochwatch.supervised import RUN_ID
from epochwatch.supervisor.nursery import Nursery
from epochwatch.supervisor.spawn import spawn

def spawned(name, script):
    return spawn(["sh", "-c", script], {**os.environ, RUN_ID: name}, None)

def spawned_while_the_other_cleans_up():
    child = spawned("two", "exec NAP")
    cleaning.start()
    cleaning.join(0.5)
    return child

nursery = Nursery()
one = nursery.start("one", lambda: spawned("one", "true"))
nursery.await_end(one.pid)
cleaning = threading.Thread(target=nursery.end_rest, args=(one.pid, 0.2))
two = nursery.start("two", spawned_while_the_other_cleans_up)
cleaning.join()
print(nursery.reap(one.pid).code, len(nursery.members(two.pid)))
nursery.kill(two.pid)
print(nursery.reap(two.pid).code)
"""


def test_a_run_that_ends_leaves_alone_what_is_just_starting(nap: str) -> None:
    """A command that is there, but not yet known to be another run's, is not what the first has left behind."""
    done = subprocess.run(
        [sys.executable, "-c", ONE_ENDS_AS_ANOTHER_STARTS.replace("NAP", nap)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("0 1\n-9\n", "")


ASSISTANT = """
import os, subprocess
from epochwatch.supervised import RUN_ID
from epochwatch.supervisor.nursery import Nursery
from epochwatch.supervisor.spawn import spawn

nursery = Nursery()
assistant = nursery.assist(lambda: subprocess.Popen(["sh", "-c", "NAP1; true"]))
child = nursery.start("one", lambda: spawn(["sh", "-c", "exec NAP2"], {**os.environ, RUN_ID: "one"}, None))
print([process.pid for process in nursery.members(child.pid)] == [child.pid])
nursery.kill(child.pid)
nursery.await_end(child.pid)
nursery.end_rest(child.pid, 5.0)
print(nursery.reap(child.pid).code, assistant.poll())
assistant.terminate()
subprocess.run(["pkill", "-fx", "NAP1"])
"""


def test_a_process_of_our_own_is_no_runs(nap: str) -> None:
    """A report that is being made is neither counted nor ended with a job, even where there is only one."""
    done = subprocess.run(
        [sys.executable, "-c", ASSISTANT.replace("NAP", nap)], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("True\n-9 None\n", "")


STRANGER = """
import os, subprocess
from epochwatch.supervised import RUN_ID
from epochwatch.supervisor.nursery import Nursery
from epochwatch.supervisor.spawn import spawn

stranger = subprocess.Popen(["sh", "-c", "NAP1; true"])
nursery = Nursery()
child = nursery.start("one", lambda: spawn(["sh", "-c", "NAP2 & NAP2"], {**os.environ, RUN_ID: "one"}, None))
nursery.kill(child.pid)
nursery.await_end(child.pid)
nursery.end_rest(child.pid, 5.0)
assert nursery.reap(child.pid).code == -9
print(stranger.poll(), subprocess.run(["pgrep", "-cfx", "NAP1"], capture_output=True, text=True).stdout.strip())
stranger.terminate()
subprocess.run(["pkill", "-fx", "NAP1"])
"""


def test_what_was_there_before_is_not_touched(nap: str) -> None:
    """Process 1 of a container may have been a shell that started something and then became the supervisor."""
    done = subprocess.run(
        [sys.executable, "-c", STRANGER.replace("NAP", nap)], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("None 1\n", "")


def test_orphans_do_not_stay_as_zombies() -> None:
    """As the first process of a container too, where every orphan comes to it."""
    orphans = "(sh -c 'sleep 0.1' &); (sh -c 'sleep 0.2' &); sleep 2"
    script = f"{orphans}; grep -c '^State:.Z' /proc/[0-9]*/status -h | sort -u; exit 3"
    container = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]
    if subprocess.run([*container, "true"], capture_output=True, check=False).returncode:
        container = []  # not permitted here; orphans come to it all the same
    done = subprocess.run([*container, *RUN, "--", "sh", "-c", script], capture_output=True, check=False)
    if container:
        assert done.stdout == b"0\n"
    assert done.returncode == 3


@pytest.fixture
def small_group() -> Iterator[Cgroup]:
    """Makes a control group with little memory below this process's own."""
    own = own_cgroup()
    if own is None:
        pytest.skip("no control group with a memory controller")
    directory = own.directory / f"epochwatch-test-{time.monotonic_ns()}"
    limit = {1: "memory.limit_in_bytes", 2: "memory.max"}[own.version]
    try:
        directory.mkdir()
        (directory / limit).write_text(str(LIMIT_BYTES))
    except OSError as error:
        with contextlib.suppress(OSError):
            directory.rmdir()
        pytest.skip(f"no control group can be made here: {error}")
    yield Cgroup(directory, own.version)
    deadline = time.monotonic() + 10
    while True:
        try:
            directory.rmdir()
            return
        except OSError:
            assert time.monotonic() < deadline, (directory / "cgroup.procs").read_text()
            time.sleep(0.1)


def inside(group: Cgroup, command: list[str]) -> list[str]:
    """Gives the command that runs another one in a group."""
    return ["sh", "-c", f'echo $$ > {group.directory}/cgroup.procs && exec "$@"', "sh", *command]


@pytest.mark.parametrize(
    "script",
    [
        "x = bytearray(600_000_000)",
        # A worker is killed, and what waits for it fails with an exit code of its own.
        "import subprocess, sys; code = subprocess.call([sys.executable, '-c', 'x = bytearray(600_000_000)'])\n"
        "raise RuntimeError(f'DataLoader worker is killed by signal: Killed. {code}')",
    ],
    ids=["itself", "a worker"],
)
def test_a_command_that_the_kernel_kills_for_want_of_memory(small_group: Cgroup, script: str) -> None:
    """The kill is told apart from any other by the group's own counter."""
    receiver = Receiver()
    flags = ["--job", "hungry", "--alertmanager-url", receiver.url, "--"]
    try:
        done = subprocess.run(
            inside(small_group, [*RUN, *flags, sys.executable, "-c", script]),
            capture_output=True,
            check=False,
        )
        (alert,) = receiver.alerts()
    finally:
        receiver.close()
    assert done.returncode in (137, 1)
    assert alert["labels"]["outcome"] == "host_oom"
    assert alert["annotations"]["summary"] == "hungry: killed by the kernel for want of memory"


def test_memory_of_a_group_of_ones_own_counts_each_page_once(small_group: Cgroup, free_port: int) -> None:
    """Four processes that share 60 MB are not taken for 240."""
    from tests.exporter.conftest import scrape, wait_until

    script = (
        "import os, time\nx = bytearray(60_000_000)\n"
        "for _ in range(3):\n    if not os.fork(): time.sleep(60)\n"
        "print('ready', flush=True); time.sleep(60)\n"
    )
    flags = ["--port", str(free_port), "--"]
    process = subprocess.Popen(
        inside(small_group, [*RUN, *flags, sys.executable, "-c", script]), stdout=subprocess.PIPE
    )
    read: Callable[[], float | None] = lambda: scrape(f"http://127.0.0.1:{free_port}").value(  # noqa: E731
        "training_job_resident_memory_bytes"
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        resident = wait_until(read)
        assert isinstance(resident, float)
        assert 60e6 < resident < 120e6
    finally:
        process.terminate()
        process.communicate()
