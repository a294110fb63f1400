"""`epochwatch run` as a process of its own, on a free loopback port."""

import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from .scheduling import Scheduling

RUN = (sys.executable, "-W", "error", "-m", "epochwatch.cli", "run", "--port", "0", "--addr", "127.0.0.1")
Supervise = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def nap() -> str:
    """Gives a command that sleeps for an hour and that nobody else runs, to be looked for."""
    return f"sleep 3217.{secrets.randbelow(10**9):09d}"


def is_running(command: str) -> bool:
    """Tells whether a process of exactly this command line is there."""
    return subprocess.run(["pgrep", "-fx", command], capture_output=True, check=False).returncode == 0


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs of the same name in different tests are different jobs."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def supervise() -> Iterator[Supervise]:
    """Starts a command under supervision, and kills what is left of it after the test."""
    started: list[subprocess.Popen[bytes]] = []

    def starter(flags: Sequence[str], command: Sequence[str], **environment: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [*RUN, *flags, "--", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **environment},
            start_new_session=True,
        )
        started.append(process)
        return process

    yield starter
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def run(supervise: Supervise) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Runs a command under supervision to its end."""

    def runner(
        flags: Sequence[str], command: Sequence[str], **environment: str
    ) -> subprocess.CompletedProcess[bytes]:
        process = supervise(flags, command, **environment)
        out, err = process.communicate(timeout=60)
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    return runner


@pytest.fixture
def scheduling(tmp_path: Path, free_port: int) -> Iterator[Scheduling]:
    made = Scheduling(tmp_path, free_port)
    yield made
    for process in made.processes:
        if process.poll() is None:
            process.kill()
        process.communicate()
