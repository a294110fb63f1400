"""A dead man's switch: tells a receiver that its monitoring has gone silent.

Prometheus sends an alert `Watchdog` that always fires; Alertmanager repeats it. While it comes, nobody is told. When
it stays away, the bridge says so by itself: it is the only one left who can.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from typing import Protocol

from alertbridge.webhook import Notification

ALERTNAME = "Watchdog"
SILENT = "MonitoringSilent"
# What the bridge sends to itself carries no Alertmanager's address.
SOURCE = "alertbridge"
# What was noted further in the future than this is of a clock that has been set back since.
SKEW_SECONDS = 5.0

Accept = Callable[[str, Notification], object]


class Beats(Protocol):
    """What is remembered of a receiver's monitoring, for all replicas and over restarts; the outbox is one."""

    def beat(self, receiver: str, now: float) -> None:
        """Notes a heartbeat."""

    def last_beat(self, receiver: str) -> float | None:
        """Gives when the last heartbeat came, seconds since the epoch."""

    def silent_since(self, receiver: str) -> float | None:
        """Gives since when the silence lasts that people were told of, if they were."""

    def note_silence(self, receiver: str, since: float | None) -> None:
        """Takes since when the silence lasts that people were told of, or None once its end is told."""


def is_heartbeat(notification: Notification) -> bool:
    """Takes a webhook, gives whether it tells of the monitoring's heartbeat and of nothing else."""
    return all(alert.labels.get("alertname") == ALERTNAME for alert in notification.alerts)


def is_alive(notification: Notification) -> bool:
    """Takes a heartbeat, gives whether it is a sign of life: a resolved one tells that Prometheus is silent."""
    return any(not alert.ended for alert in notification.alerts)


class Watchdog:
    """Takes a receiver and its patience, tells it when the heartbeats stop and when they are back.

    Args:
        beats: remembers heartbeats and what was told of them.
        accept: puts a notification for a receiver into the outbox.
        started_at: silence counts from here until the first heartbeat.
    """

    def __init__(
        self, receiver: str, silent_after_seconds: float, beats: Beats, accept: Accept, started_at: float
    ) -> None:
        self._receiver = receiver
        self._silent_after_seconds = silent_after_seconds
        self._beats = beats
        self._accept = accept
        self._started_at = started_at

    def step(self, now: float) -> float:
        """Looks once; gives the seconds until the next look.

        Raises:
            StoreError: the outbox cannot be used now; it is looked again.
        """
        last_beat = self._beats.last_beat(self._receiver) or 0.0
        told_since = self._beats.silent_since(self._receiver)
        if told_since is not None and last_beat > told_since:
            # Noted after it is told: a crash in between tells it twice rather than never.
            self._accept(self._receiver, silence(told_since, last_beat))
            self._beats.note_silence(self._receiver, None)
            told_since = None
        if last_beat > now + SKEW_SECONDS:
            self._beats.beat(self._receiver, now)
        if told_since is not None and told_since > now + SKEW_SECONDS:
            self._beats.note_silence(self._receiver, now)
        self._started_at = min(self._started_at, now)
        beat = max(min(last_beat, now), self._started_at)
        silent_at = beat + self._silent_after_seconds
        if told_since is None and now >= silent_at:
            self._accept(self._receiver, silence(beat, None))
            self._beats.note_silence(self._receiver, beat)
        return max(1.0, silent_at - now) if now < silent_at else 1.0


def silence(last_beat: float, ended_at: float | None) -> Notification:
    """Takes when the last heartbeat came and when they began again, or none; gives what is told."""
    labels = {"alertname": SILENT, "severity": "critical"}
    annotations = {
        "summary": "The monitoring is silent: the Watchdog alert has stopped coming.",
        "summary_zh": "监控已沉默：Watchdog 告警不再到来。",
        "description": "No alert can be trusted to arrive until it is back. Look at Prometheus and Alertmanager.",
        "description_zh": "恢复之前，任何告警都可能收不到。请检查 Prometheus 和 Alertmanager。",
    }
    status = "firing" if ended_at is None else "resolved"
    alert = {
        "status": status,
        "labels": labels,
        "annotations": annotations,
        "starts_at": _moment(last_beat),
        "fingerprint": SILENT,
    }
    if ended_at is not None:
        alert["ends_at"] = _moment(ended_at)
    return Notification.model_validate(
        {
            "version": "4",
            "status": status,
            "alerts": [alert],
            "group_key": f"alertbridge:{SILENT}",
            "group_labels": {"alertname": SILENT},
            "common_labels": labels,
            "common_annotations": annotations,
        }
    )


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, timezone.utc)
