"""The dead man's switch."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from alertbridge.app import create_app
from alertbridge.bridge import Bridge
from alertbridge.outbox.outbox import Outbox
from alertbridge.settings import Settings
from alertbridge.watchdog import Watchdog, silence
from alertbridge.webhook import Notification

Body = Callable[..., str]


@pytest.fixture
def told() -> list[tuple[str, str]]:
    """What the watchdog has told: alert name and status."""
    return []


@pytest.fixture
def watchdog(outbox: Outbox, clock: Any, told: list[tuple[str, str]]) -> Watchdog:
    """A watchdog of receiver `ml` that waits 60 s."""

    def accept(receiver: str, notification: Notification) -> None:
        assert receiver == "ml"
        told.append((notification.alerts[0].labels["alertname"], notification.status))

    return Watchdog("ml", 60, outbox, accept, clock())


def test_nothing_is_told_while_heartbeats_come(
    outbox: Outbox, clock: Any, watchdog: Watchdog, told: list[tuple[str, str]]
) -> None:
    """A beat within the time keeps it quiet."""
    for _ in range(10):
        clock.pass_by(50)
        watchdog.step(clock())
        outbox.beat("ml", clock())
    assert told == []


def test_silence_is_told_once_and_its_end_too(
    outbox: Outbox, clock: Any, watchdog: Watchdog, told: list[tuple[str, str]]
) -> None:
    """After the time without a beat there is one critical alert, and a resolved one when they come again."""
    outbox.beat("ml", clock())
    for _ in range(20):
        clock.pass_by(10)
        watchdog.step(clock())
    assert told == [("MonitoringSilent", "firing")]
    outbox.beat("ml", clock())
    watchdog.step(clock())
    assert told[1:] == [("MonitoringSilent", "resolved")]


def test_a_start_is_given_the_same_time(clock: Any, watchdog: Watchdog, told: list[tuple[str, str]]) -> None:
    """A bridge that has just started waits as long for the first beat."""
    assert watchdog.step(clock()) == 60
    clock.pass_by(59)
    watchdog.step(clock())
    assert told == []
    clock.pass_by(1)
    watchdog.step(clock())
    assert len(told) == 1


def test_a_restart_forgets_neither_a_silence_nor_its_end(
    outbox: Outbox, clock: Any, watchdog: Watchdog, told: list[tuple[str, str]]
) -> None:
    """Who was told of a silence is told of it once, and of its end, though the bridge began anew in between."""
    outbox.beat("ml", clock())
    clock.pass_by(60)
    watchdog.step(clock())
    since = outbox.silent_since("ml")
    # Longer than traces of duplicates are kept.
    clock.pass_by(86_400)
    outbox.sweep(clock(), 60)
    spoken: list[Notification] = []
    again = Watchdog("ml", 60, outbox, lambda receiver, notification: spoken.append(notification), clock())
    for _ in range(20):
        clock.pass_by(10)
        again.step(clock())
    assert spoken == []
    outbox.beat("ml", clock())
    again.step(clock())
    again.step(clock())
    assert [one.status for one in spoken] == ["resolved"]
    assert spoken[0].alerts[0].starts_at.timestamp() == since
    clock.pass_by(60)
    again.step(clock())
    assert [one.status for one in spoken] == ["resolved", "firing"]


def test_both_messages_are_one_alert() -> None:
    """Firing and resolved have the same identity, so that the end is shown with its duration."""
    assert silence(1.0, None).alerts[0].identity == silence(1.0, 9.0).alerts[0].identity


@pytest.fixture
def open_bridge(sqlite_storage: Any, make_robot: Callable[..., Any]) -> Iterator[Callable[..., Bridge]]:
    """Makes a bridge whose receiver `ml` is set as told."""
    made: list[Any] = []

    def make(**receiver: Any) -> Any:
        robot = {"dingtalk": {"webhook": "https://example.com/robot/send?access_token=x"}}
        receivers = {"ml": {"robots": [robot], **receiver}}
        settings = Settings.model_validate({"storage": sqlite_storage, "receivers": receivers})
        app = create_app(settings, robots=lambda settings, keyword: make_robot())
        made.append(app.extensions["alertbridge"])
        return app

    yield make
    for bridge in made:
        bridge.outbox.close()


@pytest.mark.parametrize(("receiver", "status"), [({"watchdog_seconds": 60}, "heartbeat"), ({}, "stored")])
def test_a_watchdog_alert_is_a_heartbeat_where_one_is_expected(
    open_bridge: Callable[..., Any], webhook_body: Body, receiver: dict[str, Any], status: str
) -> None:
    """With watchdog_seconds the Watchdog alert is noted and not told; without, it is an alert like any other."""
    app = open_bridge(**receiver)
    answer = app.test_client().post(
        "/v1/alerts/ml", data=webhook_body("Watchdog", severity="info"), content_type="application/json"
    )
    assert (answer.status_code, answer.json) == (202, {"status": status})
    outbox = app.extensions["alertbridge"].outbox
    assert len(outbox.entries(["waiting"])) == (status == "stored")
    assert (outbox.last_beat("ml") is not None) == (status == "heartbeat")


def test_silence_reaches_the_robot(open_bridge: Callable[..., Any], make_robot: Callable[..., Any]) -> None:
    """What the watchdog says goes the way of every alert."""
    bridge = open_bridge(watchdog_seconds=10).extensions["alertbridge"]
    bridge._accept_own("ml", silence(1.0, None))
    (entry,) = bridge.outbox.entries(["waiting"])
    assert "监控已沉默" in entry.body


def test_a_resolved_watchdog_is_no_sign_of_life(
    open_bridge: Callable[..., Any], webhook_body: Body, clock: Any
) -> None:
    """Alertmanager resolves it when Prometheus has gone silent: it is neither a beat nor told."""
    app = open_bridge(watchdog_seconds=60)
    outbox = app.extensions["alertbridge"].outbox

    def post(text: str) -> int:
        answer = app.test_client().post("/v1/alerts/ml", data=text, content_type="application/json")
        return int(answer.status_code)

    assert post(webhook_body("Watchdog", status="resolved")) == 202
    assert outbox.last_beat("ml") is None
    assert outbox.entries(["waiting"]) == []

    two = json.loads(webhook_body("Watchdog", runs=("a", "b")))
    two["alerts"][0]["status"] = "resolved"
    assert post(json.dumps(two)) == 202
    assert outbox.last_beat("ml") is not None


def test_a_resolved_watchdog_ends_no_silence(
    open_bridge: Callable[..., Any], webhook_body: Body, clock: Any, told: list[tuple[str, str]]
) -> None:
    """People who know that the monitoring is silent are told the end only by a firing Watchdog."""
    app = open_bridge(watchdog_seconds=60)
    outbox = app.extensions["alertbridge"].outbox
    outbox.beat("ml", clock())
    clock.pass_by(60)
    looking = Watchdog(
        "ml", 60, outbox, lambda receiver, said: told.append((receiver, said.status)), clock() - 60
    )
    looking.step(clock())
    statuses = []
    for status in ("resolved", "firing"):
        text = webhook_body("Watchdog", status=status)
        app.test_client().post("/v1/alerts/ml", data=text, content_type="application/json")
        looking.step(outbox.last_beat("ml"))
        statuses.append([said for _, said in told])
    assert statuses == [["firing"], ["firing", "resolved"]]
