"""What the chaos tests share: a robot and a bridge on a faster clock, alerts on their way, what the group was told.

Every alert is an alert group of its own, named by its `run` label; that name is looked for in the messages.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

import requests

from alertbridge.wording import RESOLVED_SIGN, SIGNS
from demo.group import Group
from demo.stack import Service, Stack, bridge_config, wait_until
from demo.watch import metric

Telling = tuple[str, str]

TOKEN, SECRET = "4f2a9c0d5e7b813f6a60", "SEC7b1e0c4f9a2d4c5e8f3a"
# DingTalk's 20 messages in 60 s, ten times as fast; then a lock that no test could overlook.
MESSAGES, WINDOW_SECONDS, LOCK_SECONDS = 20, 6.0, 60.0
TOO_FAST = 130101

RUN = re.compile(r"chaos-\d+")
LINK_TARGET = re.compile(r"\]\([^)]*\)")
SIGN = re.compile("|".join(sign.emoji for sign in (*SIGNS.values(), RESOLVED_SIGN)))
AN_HOUR = timedelta(hours=1)


def chaos_group(stack: Stack) -> Group:
    """Starts a robot with DingTalk's limit, ten times as fast."""
    limit = {"--messages": MESSAGES, "--per-seconds": WINDOW_SECONDS, "--lock-seconds": LOCK_SECONDS}
    options = [str(part) for pair in limit.items() for part in pair]
    return Group(stack.sandbox(token=TOKEN, secret=SECRET, options=options), TOKEN, SECRET)


def chaos_config(group: Group, **limits: float) -> dict[str, Any]:
    """Gives the configuration of a bridge that knows this robot's limit and gives up a call after a second."""
    made = bridge_config(group.webhook, group.secret)
    [robot] = made["receivers"]["default"]["robots"]
    robot["limits"] = {"messages": MESSAGES, "per_seconds": WINDOW_SECONDS, **limits}
    robot["dingtalk"]["timeout_seconds"] = 1
    return made


def told(messages: Iterable[Mapping[str, Any]]) -> Counter[Telling]:
    """Takes the group's messages, gives how many of them tell that a run's alert fires, and that it has ended."""
    return Counter(telling for message in messages for telling in _tellings(message["text"]))


def _tellings(text: str) -> set[Telling]:
    found: set[Telling] = set()
    state = "firing"
    for line in LINK_TARGET.sub("]", text).splitlines():
        # In a long digest a heading says the state, and the lines below it name the runs.
        if sign := SIGN.search(line):
            state = "resolved" if sign[0] == RESOLVED_SIGN.emoji else "firing"
        found |= {(run, state) for run in RUN.findall(line)}
    return found


class Alerts:
    """Fires and resolves alerts in one or several Alertmanagers, as Prometheus does."""

    def __init__(self, *alertmanagers: Service) -> None:
        self._urls = [alertmanager.url for alertmanager in alertmanagers]
        self.started: dict[str, datetime] = {}
        self.ended: set[str] = set()
        self._critical: set[str] = set()

    def fire(self, count: int = 1, *, critical: bool = False) -> list[str]:
        """Begins so many new alerts, gives the names of their runs."""
        first = len(self.started)
        runs = [f"chaos-{number:04d}" for number in range(first, first + count)]
        now = datetime.now(timezone.utc)
        self.started.update(dict.fromkeys(runs, now))
        self._critical.update(runs if critical else ())
        self._post(runs, now + AN_HOUR)
        return runs

    def resolve(self, runs: Iterable[str]) -> None:
        """Ends these alerts now."""
        ending = [run for run in runs if run not in self.ended]
        self.ended.update(ending)
        self._post(ending, datetime.now(timezone.utc))

    def _post(self, runs: Sequence[str], until: datetime) -> None:
        alerts = [
            {
                "labels": {"alertname": "ChaosProbe", "run": run, "severity": self._severity(run)},
                "annotations": {"summary": "A probe of the whole way."},
                "startsAt": self.started[run].isoformat(),
                "endsAt": until.isoformat(),
            }
            for run in runs
        ]
        for url in self._urls if alerts else ():
            requests.post(f"{url}/api/v2/alerts", json=alerts, timeout=10).raise_for_status()

    def _severity(self, run: str) -> str:
        return "critical" if run in self._critical else "warning"


def outbox(bridge: Service, *states: str) -> float:
    """Gives how many notifications are in these states."""
    return sum(metric(bridge.url, "alertbridge_outbox_messages", state=state) for state in states)


def wait_for_all(bridge: Service, group: Group, runs: Iterable[str], state: str, seconds: float = 90) -> None:
    """Waits until all of these runs are told in this state and the outbox is empty."""
    wanted = {(run, state) for run in runs}
    wait_until(
        lambda: wanted <= told(group.messages()).keys() and not outbox(bridge, "waiting", "sending"),
        seconds,
        f"{len(wanted)} alerts to be told as {state}",
    )


def assert_nothing_lost_or_doubled(bridge: Service, group: Group, ended: Iterable[str]) -> None:
    """Each end is told once; each beginning at most once, since it may be told together with the end."""
    tellings = told(group.messages())
    lost = [run for run in sorted(ended) if tellings[run, "resolved"] == 0]
    doubled = {telling: count for telling, count in tellings.items() if count > 1}
    left = outbox(bridge, "waiting", "sending", "dead")
    assert (lost, doubled, left) == ([], {}, 0), (
        f"lost: {lost}, doubled: {doubled}, left in the outbox: {left}"
    )


def assert_lock_never_sprung(group: Group) -> None:
    """The robot never had a reason to say "too fast"; what it was told to say does not count."""
    told_off = [attempt for attempt in group.attempts() if attempt["errcode"] == TOO_FAST]
    sprung = [attempt for attempt in told_off if attempt["mode"] != "limited"]
    assert not sprung, f"called too often: {sprung}"
