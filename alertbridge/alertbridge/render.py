"""Makes the message of a notification: a template's text, cut to what a robot takes, title and mentions.

Fourth station of the flow, after the outbox and before the robot. Pure but for reading template files: the
present and the curve are handed in.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo

from alertbridge import settings
from alertbridge.alertview import Lens
from alertbridge.curve import Curve
from alertbridge.errors import TemplateError
from alertbridge.headline import TITLE_LIMIT
from alertbridge.markdown import clean
from alertbridge.mentions import mention_for
from alertbridge.message import Button, Message
from alertbridge.templating import BUILT_IN, Templates
from alertbridge.view import Backlog, View, view_of
from alertbridge.webhook import Notification

__all__ = ["Backlog", "Renderer", "Style", "size_bytes"]

logger = logging.getLogger(__name__)

# DingTalk takes 20,000 bytes of JSON; the robot adds its envelope and the message's id.
LARGEST_BODY_BYTES = 20_000
ENVELOPE_BYTES = 600
# How far texts are cut until a single alert fits.
SCALES = (1.0, 0.3, 0.1, 0.03)

Fits = Callable[[Message], bool]


@dataclass(frozen=True)
class Style:
    """How a receiver's messages look: its part of the configuration."""

    language: settings.Language = "zh"
    timezone: str = "Asia/Shanghai"
    template: str = "training"
    grafana_url: str = ""
    runbooks_url: str = ""
    mention: settings.Mention = field(default_factory=settings.Mention)
    keyword: str = ""
    kind: Literal["markdown", "action_card"] = "markdown"

    @classmethod
    def of(cls, configured: settings.Settings, receiver: str) -> Style:
        """Takes the configuration and the name of a receiver in it, gives how its messages look."""
        own = configured.receivers[receiver]
        return cls(
            language=configured.language_of(receiver),
            timezone=configured.timezone_of(receiver),
            template=own.template,
            grafana_url=configured.grafana_url or "",
            runbooks_url=configured.runbooks_url or "",
            mention=own.mention,
            keyword=own.keyword,
            kind=own.kind,
        )


def anything(message: Message) -> bool:
    """Finds any message small enough."""
    return True


@dataclass(frozen=True)
class Telling:
    """One thing to be told: what Alertmanager said, when it is told, and what goes with it."""

    notification: Notification
    now: datetime
    curve: Curve | None = None
    backlog: Backlog | None = None
    fits: Fits = anything


def log_fault(fault: TemplateError) -> None:
    """Takes what is wrong with somebody's template, says so in the log."""
    logger.error("%s; the message goes out with the built-in template 'generic'", fault)


class Renderer:
    """Makes messages.

    Args:
        templates_dir: where the templates that are not built in are.
        on_fault: told what is wrong with one of them; the message goes out with the built-in `generic`.
    """

    def __init__(
        self, templates_dir: Path | None = None, *, on_fault: Callable[[TemplateError], None] = log_fault
    ) -> None:
        self._templates = Templates(templates_dir)
        self._on_fault = on_fault

    def render(
        self,
        notification: Notification,
        style: Style,
        *,
        now: datetime,
        curve: Curve | None = None,
        backlog: Backlog | None = None,
        fits: Fits = anything,
    ) -> Message:
        """Takes a notification, gives its message, which fits what a robot takes.

        Args:
            notification: what Alertmanager said; of a backlog, what `merge` made of it.
            style: how the receiver wants it.
            now: the present, for ages.
            curve: the run's recent loss, if there is one.
            backlog: what held this up; the message is then a digest.
            fits: whether a message is small enough for the robot that sends it, where that takes less than others.
                Alerts are left out until it is; what is too long even so is for the robot to shorten.
        """
        telling = Telling(notification, now, curve, backlog, fits)
        if backlog is None and style.template not in BUILT_IN:
            try:
                return self._fitted(style.template, telling, style)
            except TemplateError as fault:
                self._on_fault(fault)
        return self._fitted(_built_in(style, backlog), telling, style)

    def check(self, style: Style, example: Notification, now: datetime) -> None:
        """Takes a receiver's style and an example of a firing alert, tries its template on it, and on its end.

        Raises:
            TemplateError: it cannot be used; says the file, the line and why.
        """
        template = _built_in(style, None) if style.template in BUILT_IN else style.template
        self._fitted(template, Telling(example, now), style)
        try:
            self._fitted(template, Telling(_resolved(example, now), now), style)
        except TemplateError as error:
            raise TemplateError(
                f"{error} (a resolved alert's; whoever wants none of these writes send_resolved: false in Alertmanager)"
            ) from None

    def _fitted(self, template: str, telling: Telling, style: Style) -> Message:
        """Gives the message with as many alerts as fit, the first one cut if even that is too large."""
        smallest: Message | None = None
        for scale in SCALES:
            lens = Lens(
                style.language,
                ZoneInfo(style.timezone),
                telling.now,
                style.grafana_url,
                style.runbooks_url,
                scale,
            )
            view = view_of(
                telling.notification,
                lens,
                curve=telling.curve,
                backlog=telling.backlog,
                as_card=style.kind == "action_card",
            )
            draft = partial(self._drafted, template, telling, style, view)
            message = _most_that_fits(draft, len(view.alerts), telling.fits)
            if message is not None:
                return message
            smallest = draft(1)
        if smallest is not None and size_bytes(smallest) <= LARGEST_BODY_BYTES:
            return smallest
        raise TemplateError(f"template {template}: its text for a single alert is longer than a robot takes")

    def _drafted(self, template: str, telling: Telling, style: Style, view: View, count: int) -> Message:
        text, title = self._templates.render(template, view.shown(count))
        if not text.strip():
            # A robot refuses an empty message, and whoever is to be told would hear nothing.
            raise TemplateError(f"template {template}: makes no text of this message")
        as_card = view.fields["as_card"]
        return Message(
            title=str(clean(title, TITLE_LIMIT)) or view.headline.title,
            text=_with_keyword(re.sub(r"\n{3,}", "\n\n", text).strip(), style.keyword),
            kind="action_card" if as_card else "markdown",
            buttons=tuple(Button(link.text, link.url) for link in view.links) if as_card else (),
            mention=mention_for(telling.notification, style.mention),
            level=view.headline.level,
        )


def size_bytes(message: Message) -> int:
    """Takes a message, gives an upper bound of the bytes of its JSON body."""
    # Each name stands in the list and in the text.
    called = 2 * [*message.mention.mobiles, *message.mention.user_ids]
    # A robot may write an address into another one, where each byte can take three.
    buttons = [{"title": button.title, "actionURL": 3 * button.url} for button in message.buttons]
    content = json.dumps([message.title, message.text, buttons, called], ensure_ascii=False)
    return len(content.encode()) + ENVELOPE_BYTES


def _resolved(example: Notification, now: datetime) -> Notification:
    alerts = tuple(
        alert.model_copy(update={"status": "resolved", "ends_at": now}) for alert in example.alerts
    )
    return example.model_copy(update={"status": "resolved", "alerts": alerts})


def _built_in(style: Style, backlog: Backlog | None) -> str:
    if backlog is not None:
        return "builtin/digest.md.j2"
    return f"builtin/{style.template if style.template in BUILT_IN else 'generic'}.md.j2"


def _with_keyword(text: str, keyword: str) -> str:
    return text if keyword in text else f"{text}\n\n{keyword}"


def _most_that_fits(draft: Callable[[int], Message], count: int, fits: Fits) -> Message | None:
    """Takes a draft of the first n alerts, gives the one with the most alerts that fits, or None.

    A message grows with its alerts, so the number is found by halving.
    """
    best: Message | None = None
    low, high, tried = 1, count, count
    while low <= high:
        message = draft(tried)
        if size_bytes(message) <= LARGEST_BODY_BYTES and fits(message):
            best, low = message, tried + 1
        else:
            high = tried - 1
        tried = (low + high) // 2
    return best
