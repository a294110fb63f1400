"""Counts a robot's calls: so many in a sliding window, then a lock. Pure; the time comes in."""

from __future__ import annotations

from collections import deque

from alertbridge.sandbox.call import Limit


class Window:
    """One robot's calls. Each admitted call counts; a call during the lock neither counts nor lengthens it."""

    def __init__(self, limit: Limit) -> None:
        self._limit = limit
        self._calls: deque[float] = deque()
        self.locked_until = 0.0

    def admit(self, now: float) -> bool:
        """Takes the time of a call, gives whether it is let in."""
        if now < self.locked_until:
            return False
        while self._calls and self._calls[0] <= now - self._limit.per_seconds:
            self._calls.popleft()
        if self._is_full(now):
            self.locked_until = now + self._limit.lock_seconds
            return False
        self._calls.append(now)
        return True

    def _is_full(self, now: float) -> bool:
        if len(self._calls) >= self._limit.messages:
            return True
        each_second = self._limit.each_second
        return each_second is not None and sum(call > now - 1.0 for call in self._calls) >= each_second
