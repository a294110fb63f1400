"""How often a robot may be called: a sliding window that is never overdrawn. Pure arithmetic on call times.

DingTalk's rule: 20 messages a minute and robot, then a lock of 10 minutes.
Source: https://open.dingtalk.com/document/robots/custom-robot-access

The window is used in three parts. Half of it goes out at once. From there on ordinary messages are paced,
so that a burst is told within seconds as a few digests instead of waiting for a whole window. The last
fifth is kept for critical alerts, whose own last half is paced likewise. A vendor may have a second, much
shorter window besides; within that one nothing is kept for anybody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

CRITICAL_SHARE = 0.2
BURST_SHARE = 0.5
# Clocks of replicas differ a little, and a call reaches the robot later than it is counted here.
WINDOW_MARGIN = 0.02


@dataclass(frozen=True)
class Window:
    """At most `messages` in any `per_seconds`."""

    messages: int
    per_seconds: float

    @property
    def window_seconds(self) -> float:
        """How long a call counts: a little longer than in the robot's own window."""
        return self.per_seconds * (1 + WINDOW_MARGIN)

    def room_at(self, calls: Sequence[float], now: float, share: int) -> float:
        """Takes the times of past calls, gives when fewer than `share` of them are in the window."""
        counted = self.counted(calls, now)
        # Room comes when enough of the oldest calls have left the window.
        return now if len(counted) < share else max(now, counted[len(counted) - share] + self.window_seconds)

    def counted(self, calls: Sequence[float], now: float) -> list[float]:
        """Takes the times of past calls, gives those that are in the window now, oldest first."""
        return sorted(call for call in calls if call > now - self.window_seconds)


# By channel, whatever the configuration says. Feishu allows 5 a second; one is left to others who call the same robot.
# Source: https://open.feishu.cn/document/client-docs/bot-v3/add-custom-bot
BURSTS: Mapping[str, Window] = {"feishu": Window(4, 1.0)}


@dataclass(frozen=True)
class Budget(Window):
    """A robot's limit, and beside it `burst`, a second one over a shorter time."""

    burst: Window | None = None

    @property
    def longest_seconds(self) -> float:
        """How long a call counts in either window."""
        return max(self.window_seconds, self.burst.window_seconds if self.burst else 0.0)

    def share(self, critical: bool) -> int:
        """How many messages of the window this class may use."""
        kept = round(self.messages * CRITICAL_SHARE)
        return self.messages if critical else max(1, self.messages - kept)

    def at_once(self, critical: bool) -> int:
        """How many of its share go out without pacing."""
        if critical:
            ordinary = self.share(False)
            return max(1, ordinary + (self.messages - ordinary) // 2)
        return max(1, round(self.messages * BURST_SHARE))

    def free(self, calls: Sequence[float], now: float) -> int:
        """Takes the times of past calls, gives how many more fit into the window now."""
        return max(0, self.messages - len(self.counted(calls, now)))

    def has_room(self, calls: Sequence[float], now: float) -> bool:
        """Takes the times of past calls, gives whether one more fits now, whatever is kept or paced."""
        return self.free(calls, now) > 0 and self._burst_at(calls, now) <= now

    def ready_at(self, calls: Sequence[float], now: float, critical: bool) -> float:
        """Takes the times of past calls, gives when the next one of this class may go: `now` or later.

        Args:
            calls: when each call was last able to reach the robot, seconds; `now` for one that still runs.
            now: seconds, same clock.
            critical: whether the message holds a critical alert.
        """
        return max(self._paced_at(calls, now, critical), self._burst_at(calls, now))

    def _burst_at(self, calls: Sequence[float], now: float) -> float:
        return now if self.burst is None else self.burst.room_at(calls, now, self.burst.messages)

    def _paced_at(self, calls: Sequence[float], now: float, critical: bool) -> float:
        counted = self.counted(calls, now)
        share, at_once = self.share(critical), self.at_once(critical)
        if len(counted) < at_once:
            return now
        if len(counted) >= share:
            return self.room_at(calls, now, share)
        pace_seconds = self.window_seconds / (share - at_once)
        return max(now, counted[-1] + pace_seconds)
