"""Who is called by name: by severity from the configuration, or by an alert's `mention` label. Pure.

Only what fires calls anybody. The robot puts the names into the text too, as its channel wants it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from alertbridge import settings, wording
from alertbridge.message import Mention
from alertbridge.webhook import Alert, Notification

LABEL = "mention"
# DingTalk's limit for one message.
MOST_PEOPLE = 50
LONGEST_LABEL = 2000

_EVERYBODY = frozenset({"all", "@all", "所有人", "@所有人"})
_MOBILE = re.compile(r"\+?\d[\d-]{4,18}\d")
_USER_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def mention_for(notification: Notification, configured: settings.Mention) -> Mention:
    """Takes a notification and a receiver's `mention:`, gives whom its message calls."""
    firing = [alert for alert in notification.alerts if not alert.ended]
    called = Mention()
    if any(wording.level_of(alert.labels.get("severity", "")) in configured.severities for alert in firing):
        called = Mention(configured.mobiles, configured.user_ids, configured.all)
    return _joined([called, *(_from_label(alert) for alert in firing if LABEL in alert.labels)])


def _from_label(alert: Alert) -> Mention:
    """Takes an alert, gives whom its label names: mobiles, user ids or `all`, parted by commas or spaces."""
    names = [name for name in re.split(r"[,;，；\s]+", alert.labels[LABEL][:LONGEST_LABEL]) if name]
    named = [name.removeprefix("@") for name in names if name not in _EVERYBODY]
    mobiles = tuple(name for name in named if _MOBILE.fullmatch(name))
    return Mention(
        mobiles=mobiles,
        user_ids=tuple(name for name in named if name not in mobiles and _USER_ID.fullmatch(name)),
        all=any(name in _EVERYBODY for name in names),
    )


def _joined(mentions: Iterable[Mention]) -> Mention:
    mentions = list(mentions)
    mobiles = tuple(dict.fromkeys(mobile for mention in mentions for mobile in mention.mobiles))
    user_ids = tuple(dict.fromkeys(user_id for mention in mentions for user_id in mention.user_ids))
    return Mention(
        mobiles=mobiles[:MOST_PEOPLE],
        user_ids=user_ids[: max(MOST_PEOPLE - len(mobiles), 0)],
        all=any(mention.all for mention in mentions),
    )
