"""Where the links of a message lead: the dashboard, a silence already filled in, the runbook, all alerts.

Pure. Every address passes `markdown.web_link`; one that is not to be followed becomes "".
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote, urlsplit

from alertbridge.markdown import web_link
from alertbridge.settings import Language
from alertbridge.webhook import Notification

# A run is silenced, not one of its processes: instance and rank change when it restarts.
SILENCED_BY = ("alertname", "run")
SHIPPED_RUNBOOKS = "https://github.com/epochwatch/epochwatch/blob/main/docs/runbooks.md"
RUNBOOK_PAGES: Mapping[Language, str] = {"en": "runbooks.md", "zh": "runbooks.zh-CN.md"}


def dashboard_link(path: str, grafana_url: str) -> str:
    """Takes the `dashboard` annotation, gives its address.

    A path is one of our Grafana, and gives "" if that is not configured; a whole address is taken as it is.
    """
    if urlsplit_safely(path):
        return web_link(path)
    if not grafana_url or not path:
        return ""
    return web_link(f"{grafana_url.rstrip('/')}/{path.lstrip('/')}")


def silence_link(notification: Notification, labels: Mapping[str, str]) -> str:
    """Takes an alert's labels, gives the address of Alertmanager's form for a new silence, filled in.

    Silences what has the same alert name and run; the same group labels where there is no run.
    Source: https://github.com/prometheus/alertmanager/blob/main/ui/app/src/Views/SilenceForm/Parsing.elm
    """
    matched = {name: labels[name] for name in SILENCED_BY if name in labels}
    if "run" not in matched:
        matched |= {name: labels[name] for name in notification.group_labels if name in labels}
    if not matched:
        return ""
    matchers = ",".join(f'{name}="{_quoted(value)}"' for name, value in matched.items())
    return _page(notification, f"silences/new?filter={quote('{' + matchers + '}', safe='')}")


def alerts_link(notification: Notification) -> str:
    """Gives the address of all the receiver's alerts in Alertmanager."""
    receiver = f"?receiver={quote(notification.receiver, safe='')}" if notification.receiver else ""
    return _page(notification, f"alerts{receiver}")


def urlsplit_safely(address: str) -> bool:
    """Takes an annotation, gives whether it is a whole address rather than a path."""
    try:
        return bool(urlsplit(address).scheme) or address.startswith("//")
    except ValueError:
        return True


def _page(notification: Notification, page: str) -> str:
    base = notification.external_url.rstrip("/")
    return web_link(f"{base}/#/{page}") if base else ""


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def report_link(address: str) -> str:
    """Takes the `report_url` annotation, a training's report, gives it if it can be followed."""
    return web_link(address)


def runbook_link(address: str, runbooks_url: str = "", language: Language = "en") -> str:
    """Takes the `runbook_url` annotation, gives it if it can be followed.

    Where the shipped rules and events point to the project's own pages, the configured folder takes their place, and a
    reader of Chinese is led to the Chinese page.
    """
    if address.startswith(SHIPPED_RUNBOOKS):
        folder = runbooks_url.rstrip("/") or SHIPPED_RUNBOOKS.rpartition("/")[0]
        address = f"{folder}/{RUNBOOK_PAGES[language]}{address.removeprefix(SHIPPED_RUNBOOKS)}"
    return web_link(address)
