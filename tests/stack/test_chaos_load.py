"""More alerts than the group can bear: bursts, an outage, an Alertmanager pair, ten thousand at once."""

from __future__ import annotations

import os
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import requests
from tests.stack.chaos import (
    LOCK_SECONDS,
    WINDOW_SECONDS,
    Alerts,
    assert_lock_never_sprung,
    assert_nothing_lost_or_doubled,
    chaos_config,
    chaos_group,
    outbox,
    told,
    wait_for_all,
)

from demo.group import Group
from demo.stack import Service, Stack, free_port, wait_until
from demo.watch import metric

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]

# DingTalk's hour, sixty times as fast.
OUTAGE_SECONDS = 60.0
MANY = 10_000

only_long = pytest.mark.skipif("CHAOS_KILLS" not in os.environ, reason="takes minutes; make chaos runs it")


@pytest.fixture
def group(stack: Stack) -> Group:
    """A robot with DingTalk's limit, ten times as fast."""
    return chaos_group(stack)


@pytest.fixture
def bridge(stack: Stack, group: Group) -> Service:
    """A bridge that is configured for this robot, its lock included."""
    return stack.bridge(chaos_config(group, lock_seconds=LOCK_SECONDS))


def dropped(bridge: Service, reason: str) -> float:
    return metric(bridge.url, "alertbridge_notifications_dropped_total", reason=reason)


def test_a_burst_of_forty_groups_is_told_within_two_windows(
    stack: Stack, group: Group, bridge: Service
) -> None:
    """Forty groups at once, half of them resolving after a third of a window: all told, the lock never sprung."""
    alerts = Alerts(stack.alertmanager(bridge.url, group_interval="1s"))
    began = time.monotonic()
    runs = alerts.fire(40)
    time.sleep(WINDOW_SECONDS / 3)
    alerts.resolve(runs[::2])
    wait_for_all(bridge, group, set(runs[::2]), "resolved")
    wait_for_all(bridge, group, set(runs[1::2]), "firing")
    seconds = time.monotonic() - began

    assert seconds < 2 * WINDOW_SECONDS
    assert_nothing_lost_or_doubled(bridge, group, alerts.ended)
    assert_lock_never_sprung(group)
    assert metric(bridge.url, "alertbridge_robot_limited") == 0


@only_long
def test_an_outage_of_the_robot_ends_in_one_digest(stack: Stack, group: Group, bridge: Service) -> None:
    """What fires and ends while the robot is out of reach is told in a single message once it is back."""
    alerts = Alerts(stack.alertmanager(bridge.url, group_interval="1s"))
    group.sandbox.kill()
    for _ in range(6):
        alerts.fire(5)
        time.sleep(OUTAGE_SECONDS / 12)
    wait_until(lambda: metric(bridge.url, "alertbridge_notifications_received_total") == 30, 20, "the alerts")
    ended = sorted(alerts.started)[::3]
    # Alertmanager tells of an end only after it has noted that the beginning was taken.
    time.sleep(OUTAGE_SECONDS / 2)
    alerts.resolve(ended)
    wait_until(lambda: metric(bridge.url, "alertbridge_notifications_received_total") == 40, 20, "the ends")

    group.sandbox.start()
    wait_for_all(bridge, group, alerts.ended, "resolved", seconds=150)
    wait_for_all(bridge, group, alerts.started.keys() - alerts.ended, "firing")
    assert len(group.messages()) == 1
    assert told(group.messages()).total() == 30
    assert_nothing_lost_or_doubled(bridge, group, alerts.ended)


@pytest.mark.parametrize(
    "gossip", [pytest.param(False, marks=only_long, id="alone"), pytest.param(True, id="gossip")]
)
def test_a_pair_of_alertmanagers_tells_everything_once(
    stack: Stack, group: Group, bridge: Service, gossip: bool
) -> None:
    """Two Alertmanagers that both get every alert do not make two messages, nor a firing after its end."""
    alerts = Alerts(*pair(stack, bridge, gossip))
    runs = alerts.fire(8)
    wait_for_all(bridge, group, set(runs), "firing")
    time.sleep(1)
    alerts.resolve(runs)
    wait_for_all(bridge, group, alerts.ended, "resolved")
    # The second one waits so long for the first one's word.
    time.sleep(3)
    assert_nothing_lost_or_doubled(bridge, group, alerts.ended)
    if not gossip:
        assert dropped(bridge, "duplicate") == 2 * len(runs)


def pair(stack: Stack, bridge: Service, gossip: bool) -> list[Service]:
    """Starts two Alertmanagers, which know of each other or not."""
    if not gossip:
        return [stack.alertmanager(bridge.url, group_interval="1s", name=name) for name in ("am1", "am2")]
    ports = [free_port(), free_port()]
    started = []
    for own, other in (ports, ports[::-1]):
        cluster = (
            f"--cluster.listen-address=127.0.0.1:{own}",
            f"--cluster.advertise-address=127.0.0.1:{own}",
            f"--cluster.peer=127.0.0.1:{other}",
            "--cluster.settle-timeout=1s",
            "--cluster.peer-timeout=2s",
        )
        name = f"am{len(started) + 1}"
        started.append(stack.alertmanager(bridge.url, group_interval="1s", name=name, cluster=cluster))
    for one in started:
        wait_until(
            lambda one=one: (
                len(requests.get(f"{one.url}/api/v2/status", timeout=5).json()["cluster"]["peers"]) == 2
            ),
            20,
            "the two Alertmanagers to find each other",
        )
    return started


@pytest.mark.parametrize(
    ("max_alerts", "words"),
    [pytest.param(None, 170, id="3 KB each, as shipped"), pytest.param(0, 10, marks=only_long, id="whole")],
)
def test_ten_thousand_alerts_in_one_webhook_are_one_message(
    stack: Stack, group: Group, bridge: Service, max_alerts: int | None, words: int
) -> None:
    """A group of 30 MB, more than a webhook may have, or all of a smaller one: one message, and one for its end."""
    alertmanager = stack.alertmanager(bridge.url, group_wait="3s", group_interval="3s", max_alerts=max_alerts)
    began = datetime.now(timezone.utc)
    post_many(alertmanager, began, began + timedelta(hours=1), words)
    first = group.wait_for("10000", seconds=60)
    wait_until(lambda: not outbox(bridge, "waiting", "sending"), 10, "its settling")
    post_many(alertmanager, began, datetime.now(timezone.utc), words)
    last = group.wait_for("RESOLVED", seconds=60)

    # On a slow machine Alertmanager's flush may come while it still takes alerts; then it tells of some, and of all.
    of_all = [message for message in group.messages() if "10000" in message["text"]]
    assert [message["id"] for message in of_all] == [first["id"], last["id"]]
    assert all(message["size_bytes"] <= 20_000 for message in group.messages())
    assert "9900 more" in first["text"]
    assert peak_memory_bytes(bridge) < 400e6


def peak_memory_bytes(service: Service) -> int:
    """Gives the most memory that the process has held so far."""
    assert service.process is not None
    status = Path(f"/proc/{service.process.pid}/status").read_text()
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


def post_many(alertmanager: Service, began: datetime, until: datetime, words: int) -> None:
    """Posts ten thousand alerts of one group, with so many words in their descriptions."""
    annotations = {
        "summary": "Step time of rank is far above the others'." * 2,
        "description": "Look at it. " * words,
        "description_zh": "请检查。" * (words // 3),
    }
    alerts = [
        {
            "labels": {"alertname": "ChaosProbe", "run": "wide", "severity": "warning", "rank": str(rank)},
            "annotations": annotations,
            "startsAt": began.isoformat(),
            "endsAt": until.isoformat(),
        }
        for rank in range(MANY)
    ]
    requests.post(f"{alertmanager.url}/api/v2/alerts", json=alerts, timeout=30).raise_for_status()
