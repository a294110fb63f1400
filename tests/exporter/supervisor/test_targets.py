"""Prometheus finds supervisors by itself: their files in the folder that it watches."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

EPOCHWATCH = str(Path(sys.executable).with_name("epochwatch"))
JOBS = 'jobs: {nightly: {schedule: "0 2 * * *", command: "true"}}'


def started(directory: Path, *arguments: str) -> subprocess.Popen[str]:
    """Starts `epochwatch` with the folder of targets in its environment."""
    environ = {**os.environ, "EPOCHWATCH_TARGETS_DIR": str(directory / "targets")}
    own = ["--addr", "127.0.0.1", "--port", "0"]
    command = [EPOCHWATCH, arguments[0], *own, *arguments[1:]]
    return subprocess.Popen(
        command, cwd=directory, env=environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def only_target(directory: Path) -> dict[str, object]:
    """Waits for the one file of targets, gives what stands in it."""
    deadline = time.monotonic() + 20
    while not (found := list((directory / "targets").glob("*.json"))):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (target,) = json.loads(found[0].read_text())
    assert isinstance(target, dict)
    return target


@pytest.mark.parametrize(
    ("arguments", "job"),
    [
        (("run", "--", "sleep", "60"), "training-job"),
        (("schedule", "jobs.yml"), "training-scheduler"),
    ],
    ids=["run", "schedule"],
)
def test_a_supervisor_says_where_it_is_while_it_runs(
    tmp_path: Path, arguments: tuple[str, ...], job: str
) -> None:
    """The rules tell a scheduler from a single run by `job`; after an orderly end the file is gone."""
    (tmp_path / "jobs.yml").write_text(JOBS)
    with started(tmp_path, *arguments) as process:
        target = only_target(tmp_path)
        process.send_signal(signal.SIGTERM)
        process.wait(20)

    assert target["labels"] == {"job": job}
    assert len(target["targets"]) == 1  # type: ignore[arg-type]
    assert list((tmp_path / "targets").iterdir()) == []


def test_a_folder_that_cannot_be_written_stops_no_job(tmp_path: Path) -> None:
    """It is said, with the variable, and the command runs."""
    (tmp_path / "targets").write_text("a file")
    with started(tmp_path, "run", "--", "echo", "fine") as process:
        output, _ = process.communicate(timeout=20)

    assert process.returncode == 0
    assert "fine\n" in output
    assert "Prometheus will not find the jobs by itself (environment EPOCHWATCH_TARGETS_DIR)" in output
