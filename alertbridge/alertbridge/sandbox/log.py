"""Remembers what the group saw and how each call was answered; the oldest goes when it is too much."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from alertbridge.sandbox.call import Content

MOST_MESSAGES = 20_000
MOST_ATTEMPTS = 100_000


@dataclass(frozen=True)
class Shown:
    """A message that the group sees, with its running number and its robot's number."""

    id: int
    received_at: float
    channel: str
    robot: int
    content: Content
    size_bytes: int

    def as_json(self) -> dict[str, Any]:
        content = asdict(self.content)
        buttons = [{"title": title, "url": url} for title, url in content.pop("buttons")]
        rest = {"channel": self.channel, "robot": self.robot, "size_bytes": self.size_bytes}
        return {"id": self.id, "received_at": self.received_at, **rest, **content, "buttons": buttons}


@dataclass(frozen=True)
class Attempt:
    """A call and its answer.

    Attributes:
        robot: None if no robot has the token.
        errcode: what was answered; None if nothing, or nothing with a code.
        reason: for developers; empty if all was well.
        message_id: of the message it put before the group.
        duplicate_of: of the message it repeated, which is not shown again.
    """

    id: int
    at: float
    channel: str
    robot: int | None
    mode: str
    errcode: int | str | None
    reason: str
    msgtype: str | None = None
    msg_uuid: str | None = None
    message_id: int | None = None
    duplicate_of: int | None = None
    size_bytes: int = 0

    @property
    def accepted(self) -> bool:
        return self.message_id is not None or self.duplicate_of is not None

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "accepted": self.accepted}


class Log:
    """What happened since the start or the last reset. `generation` counts the resets."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.generation = 0
        self._ids = 0
        self._messages: deque[Shown] = deque(maxlen=MOST_MESSAGES)
        self._attempts: deque[Attempt] = deque(maxlen=MOST_ATTEMPTS)
        self._by_uuid: dict[tuple[str, int, str], int] = {}

    def show(
        self, received_at: float, channel: str, robot: int, content: Content, size_bytes: int
    ) -> Shown | int:
        """Takes a message, gives it as shown; or the number of the one it repeats, known by its msgUuid."""
        with self._lock:
            key = (channel, robot, content.msg_uuid or "")
            if content.msg_uuid and key in self._by_uuid:
                return self._by_uuid[key]
            shown = Shown(self._next_id(), received_at, channel, robot, content, size_bytes)
            self._messages.append(shown)
            if content.msg_uuid:
                self._by_uuid[key] = shown.id
            return shown

    def note(self, **attempt: Any) -> Attempt:
        """Takes an attempt's fields, gives it noted."""
        with self._lock:
            noted = Attempt(id=self._next_id(), **attempt)
            self._attempts.append(noted)
            return noted

    def since(self, after: int = 0) -> tuple[list[Shown], list[Attempt]]:
        """Gives what is newer than the message or attempt with this number, oldest first."""
        with self._lock:
            return _newer(self._messages, after), _newer(self._attempts, after)

    def clear(self) -> None:
        with self._lock:
            self.generation += 1
            self._messages.clear()
            self._attempts.clear()
            self._by_uuid.clear()

    def _next_id(self) -> int:
        self._ids += 1
        return self._ids


_One = TypeVar("_One", Shown, Attempt)


def _newer(all_of_them: deque[_One], after: int) -> list[_One]:
    newer: list[_One] = []
    for one in reversed(all_of_them):
        if one.id <= after:
            break
        newer.append(one)
    return newer[::-1]
