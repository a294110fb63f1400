"""What a group of the sandbox robot sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import requests

from demo.stack import Service, wait_until


@dataclass(frozen=True)
class Group:
    """A DingTalk group of the sandbox; its robot wants this token and signatures made with this secret."""

    sandbox: Service
    token: str
    secret: str

    @property
    def webhook(self) -> str:
        """The robot's address, as DingTalk's settings page would show it."""
        return f"{self.sandbox.url}/robot/send?access_token={self.token}"

    def messages(self) -> list[dict[str, Any]]:
        """Gives the messages shown to the group, oldest first."""
        return self._get("messages")

    def attempts(self) -> list[dict[str, Any]]:
        """Gives every call that the robot answered, accepted or refused, oldest first."""
        return self._get("attempts")

    def accepted(self) -> set[int]:
        """Gives the ids of the messages whose call the robot answered with errcode 0, its signature right."""
        return {attempt["message_id"] for attempt in self.attempts() if attempt["errcode"] == 0}

    def with_text(self, *parts: str) -> list[dict[str, Any]]:
        """Gives the messages whose title and text together hold all of these parts."""
        return [
            message
            for message in self.messages()
            if all(part in message["title"] + message["text"] for part in parts)
        ]

    def wait_for(self, *parts: str, seconds: float = 30) -> dict[str, Any]:
        """Gives the first message that holds all of these parts, waiting for it if need be.

        Raises:
            StackError: none came in time.
        """
        found: list[dict[str, Any]] = wait_until(
            lambda: self.with_text(*parts), seconds, f"a message with {' and '.join(parts)}"
        )
        return found[0]

    def mode(self, mode: str, count: int | None = None) -> None:
        """Makes the robot answer in this way from now on, or for the next `count` calls."""
        wanted = {"mode": mode, "count": count}
        requests.put(f"{self.sandbox.url}/api/mode", json=wanted, timeout=5).raise_for_status()

    def _get(self, what: str) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = requests.get(f"{self.sandbox.url}/api/{what}", timeout=5).json()[what]
        return listed
