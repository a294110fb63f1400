"""Makes one notification of several: the newest state of each alert, firing and critical first. Pure.

Between the outbox and the renderer: what waited together is told together.
"""

from __future__ import annotations

from collections.abc import Sequence

from alertbridge.webhook import Alert, Notification

_SEVERITIES = {"critical": 0, "warning": 1, "info": 2}


def merge(notifications: Sequence[Notification]) -> Notification:
    """Takes notifications in the order in which they came, gives one that tells their newest state.

    An alert that fired and resolved meanwhile appears once, resolved, with its start and its end. Of several
    groups only what they share stays in the group's and the common labels.
    """
    newest = notifications[-1]
    if len(notifications) == 1:
        return newest
    by_identity: dict[str, Alert] = {}
    for notification in notifications:
        for alert in notification.alerts:
            by_identity[alert.identity] = alert
    alerts = tuple(sorted(by_identity.values(), key=_rank))
    return newest.model_copy(
        update={
            "status": "firing" if any(not alert.ended for alert in alerts) else "resolved",
            "alerts": alerts,
            "group_labels": _shared([notification.group_labels for notification in notifications]),
            "common_labels": _shared([alert.labels for alert in alerts]),
            "common_annotations": _shared([alert.annotations for alert in alerts]),
            "truncated_alerts": _truncated(notifications),
        }
    )


def _rank(alert: Alert) -> tuple[bool, int, float]:
    return alert.ended, _SEVERITIES.get(alert.labels.get("severity", ""), 1), alert.starts_at.timestamp()


def _truncated(notifications: Sequence[Notification]) -> int:
    last_of_group = {notification.group_key: notification.truncated_alerts for notification in notifications}
    return sum(last_of_group.values())


def _shared(labels: Sequence[dict[str, str]]) -> dict[str, str]:
    first, *others = labels
    return {name: value for name, value in first.items() if all(other.get(name) == value for other in others)}
