"""The first thing that a reader sees, as a phone's notification and as the message's heading. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from alertbridge import alertview, wording
from alertbridge.alertview import Lens
from alertbridge.markdown import Markdown, clean, coloured
from alertbridge.message import Level
from alertbridge.settings import Language
from alertbridge.webhook import Alert, Notification

TITLE_LIMIT = 80


@dataclass(frozen=True)
class Headline:
    """How bad, what, to which run, and how many of them.

    Attributes:
        level: How bad it is; None if the rules' severity is none of ours.
        emoji, word, colour: What shows the most urgent alert's level; of resolved ones only if nothing fires.
        name: What happened; how many kinds of it if there are several.
        subject: The run that all alerts are about, or "".
        counted: How many there are, in brackets; "" for one.
        brief: What the summary of a single firing alert says, numbers included; else "".
    """

    level: Level | None
    emoji: str
    word: str
    colour: str
    name: Markdown
    subject: Markdown
    counted: Markdown
    brief: Markdown
    language: Language

    @property
    def badge(self) -> Markdown:
        """Gives the emoji and the word in its colour."""
        return Markdown(f"{self.emoji} {coloured(self.word, self.colour)}")

    @property
    def title(self) -> str:
        """Gives the headline in one short line of plain text."""
        colon = "：" if self.language == "zh" else ": "
        said = re.search(rf"(?<![\w.-]){re.escape(self.subject)}(?![\w-]|\.\w)", self.brief)
        subject = "" if said else self.subject
        what = colon.join(str(part) for part in (subject, self.brief or self.name) if part)
        return str(clean(f"{self.emoji} {self.word} {what}{self.counted}", TITLE_LIMIT))


def most_urgent_first(notification: Notification) -> list[Alert]:
    """Gives the alerts: firing before resolved, then critical first, else in Alertmanager's order."""
    return sorted(
        notification.alerts, key=lambda alert: (alert.ended, wording.RANKS[alertview.level_of(alert)])
    )


def shared_labels(notification: Notification) -> Mapping[str, str]:
    """Gives the labels that all alerts have in common."""
    if len(notification.alerts) == 1:
        return notification.alerts[0].labels
    return notification.common_labels


def subject_of(notification: Notification, lens: Lens) -> Markdown:
    """Gives what all alerts are about: the run, else what Alertmanager groups them by; "" if nothing."""
    if len(notification.alerts) == 1:
        return alertview.subject_of(notification.alerts[0].labels, lens)
    shared = {name: value for name, value in notification.common_labels.items() if name != "job"}
    grouped = [
        value for name, value in notification.group_labels.items() if name not in alertview.UNLISTED_LABELS
    ]
    return alertview.subject_of(shared, lens) or lens.cleaned(" ".join(grouped), alertview.NAME_LIMIT)


def headline_of(first: Alert, notification: Notification, lens: Lens, *, digest: bool = False) -> Headline:
    """Takes the most urgent alert and its notification, gives the headline."""
    firing = sum(not alert.ended for alert in notification.alerts)
    resolved = len(notification.alerts) - firing
    level, sign, word = alertview.look_of(first, lens.language)
    names = {alert.labels.get("alertname", "") for alert in notification.alerts}
    if digest:
        sign = wording.Sign(wording.DIGEST_EMOJI, sign.colour)
        word = wording.DIGEST_WORDS[lens.language]
    return Headline(
        level="resolved" if first.ended else None if level == "other" else level,
        emoji=sign.emoji,
        word=word,
        colour=sign.colour,
        name=alertview.name_of(first, lens) if len(names) == 1 else _kinds(len(names), lens.language),
        subject=subject_of(notification, lens),
        counted=_counted(firing, resolved, notification.truncated_alerts, lens.language),
        brief=alertview.brief_of(first, lens)
        if firing == 1 and not resolved and not digest
        else Markdown(""),
        language=lens.language,
    )


def _kinds(count: int, language: Language) -> Markdown:
    return Markdown(f"{count} 种告警" if language == "zh" else f"{count} kinds of alerts")


def _counted(firing: int, resolved: int, left_out: int, language: Language) -> Markdown:
    # Of those that Alertmanager left out nobody knows which have ended; most often all are alike.
    total = firing + resolved + left_out
    if total == 1:
        return Markdown("")
    count = str(total)
    if firing and resolved:
        fires, ended = ("条触发，", "条已解除") if language == "zh" else ("firing, ", "resolved")
        count = f"{firing} {fires}{resolved} {ended}"
    elif language == "zh":
        count += " 条"
    return Markdown(f"（{count}）" if language == "zh" else f" ({count})")
