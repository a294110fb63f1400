"""Sees each hop of an alert's way: the epoch, the scrape, the rule, Alertmanager, the bridge, the robot.

Every hop is asked of the process that made it; none is assumed. The times are those that the processes themselves
give, or of the moment when the demo first saw it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import requests
from prometheus_client.parser import text_string_to_metric_families

from alertbridge.outbox.database import Database
from alertbridge.outbox.outbox import Outbox
from alertbridge.outbox.upkeep import Entry
from alertbridge.secret import Secret
from alertbridge.webhook import parse

ALERT = "TrainingLossPlateau"
EPOCH_LINE = re.compile(r"epoch\s+(\d+)\s")


class UndeliveredError(Exception):
    """The message did not arrive; says where on the way it stopped and why."""


class Tail:
    """Follows a log file that another process writes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0

    def lines(self) -> Iterator[str]:
        """Gives the whole lines that came since the last call."""
        with self._path.open("rb") as file:
            file.seek(self._position)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._position += len(line)
                yield line.decode(errors="replace").rstrip()


class Epochs:
    """The training's own account: when each epoch ended."""

    def __init__(self, log: Path) -> None:
        self._tail = Tail(log)
        self.ended_at: dict[int, float] = {}

    def new_lines(self) -> list[str]:
        """Gives the training's new lines and notes the epochs among them."""
        lines = list(self._tail.lines())
        for line in lines:
            if match := EPOCH_LINE.match(line):
                self.ended_at[int(match[1])] = time.time()
        return lines


class Prometheus:
    """What Prometheus has stored of one run."""

    def __init__(self, url: str, run: str) -> None:
        self._url = url
        self._run = run

    def first_sample(self, selector: str, at_least: float) -> float | None:
        """Gives the time of the first stored sample of at least this value (Unix seconds), None if there is none."""
        times = [
            float(at)
            for one in self._query(f"{selector}[1h]")
            for at, value in one["values"]
            if float(value) >= at_least
        ]
        return min(times, default=None)

    def latest(self, selector: str) -> float | None:
        """Gives the value now of a selector with one series, None if there is none."""
        series = self._query(selector)
        return float(series[0]["value"][1]) if series else None

    def _query(self, expression: str) -> list[dict[str, Any]]:
        answer = requests.get(f"{self._url}/api/v1/query", params={"query": expression}, timeout=5)
        series: list[dict[str, Any]] = answer.json()["data"]["result"]
        return series

    def flat_epoch(self) -> tuple[int, int] | None:
        """Gives (the epoch at which patience ran out, the best epoch) as the run itself exports them."""
        best = self.latest(f'training_loss_best_epoch{{run="{self._run}", phase="validation"}}')
        patience = self.latest(f'training_plateau_patience_epochs{{run="{self._run}"}}')
        return None if best is None or patience is None else (int(best + patience), int(best))

    def scraped_epoch(self, epoch: int) -> float | None:
        """Gives when a scrape first showed that this many epochs are done."""
        return self.first_sample(f'training_epochs{{run="{self._run}"}}', epoch)

    def fired(self) -> float | None:
        """Gives when the rule's alert was first stored as firing."""
        return self.first_sample(f'ALERTS{{alertname="{ALERT}", run="{self._run}", alertstate="firing"}}', 1)


def alertmanager_had_it(url: str, run: str) -> float | None:
    """Gives when Alertmanager last heard of the run's alert (the first time, if asked at once), None before."""
    alerts = requests.get(
        f"{url}/api/v2/alerts",
        params=[("filter", f'alertname="{ALERT}"'), ("filter", f'run="{run}"')],
        timeout=5,
    ).json()
    return (
        datetime.fromisoformat(alerts[0]["updatedAt"].replace("Z", "+00:00")).timestamp() if alerts else None
    )


class Bridge:
    """What the bridge's outbox says of the run's alert."""

    def __init__(self, storage: str, run: str) -> None:
        self._outbox = Outbox(Database(Secret(storage)))
        self._run = run

    def entry(self) -> Entry | None:
        """Gives the stored notification that tells of the alert firing, None before there is one.

        Raises:
            UndeliveredError: the bridge has given it up; with the robot's code and the reason.
        """
        for entry in self._outbox.entries(("waiting", "sending", "delivered", "dead")):
            if entry.state == "dead" and self._is_ours(entry):
                raise UndeliveredError(f"the robot refused the message ({entry.errcode}): {entry.reason}")
            if self._is_ours(entry):
                return entry
        return None

    def _is_ours(self, entry: Entry) -> bool:
        return any(
            alert.status == "firing"
            and alert.labels.get("alertname") == ALERT
            and alert.labels.get("run") == self._run
            for alert in parse(entry.body).alerts
        )


def metric(url: str, name: str, **labels: str) -> float:
    """Takes a service's address, gives the sum of one metric's samples with these labels."""
    text = requests.get(f"{url}/metrics", timeout=5).text
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )
