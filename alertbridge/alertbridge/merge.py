"""Makes one notification of several: the newest state of each alert, firing and critical first. Pure.

Between the outbox and the renderer: what waited together is told together.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce

from alertbridge.webhook import Alert, Notification

_SEVERITIES = {"critical": 0, "warning": 1, "info": 2}


def merge(notifications: Iterable[Notification]) -> Notification:
    """Takes notifications in the order in which they came, gives one that tells their newest state.

    They are taken one after the other, and of each only what it says last of an alert is kept.
    An alert that fired and resolved meanwhile appears once, resolved, with its start and its end. Of several
    groups only what they share stays in the group's and the common labels.
    """
    remaining = iter(notifications)
    only = newest = next(remaining)
    by_identity = {alert.identity: alert for alert in newest.alerts}
    group_labels = newest.group_labels
    truncated = {newest.group_key: newest.truncated_alerts}
    for newest in remaining:
        by_identity |= {alert.identity: alert for alert in newest.alerts}
        group_labels = _shared(group_labels, newest.group_labels)
        truncated[newest.group_key] = newest.truncated_alerts
    if newest is only:
        return newest
    alerts = tuple(sorted(by_identity.values(), key=_rank))
    return newest.model_copy(
        update={
            "status": "firing" if any(not alert.ended for alert in alerts) else "resolved",
            "alerts": alerts,
            "group_labels": group_labels,
            "common_labels": reduce(_shared, (alert.labels for alert in alerts)),
            "common_annotations": reduce(_shared, (alert.annotations for alert in alerts)),
            "truncated_alerts": sum(truncated.values()),
        }
    )


def _rank(alert: Alert) -> tuple[bool, int, float]:
    return alert.ended, _SEVERITIES.get(alert.labels.get("severity", ""), 1), alert.starts_at.timestamp()


def _shared(labels: dict[str, str], others: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in labels.items() if others.get(name) == value}
