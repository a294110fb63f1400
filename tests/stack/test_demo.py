"""`make demo` as a person sees it: its exit code, what it prints, what it leaves behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.group import Group
from demo.stack import ROOT, wait_until

pytestmark = [pytest.mark.stack, pytest.mark.timeout(400)]


class Demo:
    """A running `python -m demo`, whose processes all carry a mark in their environment."""

    def __init__(self, output: Path, **env: str) -> None:
        self.mark = f"EPOCHWATCH_TEST_MARK={uuid.uuid4().hex}"
        self.output = output
        name, value = self.mark.split("=")
        with output.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "demo"],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": "examples", "DINGTALK_WEBHOOK": "", **env, name: value},
                stdout=file,
                stderr=subprocess.STDOUT,
            )

    def text(self) -> str:
        return self.output.read_text()

    def survivors(self) -> list[str]:
        """Gives the command lines of the processes that the demo has started and that still run."""
        found = []
        for directory in Path("/proc").glob("[0-9]*"):
            try:
                if self.mark.encode() in (directory / "environ").read_bytes().split(b"\0"):
                    found.append((directory / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue  # it has ended in between, or is not ours to read
        return found


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[type[Demo]]:
    """Starts demos, and ends those that a failed test leaves behind."""
    started: list[Demo] = []

    class Started(Demo):
        def __init__(self, **env: str) -> None:
            super().__init__(tmp_path / f"output-{len(started)}", **env)
            started.append(self)

    yield Started
    for one in started:
        one.process.send_signal(signal.SIGINT)
        one.process.wait(60)


def test_the_message_arrives_and_nothing_is_left(demo: type[Demo]) -> None:
    """The demo exits 0 with the hops in order, the message it delivered, and no process or data left."""
    run = demo(LANG="en_US.UTF-8")
    assert run.process.wait(300) == 0, run.text()

    text = run.text()
    table = text[text.index("hop  ") : text.index("in all")]
    times = re.findall(r"\d\d:\d\d:\d\d\.\d{3}", table)
    assert len(times) == 6
    assert times == sorted(times)
    assert "TrainingLossPlateau" in text[text.index("What the group sees") :]
    assert "delivered, and the robot accepted the signature" in text
    assert run.survivors() == []
    assert not list((ROOT / ".stack" / "demo").glob(f"run-{run.process.pid}-*"))


def test_a_refused_message_is_a_failure_with_the_reason(demo: type[Demo], group: Group) -> None:
    """With a wrong secret for the given address the demo exits 1, names the robot's code, and tells no secret."""
    run = demo(DINGTALK_WEBHOOK=group.webhook, DINGTALK_SECRET="SEC00000000000000000000")
    assert run.process.wait(300) == 1, run.text()

    text = run.text()
    assert "not delivered: the robot refused the message (310000)" in text
    assert "SEC00000000000000000000" not in text
    assert group.token not in text
    assert run.survivors() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_stopping_it_in_the_middle_leaves_nothing(demo: type[Demo], number: signal.Signals) -> None:
    """Stopped while the training runs, the demo exits 130 and has ended every process and removed its data."""
    run = demo()
    wait_until(lambda: "epoch   1" in run.text(), 90, "the first epoch")
    run.process.send_signal(number)
    assert run.process.wait(60) == 130, run.text()
    assert run.survivors() == []
    assert not list((ROOT / ".stack" / "demo").glob(f"run-{run.process.pid}-*"))


def test_killed_with_9_it_takes_its_processes_along(demo: type[Demo]) -> None:
    """Nothing outlives a demo that had no chance to clean up."""
    run = demo()
    wait_until(lambda: "Prometheus  " in run.text(), 90, "Prometheus to be up")
    assert len(run.survivors()) > 3
    run.process.kill()
    run.process.wait()
    deadline = time.monotonic() + 10
    while run.survivors() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert run.survivors() == []
