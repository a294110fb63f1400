"""What the bridge would have said of its receivers and robots."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterator
from dataclasses import dataclass

from grafana.preview.made_up.openmetrics import Series, Values, noise

DELIVERY_BUCKETS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)
REQUEST_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.04, 0.1, 0.25, 1, 5)
BURST_HOURS_AGO = 3.3
LOCK_SECONDS = 600.0


@dataclass(frozen=True)
class Traffic:
    """One receiver's: a notification every few minutes, and a burst at which its robot is locked."""

    receiver: str
    robot: str
    every_seconds: float
    burst: int
    month: int

    def moments(self, end: float) -> list[float]:
        """Gives when notifications come in, from seven hours before the end on."""
        begin = end - 7 * 3600
        count = int((end - begin) / self.every_seconds)
        usual = [
            begin + (number + 0.4 * noise(self.receiver, number)) * self.every_seconds
            for number in range(count)
        ]
        burst = [end - BURST_HOURS_AGO * 3600 + 2 * number for number in range(self.burst)]
        return sorted(usual + burst)


TRAFFIC = (
    Traffic("ml-oncall", "robot-1", 700, 46, 3981),
    Traffic("vision-team", "robot-1", 1100, 0, 1490),
    Traffic("speech-team", "robot-1", 1900, 6, 402),
)


def bridge_series(end: float) -> Iterator[Series]:
    """Gives all series of one bridge."""
    base = {"job": "alertbridge", "instance": "alertbridge:8060"}

    def series(name: str, labels: dict[str, str], at: Values) -> Series:
        return Series(f"alertbridge_{name}", base | labels, at)

    yield series("build_info", {"version": "0.1.0"}, lambda t: 1)
    yield series("config_last_reload_successful", {}, lambda t: 1)
    for traffic in TRAFFIC:
        for name, labels, at in _of_receiver(traffic, end):
            yield series(name, {"receiver": traffic.receiver, **labels}, at)
    moments = sorted(moment for traffic in TRAFFIC for moment in traffic.moments(end))
    for name, buckets, share in (
        (
            "delivery_seconds",
            DELIVERY_BUCKETS,
            (0.0, 0.0, 0.0, 0.0, 0.1, 0.62, 0.86, 0.93, 0.95, 0.955, 0.96),
        ),
        ("request_duration_seconds", REQUEST_BUCKETS, (0.0, 0.35, 0.8, 0.97)),
    ):
        for index, bound in enumerate((*buckets, math.inf)):
            part = share[index] if index < len(share) else 1.0
            le = {"le": "+Inf" if math.isinf(bound) else f"{float(bound)}"}
            yield series(
                f"{name}_bucket", le, lambda t, part=part: float(math.floor(part * bisect.bisect(moments, t)))
            )


def _of_receiver(traffic: Traffic, end: float) -> Iterator[tuple[str, dict[str, str], Values]]:
    moments = traffic.moments(end)
    locked_at = end - BURST_HOURS_AGO * 3600 + 40 if traffic.burst > 20 else math.inf

    def received(t: float) -> float:
        return float(bisect.bisect(moments, t))

    def locked(t: float) -> bool:
        return locked_at <= t < locked_at + LOCK_SECONDS

    def told(t: float) -> float:
        """Gives how many were told: what comes in during the lock is told after it."""
        return received(min(t, locked_at + 3)) if locked(t) else received(t)

    def sent(t: float) -> float:
        # What waited becomes one digest.
        merged = (
            received(locked_at + LOCK_SECONDS) - received(locked_at + 3)
            if t > locked_at + LOCK_SECONDS
            else 0.0
        )
        return told(t) - max(0.0, merged - 1)

    def oldest(t: float) -> float:
        return max(0.0, t - locked_at - 3) if received(t) > told(t) else 0.0

    yield "notifications_received_total", {}, received
    yield "notifications_dropped_total", {"reason": "duplicate"}, lambda t: received(t) // 9
    yield "notifications_dropped_total", {"reason": "stale"}, lambda t: 0.0
    for outcome in ("delivered", "later", "limited", "refused", "dead"):
        of = {
            "delivered": sent,
            "later": lambda t: received(t) // 25,
            "limited": lambda t: float(t >= locked_at),
        }
        yield "messages_total", {"channel": "dingtalk", "outcome": outcome}, of.get(outcome, lambda t: 0.0)
    yield "errors_total", {"errcode": "timeout"}, lambda t: received(t) // 25
    if math.isfinite(locked_at):
        yield "errors_total", {"errcode": "130101"}, lambda t: float(t >= locked_at)
    yield "outbox_messages", {"state": "waiting"}, lambda t: received(t) - told(t)
    yield "outbox_messages", {"state": "sending"}, lambda t: 0.0
    yield "outbox_messages", {"state": "delivered"}, told
    yield "outbox_messages", {"state": "dead"}, lambda t: 0.0
    yield "outbox_oldest_seconds", {}, oldest
    robot = {"robot": traffic.robot}
    yield "robot_limited", robot, lambda t: float(locked(t))
    yield (
        "robot_budget",
        robot,
        lambda t: 0.0 if locked(t) else max(0.0, 20 - received(t) + received(t - 60)),
    )
    yield "robot_month_messages", robot, lambda t: traffic.month + sent(t)
    yield "robot_month_quota", robot, lambda t: 5000.0
