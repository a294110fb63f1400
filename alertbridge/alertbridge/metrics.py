"""What the bridge says about itself on /metrics. Names and labels are a contract.

Known series exist from the start, at 0. Counters are raised where things happen; what lies in the outbox is read
when somebody scrapes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from alertbridge.errors import StoreError
from alertbridge.outbox.outbox import Outbox
from alertbridge.outbox.robotstate import RobotPlan

OUTCOMES = ("delivered", "later", "limited", "refused", "dead")
STATES = ("waiting", "sending", "delivered", "dead")
DROPPED = ("duplicate", "stale")
REFUSED = ("too_large", "invalid")
DELIVERY_BUCKETS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)
REQUEST_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.04, 0.1, 0.25, 1, 5)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RobotLabel:
    """How a robot is called in metrics: by its receiver and a name without secrets."""

    receiver: str
    name: str
    channel: str
    plan: RobotPlan


class Metrics:
    """Takes a registry of its own, gives the bridge's counters and histograms."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.received = Counter(
            "alertbridge_notifications_received",
            "Webhooks accepted, duplicates included.",
            ["receiver"],
            registry=registry,
        )
        self.dropped = Counter(
            "alertbridge_notifications_dropped",
            "Webhooks accepted that told nothing new: a duplicate, or a firing already seen resolved.",
            ["receiver", "reason"],
            registry=registry,
        )
        self.refused = Counter(
            "alertbridge_notifications_refused",
            "Webhooks that were not taken and that Alertmanager does not send again.",
            ["receiver", "reason"],
            registry=registry,
        )
        self.messages = Counter(
            "alertbridge_messages",
            "Attempts to deliver a message, by how they ended; dead ones are given up.",
            ["receiver", "channel", "outcome"],
            registry=registry,
        )
        self.errors = Counter(
            "alertbridge_errors",
            "Attempts that failed, by the robot's errcode or the kind of failure.",
            ["receiver", "errcode"],
            registry=registry,
        )
        self.delivery = Histogram(
            "alertbridge_delivery_seconds",
            "From the webhook to the robot's errcode 0.",
            buckets=DELIVERY_BUCKETS,
            registry=registry,
        )
        self.requests = Histogram(
            "alertbridge_request_duration_seconds",
            "Time to answer an HTTP request.",
            buckets=REQUEST_BUCKETS,
            registry=registry,
        )
        self.reload_ok = Gauge(
            "alertbridge_config_last_reload_successful",
            "1 if the running configuration is the one in the file, 0 if the last reload was refused.",
            registry=registry,
        )
        self.reload_ok.set(1)
        build = Gauge("alertbridge_build_info", "The running version.", ["version"], registry=registry)
        build.labels(version("epochwatch")).set(1)

    def exposition(self) -> bytes:
        """Gives the text for a scrape."""
        return generate_latest(_WithoutCreated(self.registry))

    def expect(self, robots: Iterable[RobotLabel]) -> None:
        """Takes the robots that will be used, makes their series exist at 0."""
        for robot in robots:
            self.received.labels(robot.receiver)
            for reason in DROPPED:
                self.dropped.labels(robot.receiver, reason)
            for reason in REFUSED:
                self.refused.labels(robot.receiver, reason)
            for outcome in OUTCOMES:
                self.messages.labels(robot.receiver, robot.channel, outcome)


class _WithoutCreated:
    """A registry without the `_created` series, which double the counters and tell nobody anything."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        for family in self._registry.collect():
            family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
            yield family


class OutboxCollector:
    """Reads the outbox at scrape time. `robots` and `now` are called at each scrape."""

    def __init__(
        self, outbox: Outbox, robots: Callable[[], Sequence[RobotLabel]], now: Callable[[], float]
    ) -> None:
        self._outbox = outbox
        self._robots = robots
        self._now = now

    def describe(self) -> list[Metric]:
        # Without it the registry would collect, and so read the store, when this collector is registered.
        return []

    def collect(self) -> Iterator[Metric]:
        try:
            yield from [*self._backlog(), *self._robot_families()]
        except StoreError as error:
            # The scrape goes on without these; AlertbridgeDeliveryFailing and /-/ready tell of the store.
            log.warning("the outbox cannot be read for metrics: %s", error)

    def _backlog(self) -> list[Metric]:
        size = GaugeMetricFamily(
            "alertbridge_outbox_messages", "Notifications in the outbox.", labels=["receiver", "state"]
        )
        oldest = GaugeMetricFamily(
            "alertbridge_outbox_oldest_seconds",
            "Age of the oldest notification that still has to be told; 0 if there is none.",
            labels=["receiver"],
        )
        found = {(count.receiver, count.state): count for count in self._outbox.counts()}
        now = self._now()
        names = {robot.receiver for robot in self._robots()} | {receiver for receiver, _ in found}
        for receiver in sorted(names):
            for state in STATES:
                count = found.get((receiver, state))
                size.add_metric([receiver, state], count.notifications if count else 0)
            waiting = [found[receiver, state].oldest for state in STATES[:2] if (receiver, state) in found]
            oldest.add_metric([receiver], max(0.0, now - min(waiting)) if waiting else 0.0)
        return [size, oldest]

    def _robot_families(self) -> list[Metric]:
        labels = ["receiver", "robot"]
        limited = GaugeMetricFamily(
            "alertbridge_robot_limited", "1 while the robot is locked for too many messages.", labels=labels
        )
        budget = GaugeMetricFamily(
            "alertbridge_robot_budget", "Messages the robot can take in its window now.", labels=labels
        )
        month = GaugeMetricFamily(
            "alertbridge_robot_month_messages", "Calls of the robot in this calendar month.", labels=labels
        )
        quota = GaugeMetricFamily(
            "alertbridge_robot_month_quota", "Calls of the robot that a month may have.", labels=labels
        )
        robots = self._robots()
        now = self._now()
        notes = self._outbox.robot_notes()
        states = self._outbox.robot_states([robot.plan for robot in robots], now) if robots else []
        for robot, state in zip(robots, states, strict=True):
            note = notes.get(robot.plan.robot)
            values = [robot.receiver, robot.name]
            limited.add_metric(values, float(bool(note and note.limited and note.paused_until > now)))
            budget.add_metric(
                values, 0 if state.paused_until > now else robot.plan.budget.free(state.calls, now)
            )
            month.add_metric(
                values, note.month_messages if note and note.month == robot.plan.month(now) else 0
            )
            quota.add_metric(values, robot.plan.monthly)
        return [limited, budget, month, quota]
