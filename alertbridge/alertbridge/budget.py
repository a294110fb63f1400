"""How often a robot may be called: a sliding window that is never overdrawn. Pure arithmetic on call times.

DingTalk's rule: 20 messages a minute and robot, then a lock of 10 minutes.
Source: https://open.dingtalk.com/document/robots/custom-robot-access

The window is used in three parts. Half of it goes out at once. From there on ordinary messages are paced,
so that a burst is told within seconds as a few digests instead of waiting for a whole window. The last
fifth is kept for critical alerts, whose own last half is paced likewise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

CRITICAL_SHARE = 0.2
BURST_SHARE = 0.5
# Clocks of replicas differ a little, and a call reaches the robot later than it is counted here.
WINDOW_MARGIN = 0.02


@dataclass(frozen=True)
class Budget:
    """A robot's limit: `messages` in any `per_seconds`."""

    messages: int
    per_seconds: float

    @property
    def window_seconds(self) -> float:
        """How long a call counts: a little longer than the robot's own window."""
        return self.per_seconds * (1 + WINDOW_MARGIN)

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
        return max(0, self.messages - len(self._counted(calls, now)))

    def ready_at(self, calls: Sequence[float], now: float, critical: bool) -> float:
        """Takes the times of past calls, gives when the next one of this class may go: `now` or later.

        Args:
            calls: when each call was last able to reach the robot, seconds; `now` for one that still runs.
            now: seconds, same clock.
            critical: whether the message holds a critical alert.
        """
        counted = self._counted(calls, now)
        share, at_once = self.share(critical), self.at_once(critical)
        if len(counted) < at_once:
            return now
        if len(counted) >= share:
            # Room comes when enough of the oldest calls have left the window.
            return max(now, counted[len(counted) - share] + self.window_seconds)
        pace_seconds = self.window_seconds / (share - at_once)
        return max(now, counted[-1] + pace_seconds)

    def _counted(self, calls: Sequence[float], now: float) -> list[float]:
        return sorted(call for call in calls if call > now - self.window_seconds)
