"""The shipped docker-compose.yml in a real engine: healthy, confined, and losing nothing with a killed bridge.

Run by tests/compose/run.sh; not collected by a plain pytest.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from tests.compose.project import (
    ROOT,
    Project,
    assert_confined,
    assert_healthy,
    brought_up,
    documented,
    wait_for,
)

SERVICES = ("prometheus", "alertmanager", "grafana", "alertbridge", "sandbox", "training")
# The shipped intervals are those of a real stack: scrape and rules each 15 s, a group waits 30 s.
MESSAGE_SECONDS = 300


@pytest.fixture(scope="module")
def project() -> Iterator[Project]:
    """The stack with the demo, up."""
    with brought_up(Project(f"epochwatch-test-{os.getpid()}", "demo")) as project:
        yield project


@pytest.mark.timeout(600)
def test_the_plateau_is_told_once_though_the_bridge_is_killed(project: Project) -> None:
    """What was accepted while the robot failed outlives kill -9 and comes from the next container, once."""

    def plateau() -> list[dict[str, Any]]:
        # By itself, or with whatever else has waited as a line of a digest.
        return [message for message in project.messages() if "stopped improving" in message["text"]]

    mode = project.url("sandbox", "/api/mode")
    wait_for(lambda: requests.put(mode, json={"mode": "busy"}, timeout=5).ok, 60, "the sandbox")
    wait_for(lambda: pending_plateau(project), MESSAGE_SECONDS, "the plateau in the outbox")
    assert plateau() == []

    project("kill", "--signal", "KILL", "alertbridge")
    project("rm", "--force", "alertbridge")
    requests.put(mode, json={"mode": "ok"}, timeout=5).raise_for_status()
    project.up("alertbridge")

    wait_for(plateau, 120, "the plateau message")
    time.sleep(5)
    (message,) = plateau()
    assert "digits-cnn" in message["text"]
    assert message["signed"]


def pending_plateau(project: Project) -> bool:
    alerts = project.get("alertmanager", "/api/v2/alerts")
    firing = any(alert["labels"]["alertname"] == "TrainingLossPlateau" for alert in alerts)
    return firing and project.bridge_metric("alertbridge_outbox_messages") > 0


@pytest.mark.timeout(180)
@pytest.mark.parametrize("service", SERVICES)
def test_a_service_becomes_healthy_by_its_own_check(project: Project, service: str) -> None:
    """The health check that the engine would run succeeds inside the container."""
    assert_healthy(project, service)


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_confined(project: Project, service: str) -> None:
    """No container runs as root, gains rights, keeps a capability, or can write to its own system."""
    assert_confined(project, service)


@pytest.mark.parametrize("service", SERVICES)
def test_a_port_is_published_on_the_loopback_interface_only(project: Project, service: str) -> None:
    """A machine's neighbours reach nothing unless somebody asks for it."""
    published = [
        entry
        for ports in project.inspect(service)["HostConfig"]["PortBindings"].values()
        for entry in ports or []
    ]

    assert [entry["HostIp"] for entry in published] == ["127.0.0.1"]


def test_grafana_is_provisioned(project: Project) -> None:
    """Grafana, or what stands in for it, has read its settings, is well, and is given all dashboards."""
    health = wait_for(lambda: project.get("grafana", "/api/health"), 60, "Grafana")
    mounted = project.run_in("grafana", "ls", "/var/lib/grafana-dashboards").stdout.split()

    assert health["database"] == "ok"
    assert mounted == sorted(path.name for path in (ROOT / "grafana/dashboards").iterdir())


def test_prometheus_scrapes_everything(project: Project) -> None:
    """The training is found through the shared folder, the others by their names; the rules are loaded."""

    def up() -> set[str]:
        targets = project.get("prometheus", "/api/v1/targets")["data"]["activeTargets"]
        return {target["labels"]["job"] for target in targets if target["health"] == "up"}

    wanted = {"training", "training-job", "alertbridge", "alertmanager", "grafana", "prometheus"}
    wait_for(lambda: up() >= wanted, 120, f"{wanted} to be up")
    groups = project.get("prometheus", "/api/v1/rules")["data"]["groups"]
    assert "TrainingLossPlateau" in {rule["name"] for group in groups for rule in group["rules"]}


def test_cpu_and_memory_of_the_training_reach_prometheus(project: Project) -> None:
    """The supervisor in the training's container tells what all of its processes use."""
    cpu = 'rate(training_job_cpu_seconds_total{job_name="digits"}[1m])'
    memory = 'training_job_resident_memory_bytes{job_name="digits"}'
    wait_for(lambda: project.query(cpu), 90, "two samples of the job's CPU time")
    (resident,) = project.query(memory)

    assert 50e6 < float(resident["value"][1]) < 2e9


def test_the_bridges_image_is_small(project: Project) -> None:
    """What we add to Python's slim image, which has 120 MB, keeps the whole below 150 MB."""
    image = project.inspect("alertbridge")["Config"]["Image"]
    base = re.findall(
        r"^ARG PYTHON_IMAGE=(\S+)$", (ROOT / "alertbridge/Dockerfile").read_text(), re.MULTILINE
    )

    assert project.image_bytes(image) - project.image_bytes(base[0]) < 30e6


def test_the_outbox_is_copied_as_documented(project: Project) -> None:
    """The command of docs/operations.md makes a whole copy while the bridge runs."""
    copied = project.run_in("alertbridge", *documented("operations.md", "alertbridge python3"))
    look = "import sqlite3; print(sqlite3.connect('copy.db').execute('PRAGMA integrity_check').fetchone()[0])"
    looked = project.run_in("alertbridge", "python3", "-c", look)
    removed = project.run_in("alertbridge", *documented("operations.md", "alertbridge rm"))

    assert (copied.returncode, copied.stderr) == (0, "")
    assert looked.stdout.strip() == "ok"
    assert removed.returncode == 0


def test_a_run_leaves_its_history(project: Project) -> None:
    """The history lies in the volume of logs; the commands find it there."""
    listed = project.run_in("training", "epochwatch", "runs", "--json")

    assert "digits-cnn" in listed.stdout


def test_the_bridge_says_that_nothing_reaches_a_group(project: Project) -> None:
    """With nothing configured everything comes up, and the log says what to set."""
    assert "DINGTALK_WEBHOOK and DINGTALK_SECRET in .env" in project("logs", "alertbridge")


def test_a_training_ends_as_interrupted_when_its_container_is_stopped(project: Project) -> None:
    """`docker compose stop` ends the training within its grace, in order and not by a kill."""
    project("stop", "--timeout", "90", "training")

    assert project.inspect("training")["State"]["ExitCode"] == 128 + signal.SIGTERM
