"""What became of one call of a robot, as a value, and what every robot can do.

The sender decides by these what happens next; a robot never raises because of an answer, or for want of one.
No reason ever holds a token, a signature or a secret.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias, runtime_checkable

from alertbridge.message import Message

Cause = Literal["configuration", "content", "defect"]


@dataclass(frozen=True)
class Delivered:
    """The robot has taken the message.

    Attributes:
        errcode: what it answered.
        note: what had to be left out to get it through, for people; empty if nothing.
    """

    errcode: str = "0"
    note: str = ""


@dataclass(frozen=True)
class Later:
    """It did not work now and may work later; the same message is to be sent again.

    Attributes:
        reason: what happened and where, for people.
        errcode: what the robot answered; None if it gave no code.
        pause_seconds: leave this robot alone for so long; None: the sender's own back-off.
        unanswered: the group may have seen the message all the same.
        doubtful: the reason may lie in this message alone; it waits by itself while others go.
    """

    reason: str
    errcode: str | None = None
    pause_seconds: float | None = None
    unanswered: bool = False
    doubtful: bool = False


@dataclass(frozen=True)
class Limited:
    """The robot was called too often. It must not be called before the pause is over.

    Attributes:
        pause_seconds: None: the lock time that is configured for this robot.
    """

    reason: str
    errcode: str | None = None
    pause_seconds: float | None = None


@dataclass(frozen=True)
class Never:
    """This robot will not take this message, however often it is sent.

    Attributes:
        reason: what is wrong, where, and what to do, for people.
        cause: `configuration`: token, secret, keyword, address list; every message to this robot fails.
            `content`: this message is refused. `defect`: what we sent is not what the vendor asks for.
    """

    reason: str
    errcode: str | None = None
    cause: Cause = "configuration"


Outcome: TypeAlias = Delivered | Later | Limited | Never
Again: TypeAlias = Callable[[], bool]


def freely() -> bool:
    """Lets a robot be called again at once."""
    return True


@runtime_checkable
class Robot(Protocol):
    """A group's robot. Safe to be used from several threads at once."""

    @property
    def channel(self) -> str:
        """The vendor: `dingtalk`, `feishu` or `wecom`."""

    @property
    def name(self) -> str:
        """Tells this robot from others in logs, metrics and the outbox; stable, and holds no secret."""

    def fits(self, message: Message) -> bool:
        """Takes a message, gives whether it goes out whole; a longer one is shortened."""

    def send(self, message: Message, *, again: Again = freely) -> Outcome:
        """Takes a message, calls the robot, gives what became of it. Blocks for a bounded time.

        Args:
            again: asked before a second call for the same message, which a refusal of its length or its form
                leads to; if it says no, the answer is `Later`.
        """

    def close(self) -> None:
        """Closes idle connections."""
