"""The compose profile `scheduled` in a real engine: the scheduler as process 1, its jobs seen by Prometheus.

Run by tests/compose/run.sh; not collected by a plain pytest.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.compose.project import Project, assert_confined, assert_healthy, brought_up, wait_for

JOBS = """\
jobs:
  minutely:
    schedule: "* * * * *"
    command: [python3, digits.py, --name, minutely, --epochs, "2"]
  failing:
    schedule: "* * * * *"
    command: [python3, -c, "raise SystemExit(3)"]
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """The stack with a scheduler whose jobs start each minute, and the sandbox."""
    jobs: Path = tmp_path_factory.mktemp("jobs") / "jobs.yml"
    jobs.write_text(JOBS)
    jobs.chmod(0o444)
    environ = {"EPOCHWATCH_JOBS": str(jobs)}
    project = Project(f"epochwatch-scheduled-{os.getpid()}", "demo", "scheduled", environ=environ)
    with brought_up(project, "prometheus", "alertmanager", "alertbridge", "sandbox", "scheduler") as project:
        yield project


def states(project: Project) -> dict[str, Any]:
    """Gives what `epochwatch jobs` says in the container."""
    shown = project.run_in("scheduler", "epochwatch", "jobs", "--json")
    known: dict[str, Any] = json.loads(shown.stdout) if shown.returncode == 0 else {}
    return known


@pytest.mark.timeout(300)
def test_jobs_run_by_the_clock_and_their_ends_are_seen(project: Project) -> None:
    """A training that is started by the scheduler succeeds, another fails, and Prometheus and the group know."""

    def outcomes() -> dict[str, str]:
        return {name: job["last_outcome"] for name, job in states(project).items()}

    wait_for(lambda: outcomes() == {"minutely": "success", "failing": "failure"}, 150, "both outcomes")
    exit_code = 'training_job_last_exit_code{job="training-scheduler",job_name="failing"} == 3'
    wait_for(lambda: project.query(exit_code), 60, "the exit code in Prometheus")
    assert project.query('training_job_next_start_timestamp_seconds{job_name="minutely"} > time()')
    wait_for(lambda: any("failing" in message["text"] for message in project.messages()), 60, "the message")


def test_it_is_the_first_process_and_confined(project: Project) -> None:
    """The scheduler itself is process 1, and not root's."""
    command = project.run_in("scheduler", "cat", "/proc/1/cmdline").stdout.split("\0")

    assert any(part.endswith("epochwatch") for part in command[:2])
    assert "schedule" in command
    assert_healthy(project, "scheduler")
    assert_confined(project, "scheduler")


@pytest.mark.timeout(180)
def test_what_became_of_the_jobs_outlives_the_container(project: Project) -> None:
    """It ends in order at SIGTERM; a new container knows the runs of the old one."""
    before = states(project)["failing"]
    project("stop", "--timeout", "60", "scheduler")
    code = project.inspect("scheduler")["State"]["ExitCode"]
    project("rm", "--force", "scheduler")
    project.up("scheduler")

    wait_for(lambda: "failing" in states(project), 60, "the scheduler's state")
    assert code == 0
    assert states(project)["failing"]["last_start"] >= before["last_start"]
