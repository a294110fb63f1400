"""Posts events to Alertmanager's v2 API, where they take the same routes, silences and robots as the rules' alerts.

Source: https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import requests
import urllib3.exceptions

from alertbridge.robots.connection import BoundedAdapter, keep_tokens_out_of_logs

from .events import Event
from .outcome import Later, Outcome, Refused, Told

TIMEOUTS_SECONDS = (3.05, 5.0)
RUNBOOKS = "https://github.com/epochwatch/epochwatch/blob/main/docs/runbooks.md"
IN_RUNBOOKS = (
    "TrainingFailed",
    "TrainingFinished",
    "TrainingNewBest",
    "TrainingJobFailed",
    "TrainingJobMissedStart",
)
WINDOW_MS = 6 * 3600 * 1000


class Alertmanager:
    """One Alertmanager; each of a pair is told by itself.

    Args:
        url: Its address, user and password included if it wants some.
        run: The run's name.
        labels: What all of the run's events carry besides.
        source: Address of the run's endpoint.
    """

    spacing_seconds = 0.0
    merges = True

    def __init__(
        self,
        url: str,
        run: str,
        labels: Mapping[str, str],
        source: str,
        *,
        now: Callable[[], float] = time.time,
        timeouts_seconds: tuple[float, float] = TIMEOUTS_SECONDS,
    ) -> None:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        self.name = f"Alertmanager {host}"
        self._alerts = urlunsplit((parts.scheme, host, f"{parts.path.rstrip('/')}/api/v2/alerts", "", ""))
        self._login = (unquote(parts.username or ""), unquote(parts.password or ""))
        self._run = run
        self._labels = dict(labels)
        self._source = source
        self._now = now
        self._timeouts = timeouts_seconds
        self._session = requests.Session()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, BoundedAdapter(max_retries=0))
        keep_tokens_out_of_logs()

    def tell(self, event: Event) -> Outcome:
        """Posts an event as an alert that ends by itself."""
        return self._post([self.alert(event)])

    def alert(self, event: Event) -> dict[str, Any]:
        """Takes an event and gives it as Alertmanager's API wants it."""
        subject = event.subject(self._run)
        annotations = {
            "summary": f"{subject}: {event.said.en}",
            "summary_zh": f"{subject}：{event.said.zh}",
            "description": "\n".join(line.en for line in event.lines),
            "description_zh": "\n".join(line.zh for line in event.lines),
            "dashboard": f"{self._dashboard(event)}&time={event.at * 1000:.0f}&time.window={WINDOW_MS}",
        }
        if event.link:
            annotations["report_url"] = event.link
        if event.name in IN_RUNBOOKS:
            annotations["runbook_url"] = f"{RUNBOOKS}#{event.name.lower()}"
        return {
            "labels": {
                **self._labels,
                "run": self._run,
                **event.labels,
                "alertname": event.name,
                "severity": event.severity,
                "event": "true",
            },
            "annotations": {name: text for name, text in annotations.items() if text},
            "startsAt": moment(event.at),
            # From now and not from when it happened: one that could not be told for long would be over at once.
            "endsAt": moment(max(event.at, self._now()) + event.lasting_seconds),
            "generatorURL": self._source,
        }

    def retire(self, before: float) -> None:
        """Ends what earlier runs of this name said, so that it does not keep this one's alerts quiet."""
        filters = [("filter", 'event="true"'), ("filter", f"run={_quoted(self._run)}")]
        try:
            answer = self._call("GET", params=filters)
            old = [alert for alert in answer.json() if _seconds(alert["startsAt"]) < before]
        except (OSError, ValueError, KeyError, TypeError, urllib3.exceptions.HTTPError):
            return  # they end by themselves
        now = moment(self._now())
        if old:
            kept = ("labels", "annotations", "startsAt")
            self._post([{**{key: alert[key] for key in kept}, "endsAt": now} for alert in old])

    def close(self) -> None:
        """Closes its connections."""
        self._session.close()

    def _dashboard(self, event: Event) -> str:
        if "job_name" in event.labels:
            return f"/d/epochwatch-jobs?var-job_name={quote(event.labels['job_name'], safe='')}"
        return f"/d/epochwatch-run?var-run={quote(self._run, safe='')}"

    def _post(self, alerts: list[dict[str, Any]]) -> Outcome:
        try:
            answer = self._call("POST", json=alerts)
        except (OSError, ValueError, urllib3.exceptions.HTTPError) as error:
            # The text of the exception may hold the address with its password.
            return Later(f"{self.name} cannot be reached ({type(error).__name__})")
        if answer.ok:
            return Told()
        if answer.status_code >= 500 or answer.status_code in (408, 429):
            return Later(f"{self.name} answered HTTP {answer.status_code}")
        return Refused(f"{self.name} answered HTTP {answer.status_code}; is it an Alertmanager's address?")

    def _call(self, method: str, **content: Any) -> requests.Response:
        # A login is always given, or requests would look for one in ~/.netrc.
        return self._session.request(
            method,
            self._alerts,
            auth=self._login if any(self._login) else _no_login,
            timeout=self._timeouts,
            allow_redirects=False,
            **content,
        )


def moment(seconds: float) -> str:
    """Takes seconds since the epoch and gives RFC 3339."""
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds")


def _seconds(text: str) -> float:
    # Python 3.10 reads neither Z nor fractions that have not 3 or 6 digits.
    return datetime.fromisoformat(f"{text[:19]}+00:00").timestamp()


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _no_login(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request
