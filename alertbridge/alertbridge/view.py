"""What a template sees of a whole notification: headline, links, curve, and as many alerts as fit. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from alertbridge import alertview, headline, links, wording
from alertbridge.alertview import AlertView, Lens
from alertbridge.curve import Curve
from alertbridge.headline import Headline
from alertbridge.markdown import Markdown
from alertbridge.webhook import Alert, Notification

# Nobody reads more on a phone; the rest is counted and linked.
MOST_LISTED = 100
# From here on alerts are named by kind, without their summaries.
MANY = 10

KindKey = tuple[bool, wording.Level, Markdown]


@dataclass(frozen=True)
class Link:
    """Something to tap: `name` is report, dashboard, silence, runbook or alerts; `text` is what it is called."""

    name: str
    text: str
    url: str


@dataclass(frozen=True)
class Kind:
    """Alerts of one name and state: how many, since when the first of them, and those that are listed."""

    emoji: str
    name: Markdown
    count: int
    since: str
    alerts: tuple[AlertView, ...]


@dataclass(frozen=True)
class CurveView:
    """The recent loss: bars, which loss it is, and its first, last and lowest value."""

    bars: str
    name: str
    first: str
    last: str
    best: str


@dataclass(frozen=True)
class Backlog:
    """Why one message tells what came in several.

    Attributes:
        notifications: How many are merged into it.
        oldest_at: When the first of them came.
        reason: What held them up: the robot's limit, or an outage on the way to it.
    """

    notifications: int
    oldest_at: datetime
    reason: Literal["limited", "outage"] = "limited"


@dataclass(frozen=True)
class View:
    """A notification, ready to be shown; `shown` makes of it what a template gets."""

    headline: Headline
    alerts: tuple[AlertView, ...]
    links: tuple[Link, ...]
    more_link: Link | None
    fields: dict[str, Any]
    total: int
    kinds: Mapping[KindKey, tuple[int, str]]

    def shown(self, count: int) -> dict[str, Any]:
        """Takes how many alerts are listed, gives the names that a template knows."""
        alerts = self.alerts[:count]
        return {
            **self.fields,
            "alerts": alerts,
            "firing": [alert for alert in alerts if alert.firing],
            "resolved": [alert for alert in alerts if not alert.firing],
            "kinds": self._kinds(alerts),
            "left_out": self.total - len(alerts),
        }

    def _kinds(self, alerts: Sequence[AlertView]) -> list[Kind]:
        listed: dict[KindKey, list[AlertView]] = {}
        for alert in alerts:
            listed.setdefault((alert.firing, alert.level, alert.name), []).append(alert)
        return [
            Kind(same[0].emoji, same[0].name, *self.kinds[key], tuple(same)) for key, same in listed.items()
        ]


def view_of(
    notification: Notification, lens: Lens, *, curve: Curve | None, backlog: Backlog | None, as_card: bool
) -> View:
    """Takes a notification and how to look at it, gives what can be shown of it."""
    ordered = headline.most_urgent_first(notification)
    shared = headline.shared_labels(notification)
    top = headline.headline_of(ordered[0], notification, lens, digest=backlog is not None)
    firing = sum(not alert.ended for alert in ordered)
    total = len(ordered) + notification.truncated_alerts
    more_link = _alerts_link(notification, lens)
    tappable = links_of(notification, ordered[0], lens)
    if more_link and (len(ordered) > 1 or not tappable):
        tappable += (more_link,)
    return View(
        headline=top,
        alerts=tuple(alertview.alert_view(alert, lens, shared) for alert in ordered[:MOST_LISTED]),
        links=tappable,
        more_link=more_link,
        total=total,
        kinds=_kinds(ordered, lens),
        fields={
            "language": lens.language,
            "badge": top.badge,
            "name": top.name,
            "subject": top.subject,
            "counted": top.counted,
            "mixed": len({alert.labels.get("alertname") for alert in ordered}) > 1,
            "many": len(ordered) > MANY,
            "labels": alertview.cleaned_labels(shared, lens),
            "total": total,
            "firing_count": firing,
            "resolved_count": len(ordered) - firing,
            "links": tappable,
            "more_link": more_link,
            "as_card": as_card and bool(tappable),
            "curve": curve_view(curve, lens) if curve is not None and firing else None,
            "backlog": None
            if backlog is None
            else {
                "notifications": backlog.notifications,
                "since": lens.time(backlog.oldest_at),
                "reason": backlog.reason,
            },
        },
    )


def _kinds(alerts: Sequence[Alert], lens: Lens) -> dict[KindKey, tuple[int, str]]:
    """Takes all alerts, gives of each kind how many there are and since when the first of them."""
    starts: dict[KindKey, list[datetime]] = {}
    for alert in alerts:
        key = (not alert.ended, alertview.level_of(alert), alertview.name_of(alert, lens))
        starts.setdefault(key, []).append(alert.starts_at)
    return {key: (len(times), lens.time(min(times))) for key, times in starts.items()}


def curve_view(curve: Curve, lens: Lens) -> CurveView:
    """Takes a curve, gives its bars and its numbers."""
    return CurveView(
        bars=curve.bars(),
        name=wording.PHASE_WORDS[lens.language][curve.phase],
        first=_number(curve.shown[0]),
        last=_number(curve.shown[-1]),
        best="—" if curve.best is None else _number(curve.best),
    )


def _number(value: float) -> str:
    return "NaN" if math.isnan(value) else f"{value:.4g}"


def links_of(notification: Notification, first: Alert, lens: Lens) -> tuple[Link, ...]:
    """Gives where to look, to silence and to read on, as the most urgent alert and those like it have it."""
    alike = len({alert.labels.get("alertname") for alert in notification.alerts}) == 1
    urls = {}
    if len(notification.alerts) == 1:
        urls["report"] = links.report_link(first.annotations.get("report_url", ""))
    if "run" in headline.shared_labels(notification) or len(notification.alerts) == 1:
        urls["dashboard"] = links.dashboard_link(first.annotations.get("dashboard", ""), lens.grafana_url)
    if alike and not first.ended and not alertview.is_event(first):
        urls["silence"] = links.silence_link(notification, headline.shared_labels(notification))
    if alike and not first.ended:
        shipped = first.annotations.get("runbook_url", "")
        urls["runbook"] = links.runbook_link(shipped, lens.runbooks_url, lens.language)
    return tuple(
        Link(name, wording.LINK_WORDS[lens.language][name], url) for name, url in urls.items() if url
    )


def _alerts_link(notification: Notification, lens: Lens) -> Link | None:
    url = links.alerts_link(notification)
    return Link("alerts", wording.LINK_WORDS[lens.language]["alerts"], url) if url else None
