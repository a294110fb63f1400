"""A webhook on its way into the outbox, with all that can be computed before the store is touched."""

from __future__ import annotations

from dataclasses import dataclass

from alertbridge.identity import REPEAT_REASON, Sending, alert_key, group_hash, group_key, telling_key
from alertbridge.webhook import Alert, Notification


@dataclass(frozen=True)
class Arrival:
    """One accepted webhook.

    Attributes:
        source: which Alertmanager sent it, as well as one can tell.
        body: the webhook's own text.
        received_at: seconds since the epoch.
        key: of the telling.
        group_key: of the alert group at this receiver.
        firing: by alert key, the alerts that fire.
        resolved: keys of those that have ended.
        says_repeat: whether it is a repeat by its own words; None if it does not say why it comes.
    """

    receiver: str
    source: str
    notification: Notification
    body: str
    received_at: float
    key: str
    group_key: str
    group_hash: str
    firing: dict[str, Alert]
    resolved: tuple[str, ...]
    says_repeat: bool | None

    @classmethod
    def of(
        cls, receiver: str, source: str, notification: Notification, body: str, received_at: float
    ) -> Arrival:
        """Takes what came in, gives the arrival with its keys."""
        alerts = notification.alerts
        reason = (notification.model_extra or {}).get("notification_reason")
        return cls(
            receiver=receiver,
            source=source,
            notification=notification,
            body=body,
            received_at=received_at,
            key=telling_key(receiver, notification),
            group_key=group_key(receiver, notification),
            group_hash=group_hash(notification),
            firing={alert_key(receiver, alert): alert for alert in alerts if not alert.ended},
            resolved=tuple(alert_key(receiver, alert) for alert in alerts if alert.ended),
            says_repeat=None if reason is None else reason == REPEAT_REASON,
        )

    @property
    def sending(self) -> Sending:
        return Sending(self.key, self.source, self.received_at, self.says_repeat)

    @property
    def critical(self) -> bool:
        return any(alert.labels.get("severity") == "critical" for alert in self.firing.values())
