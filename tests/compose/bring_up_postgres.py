"""The compose profile `postgres` in a real engine: two bridges on one outbox, one of them killed.

Run by tests/compose/run.sh; not collected by a plain pytest.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import requests
from tests.compose.project import (
    Project,
    assert_confined,
    assert_healthy,
    brought_up,
    documented,
    wait_for,
)

SERVICES = ("postgres", "alertbridge-1", "alertbridge-2", "proxy")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """The stack with two bridges in place of the one, and the sandbox, whose address comes from secret files."""
    webhook, secret = (tmp_path_factory.mktemp("secrets") / name for name in ("webhook", "secret"))
    webhook.write_text("http://sandbox:8070/robot/send?access_token=sandbox\n")
    secret.write_text("SECsandbox\n")
    environ = {
        "ALERTBRIDGE_REPLICAS": "0",
        "DINGTALK_WEBHOOK": "http://sandbox:8070/robot/send?access_token=not-this-one",
        "DINGTALK_WEBHOOK_FILE": str(webhook),
        "DINGTALK_SECRET_FILE": str(secret),
    }
    project = Project(f"epochwatch-replicas-{os.getpid()}", "demo", "postgres", environ=environ)
    with brought_up(project, "prometheus", "alertmanager", "sandbox", "proxy") as project:
        wait_for(lambda: ready(project), 120, "the bridges")
        yield project


def ready(project: Project) -> bool:
    return requests.get(project.url("alertbridge", "/-/ready"), timeout=5).ok


def fire(project: Project, run: str) -> None:
    """Gives Alertmanager a critical alert, which it hands on at once."""
    labels = {"alertname": "TrainingStalled", "run": run, "severity": "critical"}
    alert = {"labels": labels, "annotations": {"summary": f"{run} stands still"}}
    answer = requests.post(project.url("alertmanager", "/api/v2/alerts"), json=[alert], timeout=10)
    answer.raise_for_status()


@pytest.mark.timeout(300)
def test_a_killed_bridge_is_not_missed(project: Project) -> None:
    """What either bridge accepted comes once, although one is killed while the robot fails, and the proxy goes on."""
    mode = project.url("sandbox", "/api/mode")
    wait_for(lambda: requests.put(mode, json={"mode": "busy"}, timeout=5).ok, 60, "the sandbox")
    for number in range(4):
        fire(project, f"before-{number}")
    wait_for(lambda: outbox(project) >= 4, 60, "four notifications in the outbox")

    project("kill", "--signal", "KILL", "alertbridge-1")
    for number in range(2):
        fire(project, f"after-{number}")
    requests.put(mode, json={"mode": "ok"}, timeout=5).raise_for_status()

    runs = {*(f"before-{number}" for number in range(4)), *(f"after-{number}" for number in range(2))}
    # What the killed one was sending is taken over when its lease has run out, after 90 seconds.
    wait_for(lambda: all(told(project, run) for run in runs), 200, f"messages of {sorted(runs)}")
    assert {run: told(project, run) for run in runs} == dict.fromkeys(runs, 1)


def outbox(project: Project) -> float:
    """Gives how many notifications wait, as the database has it."""
    count = "SELECT count(*) FROM notifications"
    shown = project.run_in(
        "postgres", "psql", "--username", "alertbridge", "--tuples-only", "--command", count
    )
    return float(shown.stdout.strip() or 0)


def told(project: Project, run: str) -> int:
    return sum(run in message["text"] for message in project.messages())


def test_a_bridge_that_comes_back_takes_part_again(project: Project) -> None:
    """The proxy finds the new container under its name, and Prometheus scrapes each bridge by itself."""
    project.up("alertbridge-1")

    def up() -> set[str]:
        return {one["metric"]["instance"] for one in project.query('up{job="alertbridge"} == 1')}

    instances = {"alertbridge:8060", "alertbridge-1:8060", "alertbridge-2:8060"}
    wait_for(lambda: up() == instances, 90, f"{instances} to be up")
    alive = 'sum(haproxy_server_status{proxy="bridges",state="UP"}) == 2'
    wait_for(lambda: project.query(alive), 60, "two bridges behind the proxy")


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_healthy_and_confined(project: Project, service: str) -> None:
    """Each passes its own check, runs as nobody in particular, and cannot write to its system."""
    assert_healthy(project, service)
    assert_confined(project, service)


def test_the_database_is_reached_by_the_bridges_alone(project: Project) -> None:
    """No port is published, the password is nobody's to guess, and it stands in no container's settings."""
    known = project.inspect("postgres")
    password = project.run_in("alertbridge-2", "cat", "/run/database/password").stdout
    elsewhere = project.run_in("alertmanager", "cat", "/run/database/password")

    assert not any(known["HostConfig"]["PortBindings"].values())
    assert len(password) >= 40
    assert elsewhere.returncode != 0
    assert password not in str([project.inspect(service) for service in SERVICES])


def test_the_database_is_copied_and_restored_as_documented(project: Project) -> None:
    """The dump of docs/operations.md is one, and goes back into the database while no bridge runs."""
    dump = "/var/lib/postgresql/test.dump"
    command = documented("operations.md", "postgres pg_dump")
    made = project.run_in("postgres", *command[: command.index(">")], "--file", dump)
    project("stop", "alertbridge-1", "alertbridge-2")
    command = documented("operations.md", "postgres pg_restore")
    restored = project.run_in("postgres", *command[: command.index("<")], dump)
    project.up("proxy")

    assert (made.returncode, made.stderr) == (0, "")
    assert (restored.returncode, restored.stderr) == (0, "")
    wait_for(lambda: ready(project), 60, "the bridges on the restored database")
