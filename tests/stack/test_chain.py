"""The whole chain with real processes: gauge → Prometheus → Alertmanager → bridge → robot."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import requests

import epochwatch
from demo.group import Group
from demo.stack import Service, Stack, bridge_config, console_script, wait_until
from demo.watch import metric

pytestmark = pytest.mark.stack

FIXTURES = Path(__file__).parents[1] / "alertbridge" / "fixtures"
FIRING = FIXTURES / "webhook-firing-0.25.0.json"


def storage(stack: Stack) -> str:
    return f"sqlite:///{stack.directory / 'alertbridge.db'}"


def post(bridge: Service, path: Path) -> None:
    """Gives the bridge a recorded webhook as Alertmanager would."""
    headers = {"Content-Type": "application/json"}
    answer = requests.post(
        f"{bridge.url}/dingtalk/default/send", data=path.read_bytes(), headers=headers, timeout=5
    )
    assert answer.status_code == 202, answer.text


def logs(stack: Stack) -> str:
    """Gives all that the stack's processes have printed, but for the sandbox: it tells its address on purpose."""
    paths = [path for path in stack.directory.glob("*.log") if path.stem != "sandbox"]
    return "".join(path.read_text(errors="replace") for path in paths)


def test_a_plateau_is_told_and_its_end_too(stack: Stack, group: Group, bridge: Service) -> None:
    """A run whose loss stands still is told in the group, signed; so is that it moves again."""
    alertmanager = stack.alertmanager(bridge.url)
    stack.prometheus(alertmanager.url)

    with epochwatch.start("standing-still", patience=2, port=0, targets_dir=str(stack.targets)) as run:
        for epoch in run.epochs(3):
            run.log("validation", loss=0.5 + epoch)
        fired = group.wait_for("standing-still")
        assert "TrainingLossPlateau" in fired["title"] + fired["text"]
        assert fired["id"] in group.accepted()

        run.log("validation", loss=0.1)
        run.epoch_end()
        wait_until(lambda: len(group.with_text("standing-still")) >= 2, 30, "the message that it moves again")

    assert [message["title"] for message in group.with_text("standing-still")][1] != fired["title"]
    assert all(attempt["errcode"] == 0 for attempt in group.attempts())


def test_a_bridge_killed_before_delivery_delivers_once_it_is_back(
    stack: Stack, group: Group, bridge: Service
) -> None:
    """What was answered 202 survives kill -9 and is shown exactly once."""
    group.mode("hang")
    post(bridge, FIRING)
    bridge.kill()
    assert group.messages() == []

    group.mode("ok")
    bridge.start()
    group.wait_for("r0", seconds=90)
    wait_until(
        lambda: metric(bridge.url, "alertbridge_outbox_messages", state="delivered") == 1, 30, "its settling"
    )
    assert len(group.with_text("r0")) == 1


def test_a_wrong_secret_ends_in_the_dead_letters_with_its_reason(stack: Stack, group: Group) -> None:
    """A refused signature is not retried for ever; metrics and the outbox say why, and nothing tells the secret."""
    wrong = "SEC0000000000000000bad"
    bridge = stack.bridge(bridge_config(group.webhook, secret=wrong))
    post(bridge, FIRING)
    wait_until(
        lambda: metric(bridge.url, "alertbridge_messages_total", receiver="default", outcome="dead"),
        20,
        "the dead letter",
    )

    assert metric(bridge.url, "alertbridge_errors_total", receiver="default", errcode="310000") >= 1
    assert group.messages() == []
    config = stack.directory / "alertbridge.yml"
    listed = subprocess.run(
        [
            console_script("alertbridge"),
            "outbox",
            "list",
            "--config",
            str(config),
            "--storage",
            storage(stack),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    ).stdout
    assert "310000" in listed
    metrics = requests.get(f"{bridge.url}/metrics", timeout=5).text
    for text in (logs(stack), listed, metrics):
        assert wrong not in text
        assert group.token not in text


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("webhook-*.json")), ids=lambda path: path.stem)
def test_recorded_bodies_of_old_and_new_alertmanagers_are_delivered(
    path: Path, group: Group, bridge: Service
) -> None:
    """Webhook bodies that Alertmanager 0.25 and 0.33 really sent arrive as messages."""
    post(bridge, path)
    shown = group.wait_for("r0")
    assert shown["id"] in group.accepted()


def test_no_secret_is_told_on_a_good_day_either(stack: Stack, group: Group, bridge: Service) -> None:
    """After a delivered message no log, page or metric of the bridge holds the token or the signing secret."""
    post(bridge, FIRING)
    group.wait_for("r0")
    pages = [
        requests.get(bridge.url + path, timeout=5).text for path in ("/", "/metrics", "/-/ready", "/nowhere")
    ]
    for text in [stack.log("alertbridge").read_text(), *pages]:
        assert group.token not in text
        assert group.secret not in text
