"""SIGTERM while the main thread waits in C code, where Python runs no handler."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .conftest import scrape, wait_until
from .event_receiver import Receiver

Trainer = Callable[..., subprocess.Popen[str]]

# A mutex that is locked twice waits for ever, signals or not; so does a rank in a collective operation.
HEAD = """
import asyncio, ctypes, os, signal, sys, threading, time
import epochwatch

def starting(**settings):
    return epochwatch.start("digits", port=0, addr="127.0.0.1", gpu=False, **settings)

def lock_twice(library):
    mutex = ctypes.create_string_buffer(64)
    library.pthread_mutex_lock(mutex)
    library.pthread_mutex_lock(mutex)

def wait_in_c():
    print("ready", flush=True)
    lock_twice(ctypes.CDLL(None))
"""
STUCK = """
run = starting()
run.step(loss=1.0)
wait_in_c()
"""


def ready(process: subprocess.Popen[str]) -> None:
    """Waits until a training is about to wait in C code, and a moment longer."""
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.2)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """An Alertmanager on loopback."""
    listening = Receiver()
    yield listening
    listening.close()


def test_a_training_that_waits_in_c_code_dies_of_sigterm_and_says_so(
    trainer: Trainer, receiver: Receiver, tmp_path: Path
) -> None:
    """It is told as interrupted, its target file goes, a scrape sees the state, and the parent sees the signal."""
    process = trainer(
        HEAD + STUCK.replace("starting()", "starting(); print(run.url, flush=True)"),
        EPOCHWATCH_ALERTMANAGER_URL=receiver.url,
        EPOCHWATCH_TARGETS_DIR=str(tmp_path / "targets"),
    )
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    ready(process)
    assert scrape(url).state() == ["training"]
    process.send_signal(signal.SIGTERM)
    wait_until(lambda: scrape(url).state() == ["interrupted"], 10)
    assert process.communicate(timeout=10) == ("", "")
    assert process.returncode == -signal.SIGTERM
    told = receiver.alerts()[-1]
    assert told["labels"]["alertname"] == "TrainingInterrupted"
    assert "SIGTERM" in told["annotations"]["summary"]
    assert not list((tmp_path / "targets").iterdir())


def test_the_first_process_of_a_container_ends_too(tmp_path: Path) -> None:
    """Process 1, whom the kernel spares the default action, leaves with the status a shell gives to SIGTERM."""
    unshare = ["unshare", "--pid", "--fork", "--kill-child"]
    if os.geteuid():
        unshare.append("--map-root-user")
    try:
        subprocess.run([*unshare, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this machine gives no process namespaces")
    path = tmp_path / "train.py"
    path.write_text(
        HEAD
        + STUCK.replace("wait_in_c()", "(time.sleep(0.5), os.kill(1, 15)) if os.fork() == 0 else wait_in_c()")
    )
    done = subprocess.run([*unshare, sys.executable, path], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (128 + signal.SIGTERM, "ready\n")


# What decides by itself what SIGTERM does, or is nobody's SIGTERM.
LEFT_ALONE = {
    "another signal": "signal.signal(signal.SIGUSR1, print)\n" + STUCK,
    "a handler set before": "signal.signal(15, print)\n" + STUCK,
    "a handler set later": STUCK.replace("wait_in_c", "signal.signal(15, print); wait_in_c"),
    "ignored later": STUCK.replace("wait_in_c", "signal.signal(15, signal.SIG_IGN); wait_in_c"),
    "somebody else's descriptor": """
read, write = os.pipe()
os.set_blocking(write, False)
signal.set_wakeup_fd(write)
def check():
    print(os.read(read, 9), flush=True)
threading.Thread(target=check, daemon=True).start()
"""
    + STUCK,
    "a run that is over": """
with starting():
    pass
assert signal.set_wakeup_fd(-1) == -1
assert threading.active_count() == 1
signal.signal(15, print)
wait_in_c()
""",
    "asyncio's descriptor": """
async def main():
    with starting():
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, print)
        theirs = signal.set_wakeup_fd(-1)
        signal.set_wakeup_fd(theirs)
    assert signal.set_wakeup_fd(theirs) == theirs
    signal.signal(15, print)
    wait_in_c()
asyncio.run(main())
""",
    "a signal to a child": """
run = starting()
child = os.fork()
if child == 0:
    while True:
        time.sleep(0.01)
time.sleep(0.5)
os.kill(child, 15)
assert os.waitpid(child, 0)[1] == 15
time.sleep(2.5)
assert run._session.end_watch.terminated is False
signal.signal(15, print)
wait_in_c()
""",
    "a signal to a child that Python does not know of": """
run = starting()
mine, theirs = os.pipe()
child = ctypes.PyDLL(None).fork()
if child == 0:
    ctypes.PyDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG: it dies with its parent
    os.close(1)
    os.close(2)
    os.write(theirs, b"x")
    lock_twice(ctypes.PyDLL(None))
os.read(mine, 1)
time.sleep(0.2)
os.kill(child, 15)
time.sleep(2.5)
assert run._session.end_watch.terminated is False
os.kill(child, 9)
os.waitpid(child, 0)
signal.signal(15, print)
wait_in_c()
""",
}


def test_who_decides_for_himself_is_left_alone(trainer: Trainer) -> None:
    """Own handlers, ignored signals, foreign descriptors and signals to children end nothing, however long it takes."""
    processes = {what: trainer(HEAD + body) for what, body in LEFT_ALONE.items()}
    for what, process in processes.items():
        ready(process)
        process.send_signal(signal.SIGUSR1 if what == "another signal" else signal.SIGTERM)
    time.sleep(2.5)
    gone = {
        what: process.communicate()[1] for what, process in processes.items() if process.poll() is not None
    }
    assert gone == {}
    foreign = processes["somebody else's descriptor"].stdout
    assert foreign is not None
    assert foreign.readline() == f"{bytes([signal.SIGTERM])}\n"


def test_a_run_started_on_another_thread_dies_as_ever(trainer: Trainer) -> None:
    """There Python sets no handler, and SIGTERM ends the process at once."""
    process = trainer(
        HEAD + "thread = threading.Thread(target=starting)\nthread.start()\nthread.join()\nwait_in_c()\n"
    )
    ready(process)
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == -signal.SIGTERM
    assert time.monotonic() - began < 2


BACK_LATE = """
run = starting()
mutex, until = ctypes.create_string_buffer(64), (ctypes.c_long * 2)(*divmod(time.time_ns() + 3 * 10**9, 10**9))
library = ctypes.CDLL(None)
library.pthread_mutex_lock(mutex)
print("ready", flush=True)
library.pthread_mutex_timedlock(mutex, until)
print("goes on", flush=True)
"""


def test_a_main_thread_that_comes_back_late_goes_no_further(trainer: Trainer, receiver: Receiver) -> None:
    """While the run is being ended in its place, slowly here, it neither goes on nor cuts the end short."""
    receiver.hanging.set()
    process = trainer(HEAD + BACK_LATE, EPOCHWATCH_ALERTMANAGER_URL=receiver.url)
    ready(process)
    process.send_signal(signal.SIGTERM)
    time.sleep(3.5)
    receiver.hanging.clear()
    receiver.released.set()
    assert process.communicate(timeout=20)[0] == ""
    assert process.returncode == -signal.SIGTERM
