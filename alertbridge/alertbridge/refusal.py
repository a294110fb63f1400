"""What the bridge says by itself about a webhook that it could not take: Alertmanager does not send it again.

So nobody would hear of those alerts, if not from the bridge. Told at most once an hour to each receiver.
"""

from __future__ import annotations

import threading
from datetime import datetime, timezone

from alertbridge.webhook import Notification

REFUSED = "AlertbridgeWebhookRefused"
QUIET_SECONDS = 3600.0


class Refusals:
    """Remembers when each receiver was told last. Safe to be used from several threads."""

    def __init__(self) -> None:
        self._told_at: dict[str, float] = {}
        self._lock = threading.Lock()

    def is_news(self, receiver: str, now: float) -> bool:
        """Takes a receiver whose webhook is refused now, gives whether it is to be told; it then counts as told."""
        with self._lock:
            told_at = self._told_at.get(receiver)
            if told_at is not None and abs(now - told_at) < QUIET_SECONDS:
                return False
            self._told_at[receiver] = now
            return True


def too_large(limit_bytes: int, now: float) -> Notification:
    """Takes the size that a webhook may have, gives the alert that one was larger."""
    labels = {"alertname": REFUSED, "severity": "warning"}
    annotations = {
        "summary": f"A webhook was larger than {limit_bytes} bytes; its alerts are not told.",
        "summary_zh": f"一条 webhook 超过 {limit_bytes} 字节，其中的告警未能送达。",
        "description": "Alertmanager's page shows what fires. Set max_alerts in its webhook_configs, or raise the "
        "bridge's max_body_bytes.",
        "description_zh": "Alertmanager 页面可查看正在触发的告警。请在 webhook_configs 中设置 max_alerts，"
        "或调大告警桥的 max_body_bytes。",
    }
    alert = {
        "status": "firing",
        "labels": labels,
        "annotations": annotations,
        "starts_at": datetime.fromtimestamp(now, timezone.utc),
        "fingerprint": REFUSED,
    }
    return Notification.model_validate(
        {
            "version": "4",
            "status": "firing",
            "alerts": [alert],
            "group_key": f"alertbridge:{REFUSED}",
            "group_labels": {"alertname": REFUSED},
            "common_labels": labels,
            "common_annotations": annotations,
        }
    )
