"""Several notifications told as one."""

from __future__ import annotations

from collections.abc import Callable

from alertbridge.merge import merge
from alertbridge.webhook import parse

Body = Callable[..., str]


def test_one_stays_as_it_is(webhook_body: Body) -> None:
    """A single notification is not touched."""
    only = parse(webhook_body())
    assert merge([only]) is only


def test_the_newest_state_of_each_alert_counts(webhook_body: Body) -> None:
    """An alert that fired and then resolved is told once, resolved, with its start and end."""
    fired, ended = parse(webhook_body()), parse(webhook_body(status="resolved"))
    merged = merge([fired, ended])
    assert merged.status == "resolved"
    assert merged.alerts == ended.alerts


def test_firing_and_critical_come_first(webhook_body: Body) -> None:
    """The order is firing before resolved, then by severity."""
    bodies = [
        webhook_body("Over", severity="critical", status="resolved"),
        webhook_body("Note", severity="info"),
        webhook_body("Bad", severity="critical"),
        webhook_body("Hm", severity="warning"),
    ]
    merged = merge([parse(body) for body in bodies])
    assert [alert.labels["alertname"] for alert in merged.alerts] == ["Bad", "Hm", "Note", "Over"]
    assert merged.status == "firing"


def test_groups_share_only_what_is_the_same(webhook_body: Body) -> None:
    """Labels that differ between the groups are in none of the common ones."""
    merged = merge([parse(webhook_body("A", run="r0")), parse(webhook_body("B", run="r0"))])
    assert merged.group_labels == {"run": "r0"}
    assert merged.common_labels == {"run": "r0", "severity": "warning"}


def test_alerts_left_out_by_alertmanager_are_counted_once_a_group(webhook_body: Body) -> None:
    """truncatedAlerts of a group's last notification are added up over the groups."""
    bodies = [
        webhook_body("A", truncatedAlerts=5),
        webhook_body("A", status="resolved", truncatedAlerts=3),
        webhook_body("B", truncatedAlerts=1),
    ]
    assert merge([parse(body) for body in bodies]).truncated_alerts == 4
