"""The shipped docker-compose.yml in a real engine: healthy, confined, and losing nothing with a killed bridge.

Run by tests/compose/run.sh, which names the engine in COMPOSE and ENGINE; not collected by a plain pytest.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

# What the containers said in the last run.
LOGS = Path(__file__).parents[2] / ".stack" / "compose.log"
SERVICES = ("prometheus", "alertmanager", "grafana", "alertbridge", "sandbox", "training")
# The shipped intervals are those of a real stack: scrape and rules each 15 s, a group waits 30 s.
MESSAGE_SECONDS = 300


class Project:
    """One compose project with ports and volumes of its own, beside whatever else runs on the machine."""

    def __init__(self, name: str) -> None:
        self.command = [*shlex.split(os.environ["COMPOSE"]), "--project-name", name, "--profile", "demo"]
        self.engine = shlex.split(os.environ["ENGINE"])
        self.ports = {service: free_port() for service in SERVICES}
        ports = {f"{service.upper()}_PORT": str(port) for service, port in self.ports.items()}
        without_robot = {key: value for key, value in os.environ.items() if not key.startswith("DINGTALK_")}
        self.environment = {**without_robot, **ports, "ALERTBRIDGE_LANGUAGE": "en"}

    def __call__(self, *arguments: str) -> str:
        """Takes a compose command, gives its standard output."""
        command = [*self.command, *arguments]
        answer = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        assert answer.returncode == 0, f"{shlex.join(command)}:\n{answer.stdout}{answer.stderr}"
        return answer.stdout

    def url(self, service: str, path: str) -> str:
        return f"http://127.0.0.1:{self.ports[service]}{path}"

    def get(self, service: str, path: str) -> Any:
        """Gives the JSON that a service answers, through its published port."""
        return requests.get(self.url(service, path), timeout=10).json()

    def inspect(self, service: str) -> dict[str, Any]:
        """Gives what the engine knows of a service's container."""
        container = self("ps", "--all", "--quiet", service).strip()
        shown = subprocess.run(
            [*self.engine, "inspect", container], capture_output=True, text=True, check=True
        )
        known: dict[str, Any] = json.loads(shown.stdout)[0]
        return known

    def run_in(self, service: str, *command: str) -> subprocess.CompletedProcess[str]:
        """Runs a command in a service's container."""
        return subprocess.run(
            [*self.command, "exec", "-T", service, *command],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def bridge_metric(self, name: str, **labels: str) -> float:
        """Gives the sum of a bridge metric's samples that carry these labels."""
        text = requests.get(self.url("alertbridge", "/metrics"), timeout=10).text
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(check: Callable[[], Any], seconds: float, what: str) -> Any:
    """Calls `check` until it gives something true, and gives that; a refusal counts as not yet."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if found := check():
                return found
        except (requests.RequestException, AssertionError):
            pass
        time.sleep(0.5)
    pytest.fail(f"waited {seconds:.0f} s for {what}, in vain")


@pytest.fixture(scope="module")
def project() -> Iterator[Project]:
    """The stack with the demo, up; afterwards everything is taken down and nothing may be left."""
    project = Project(f"epochwatch-test-{os.getpid()}")
    try:
        project("up", "--detach", "--no-build", "--pull", "never")
        yield project
    finally:
        LOGS.write_text(project("logs", "--no-color"))
        project("down", "--volumes", "--timeout", "10")
    assert project("ps", "--all", "--quiet").strip() == ""


@pytest.mark.timeout(600)
def test_the_plateau_is_told_once_though_the_bridge_is_killed(project: Project) -> None:
    """What was accepted while the robot failed outlives kill -9 and comes from the next container, once."""

    def plateau() -> list[dict[str, Any]]:
        messages = project.get("sandbox", "/api/messages")["messages"]
        return [message for message in messages if "PLATEAU" in message["text"].upper()]

    mode = project.url("sandbox", "/api/mode")
    wait_for(lambda: requests.put(mode, json={"mode": "busy"}, timeout=5).ok, 60, "the sandbox")
    wait_for(lambda: pending_plateau(project), MESSAGE_SECONDS, "the plateau in the outbox")
    assert plateau() == []

    project("kill", "--signal", "KILL", "alertbridge")
    project("rm", "--force", "alertbridge")
    requests.put(mode, json={"mode": "ok"}, timeout=5).raise_for_status()
    project("up", "--detach", "--no-build", "--pull", "never", "alertbridge")

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
    check = project.inspect(service)["Config"]["Healthcheck"]["Test"]
    assert check[0] == "CMD", "a check without a shell"

    wait_for(lambda: project.run_in(service, *check[1:]).returncode == 0, 120, f"{service} to be healthy")


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_confined(project: Project, service: str) -> None:
    """No container runs as root, gains rights, keeps a capability, or can write to its own system."""
    host = project.inspect(service)["HostConfig"]

    # `--user` of exec would be needed to become anybody else: this is the container's own user.
    user = project.run_in(service, "cat", "/proc/self/status").stdout
    facts = dict(line.split(":\t", 1) for line in user.splitlines() if ":\t" in line)
    written = project.run_in(service, "sh", "-c", "echo > /etc/written")

    assert facts["Uid"].split()[0] != "0"
    assert int(facts["CapEff"], 16) == 0
    assert facts["NoNewPrivs"].strip() == "1"
    assert "Read-only file system" in written.stderr
    assert host["Memory"] > 0


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
    """Grafana, or what stands in for it, has read its settings and answers that it is well."""
    health = wait_for(lambda: project.get("grafana", "/api/health"), 60, "Grafana")

    assert health["database"] == "ok"


def test_prometheus_scrapes_everything(project: Project) -> None:
    """The training is found through the shared folder, the others by their names; the rules are loaded."""

    def up() -> set[str]:
        targets = project.get("prometheus", "/api/v1/targets")["data"]["activeTargets"]
        return {target["labels"]["job"] for target in targets if target["health"] == "up"}

    wanted = {"training", "alertbridge", "alertmanager", "prometheus"}
    wait_for(lambda: up() >= wanted, 120, f"{wanted} to be up")
    groups = project.get("prometheus", "/api/v1/rules")["data"]["groups"]
    assert "TrainingLossPlateau" in {rule["name"] for group in groups for rule in group["rules"]}


def test_a_training_ends_as_interrupted_when_its_container_is_stopped(project: Project) -> None:
    """`docker compose stop` ends the training within its grace, in order and not by a kill."""
    project("stop", "--timeout", "30", "training")

    assert project.inspect("training")["State"]["ExitCode"] == 128 + signal.SIGTERM
