"""Schedulers as processes of their own, with jobs that are due when a test wants them to be."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from epochwatch.supervisor.state import JobState
from epochwatch.supervisor.statefile import StateFile

EPOCHWATCH = str(Path(sys.executable).with_name("epochwatch"))


class Scheduling:
    """A directory with a file of jobs, its state, and the schedulers started over them."""

    def __init__(self, directory: Path, port: int) -> None:
        self.directory = directory
        self.file = directory / "jobs.yml"
        self.state = directory / "state"
        self.port = port
        self.processes: list[subprocess.Popen[str]] = []
        # Each day at the minute before this one, so that only what is made due runs in a test.
        self.due_at = time.time() // 60 * 60 - 60
        self.schedule = time.strftime("%M %H * * *", time.gmtime(self.due_at))

    def write(self, **commands: str) -> None:
        keys = {"schedule": self.schedule, "timezone": "UTC"}
        jobs = {name: {**keys, "command": ["sh", "-c", command]} for name, command in commands.items()}
        self.file.write_text(json.dumps({"state_dir": "state", "jobs": jobs}))

    def make_due(self, job: str) -> None:
        """Lets a start of the job be due now: it was promised by a scheduler that is gone."""
        promised = JobState(
            schedule=self.schedule, timezone="UTC", next_start=self.due_at, settled=self.due_at - 1
        )
        StateFile(self.state, job).write(promised)

    def start(self, *prefix: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*prefix, *self.command()],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.directory,
        )
        self.processes.append(process)
        return process

    def command(self) -> list[str]:
        return [EPOCHWATCH, "schedule", str(self.file), "--port", str(self.port), "--addr", "127.0.0.1"]

    def metrics(self) -> str:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as answer:
                return str(answer.read().decode())
        except OSError:
            return ""

    def has_run(self, job: str, outcome: str = "success") -> bool:
        return f'runs_total{{job_name="{job}",outcome="{outcome}"}} 1.0' in self.metrics()

    def has_ended(self, job: str) -> bool:
        return f'training_job_last_exit_code{{job_name="{job}"}}' in self.metrics()

    def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < deadline, self.metrics()
            time.sleep(0.05)
