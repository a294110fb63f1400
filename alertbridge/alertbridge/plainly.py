"""Says alerts in plain words, without template, links or marks: the last form in which something can be told. Pure."""

from __future__ import annotations

from alertbridge import wording
from alertbridge.headline import most_urgent_first
from alertbridge.markdown import clean
from alertbridge.mentions import mention_for
from alertbridge.message import Message
from alertbridge.render import Fits, Style, anything
from alertbridge.settings import Language
from alertbridge.webhook import Alert, Notification

MOST_ALERTS = 100
LONGEST_PART = 200
_TITLES: dict[Language, str] = {"zh": "告警（纯文本）", "en": "Alerts (plain text)"}
_MORE: dict[Language, str] = {"zh": "另有 {} 条", "en": "and {} more"}


def plain_message(notification: Notification, style: Style, fits: Fits = anything) -> Message:
    """Takes a notification, gives a message of kind `text` with a line for each alert, the most urgent first.

    Args:
        fits: whether a message is small enough; alerts are left out until it is.
    """
    lines = [_line(alert, style.language) for alert in most_urgent_first(notification)]
    for count in range(min(len(lines), MOST_ALERTS), 0, -1):
        left_out = len(lines) - count + notification.truncated_alerts
        more = [_MORE[style.language].format(left_out)] if left_out else []
        message = Message(
            title=_TITLES[style.language],
            text="\n".join([*lines[:count], *more]),
            kind="text",
            mention=mention_for(notification, style.mention),
        )
        if fits(message):
            break
    return message


def _line(alert: Alert, language: Language) -> str:
    level = wording.level_of(alert.labels.get("severity", ""))
    word = wording.RESOLVED_WORDS[language] if alert.ended else wording.SEVERITY_WORDS[language][level]
    name = wording.alert_name(alert.labels.get("alertname", ""), language)
    texts = alert.annotations
    summary = (texts.get("summary_zh") if language == "zh" else "") or texts.get("summary", "")
    subject = next(
        (alert.labels[label] for label in ("run", "job_name", "instance") if label in alert.labels), ""
    )
    said = [word, name, "" if subject in summary else subject, summary]
    return " · ".join(clean(part, LONGEST_PART) for part in said if part)
