"""From what was claimed to the message that a robot sends: read, merge, ask for the curve, render.

Between the outbox and the robot. Whatever is wrong with one stored body, the others are told.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import replace
from datetime import datetime, timezone
from itertools import chain
from pathlib import Path

from alertbridge.curve import CurveReader
from alertbridge.errors import ConfigError, TemplateError, WebhookError
from alertbridge.merge import merge
from alertbridge.message import Message
from alertbridge.outbox.claim import Claim
from alertbridge.plainly import plain_message
from alertbridge.render import Backlog, Renderer, Style, anything
from alertbridge.robots.outcome import Robot
from alertbridge.settings import Settings
from alertbridge.webhook import Notification, parse

log = logging.getLogger(__name__)


class Teller:
    """Takes settings, makes messages as they say.

    Args:
        now: the present, for ages and local times.

    Raises:
        ConfigError: a receiver's template cannot be used.
    """

    def __init__(
        self, settings: Settings, now: Callable[[], datetime] = lambda: datetime.now(timezone.utc)
    ) -> None:
        self._now = now
        self._styles = {name: Style.of(settings, name) for name in settings.receivers}
        self._renderer = Renderer(Path(settings.templates_dir) if settings.templates_dir else None)
        self._backlog_turn = threading.Lock()
        self._curves = CurveReader(settings.prometheus_url) if settings.prometheus_url else None
        for name, style in self._styles.items():
            try:
                self._renderer.check(style, example(self._now()), now=self._now())
            except TemplateError as error:
                raise ConfigError(f"receivers.{name}.template: {error}") from None

    def tell(self, receiver: str, claim: Claim, bodies: Iterable[str], robot: Robot | None = None) -> Message:
        """Takes what was claimed for a receiver, and the robot that sends it; gives the message with its msgUuid.

        Args:
            bodies: the claimed webhooks, oldest first.
        """
        backlog = None
        if claim.groups > 1:
            oldest_at = datetime.fromtimestamp(min(claim.received_at), timezone.utc)
            backlog = Backlog(len(claim.received_at), oldest_at, claim.held_up_by)
        # After an outage all receivers have much to tell at once, which together may be more than the memory.
        with self._backlog_turn if len(claim.received_at) > 1 else nullcontext():
            readable = (notification for body in bodies if (notification := _read(body)) is not None)
            first = next(readable, None) or example(self._now())
            told = chain([first], readable)
            if claim.plain:
                fits = anything if robot is None else robot.fits
                return replace(
                    plain_message(merge(told), self._styles[receiver], fits), uuid=f"{claim.uuid}-plain"
                )
            return replace(self.message(receiver, told, backlog, robot), uuid=claim.uuid)

    def message(
        self,
        receiver: str,
        notifications: Iterable[Notification],
        backlog: Backlog | None = None,
        robot: Robot | None = None,
    ) -> Message:
        """Takes notifications in the order in which they came, gives one message for all.

        Args:
            robot: the message holds no more alerts than this robot takes; absent: than DingTalk's.
        """
        merged = merge(notifications)
        curve = None if self._curves is None or backlog is not None else self._curves.read(merged)
        return self._renderer.render(
            merged,
            self._styles[receiver],
            now=self._now(),
            curve=curve,
            backlog=backlog,
            fits=anything if robot is None else robot.fits,
        )


def example(now: datetime) -> Notification:
    """Gives a harmless notification, to try a template or a robot."""
    labels = {"alertname": "AlertbridgeTest", "severity": "info"}
    annotations = {
        "summary": "This is a test of the alert bridge.",
        "summary_zh": "这是告警桥的一条测试消息。",
    }
    alert = {
        "status": "firing",
        "labels": labels,
        "annotations": annotations,
        "starts_at": now,
        "fingerprint": "test",
    }
    return Notification.model_validate(
        {
            "version": "4",
            "status": "firing",
            "alerts": [alert],
            "group_key": "alertbridge test",
            "group_labels": {"alertname": "AlertbridgeTest"},
            "common_labels": labels,
            "common_annotations": annotations,
        }
    )


def _read(body: str) -> Notification | None:
    try:
        return parse(body)
    except WebhookError as error:
        log.error("a stored webhook cannot be read any more and is left out: %s", error)
        return None
