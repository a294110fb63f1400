"""A webhook on its way into the outbox, with all that can be computed before the store is touched."""

from __future__ import annotations

from dataclasses import dataclass

from alertbridge.identity import REPEAT_REASON, alert_key, group_hash, telling_key
from alertbridge.webhook import Alert, Notification


@dataclass(frozen=True)
class Arrival:
    """One accepted webhook.

    Attributes:
        source: which Alertmanager sent it, as well as one can tell.
        body: the webhook's own text.
        received_at: seconds since the epoch.
        firing: by alert key, the alerts that fire.
        resolved: keys of those that have ended.
    """

    receiver: str
    source: str
    notification: Notification
    body: str
    received_at: float
    key: str
    group_hash: str
    firing: dict[str, Alert]
    resolved: tuple[str, ...]
    says_repeat: bool

    @classmethod
    def of(
        cls, receiver: str, source: str, notification: Notification, body: str, received_at: float
    ) -> Arrival:
        """Takes what came in, gives the arrival with its keys."""
        alerts = notification.alerts
        extra = notification.model_extra or {}
        return cls(
            receiver=receiver,
            source=source,
            notification=notification,
            body=body,
            received_at=received_at,
            key=telling_key(receiver, notification),
            group_hash=group_hash(notification),
            firing={alert_key(receiver, alert): alert for alert in alerts if not alert.ended},
            resolved=tuple(alert_key(receiver, alert) for alert in alerts if alert.ended),
            says_repeat=extra.get("notification_reason") == REPEAT_REASON,
        )

    @property
    def critical(self) -> bool:
        return any(alert.labels.get("severity") == "critical" for alert in self.firing.values())
