"""One compose project in a real engine, and what its tests ask of any of its services.

The engine is named in COMPOSE and ENGINE by tests/compose/run.sh.
"""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

ROOT = Path(__file__).parents[2]
# What a service's published port is called in docker-compose.yml.
PORTS = (
    "PROMETHEUS",
    "ALERTMANAGER",
    "GRAFANA",
    "ALERTBRIDGE",
    "SANDBOX",
    "TRAINING",
    "SCHEDULER",
    "NOTEBOOK",
)


class Project:
    """One compose project with ports and volumes of its own, beside whatever else runs on the machine."""

    def __init__(self, name: str, *profiles: str, environ: Mapping[str, str] | None = None) -> None:
        chosen = [option for profile in profiles for option in ("--profile", profile)]
        self.name = name
        self.command = [
            *shlex.split(os.environ["COMPOSE"]),
            "--env-file",
            "/dev/null",
            "--project-name",
            name,
            *chosen,
        ]
        self.engine = shlex.split(os.environ["ENGINE"])
        self.ports = {port.lower(): free_port() for port in PORTS}
        ports = {f"{service.upper()}_PORT": str(port) for service, port in self.ports.items()}
        without_robot = {key: value for key, value in os.environ.items() if not key.startswith("DINGTALK_")}
        self.environment = {**without_robot, **ports, "ALERTBRIDGE_LANGUAGE": "en", **(environ or {})}

    def __call__(self, *arguments: str) -> str:
        """Takes a compose command, gives its standard output."""
        command = [*self.command, *arguments]
        answer = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        assert answer.returncode == 0, f"{shlex.join(command)}:\n{answer.stdout}{answer.stderr}"
        return answer.stdout

    def up(self, *arguments: str) -> None:
        """Starts services of images that are there already; all of the profiles' if none is named."""
        self("up", "--detach", "--no-build", "--pull", "never", *arguments)

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

    def image_bytes(self, image: str) -> int:
        """Gives the size of an image, its base included."""
        shown = subprocess.run(
            [*self.engine, "image", "inspect", image], capture_output=True, text=True, check=True
        )
        size: int = json.loads(shown.stdout)[0]["Size"]
        return size

    def run_in(self, service: str, *command: str) -> subprocess.CompletedProcess[str]:
        """Runs a command in a service's container."""
        return subprocess.run(
            [*self.command, "exec", "-T", service, *command],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Gives what Prometheus answers to an instant query."""
        answer = requests.get(
            self.url("prometheus", "/api/v1/query"), params={"query": expression}, timeout=10
        )
        found: list[dict[str, Any]] = answer.json()["data"]["result"]
        return found

    def messages(self) -> list[dict[str, Any]]:
        """Gives what the sandbox's group sees."""
        seen: list[dict[str, Any]] = self.get("sandbox", "/api/messages")["messages"]
        return seen

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


def documented(page: str, start: str) -> list[str]:
    """Takes a page and the start of a command that it runs in a container, gives that command's words."""
    lines = (ROOT / "docs" / page).read_text(encoding="utf-8").splitlines()
    (line,) = [line for line in lines if line.startswith(f"docker compose exec -T {start}")]
    return shlex.split(line)[5:]


@contextmanager
def brought_up(project: Project, *arguments: str) -> Iterator[Project]:
    """Starts a project; afterwards everything is taken down, and nothing may be left."""
    try:
        project.up(*arguments)
        yield project
    finally:
        # What the containers said in the last run.
        (ROOT / ".stack" / f"compose-{project.command[-1]}.log").write_text(project("logs", "--no-color"))
        project("down", "--volumes", "--timeout", "10")
    assert project("ps", "--all", "--quiet").strip() == ""


def assert_healthy(project: Project, service: str) -> None:
    """The health check that the engine would run succeeds inside the container."""
    check = project.inspect(service)["Config"]["Healthcheck"]["Test"]
    assert check[0] == "CMD", "a check without a shell"

    wait_for(lambda: project.run_in(service, *check[1:]).returncode == 0, 120, f"{service} to be healthy")


def assert_confined(project: Project, service: str) -> None:
    """The container does not run as root, gains no rights, keeps no capability, and cannot write to its own system."""
    # `--user` of exec would be needed to become anybody else: this is the container's own user.
    user = project.run_in(service, "cat", "/proc/self/status").stdout
    facts = dict(line.split(":\t", 1) for line in user.splitlines() if ":\t" in line)
    written = project.run_in(service, "sh", "-c", "echo > /etc/written")

    assert facts["Uid"].split()[0] != "0"
    assert int(facts["CapEff"], 16) == 0
    assert facts["NoNewPrivs"].strip() == "1"
    assert "Read-only file system" in written.stderr
    assert project.inspect(service)["HostConfig"]["Memory"] > 0
