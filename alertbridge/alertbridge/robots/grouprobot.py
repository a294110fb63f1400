"""What all vendors' robots have in common: one call, judged, and one more with less where that helps."""

from __future__ import annotations

import json
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal
from urllib.parse import urlsplit

from alertbridge.message import Message
from alertbridge.robots.address import checked, name_of
from alertbridge.robots.outcome import Again, Delivered, Later, Never, Outcome, freely
from alertbridge.robots.shorten import fit
from alertbridge.robots.transport import HttpTransport, NoAnswer, Transport
from alertbridge.robots.verdict import Codes, judge
from alertbridge.secret import Secret

Form = Literal["rich", "plain"]


class GroupRobot(ABC):
    """A group's robot behind a webhook address.

    Args:
        webhook: the address with its token, as the group's settings show it.
        secret: the signing secret, if the robot asks for signatures.
        keyword: the word that the robot's security settings ask for; added to messages that lack it.
        timeout_seconds: for one call's answer.
        now: this machine's clock, seconds since the epoch; signatures are made from it.
        transport: carries the requests.

    Raises:
        RobotError: the address or the secret cannot be right.
    """

    channel: ClassVar[str]
    max_bytes: ClassVar[int]
    codes: ClassVar[Codes]
    example: ClassVar[str]
    too_long: ClassVar[frozenset[str]] = frozenset()
    too_rich: ClassVar[frozenset[str]] = frozenset()

    def __init__(
        self,
        webhook: str | Secret,
        secret: str | Secret | None = None,
        *,
        keyword: str = "",
        timeout_seconds: float = 5.0,
        now: Callable[[], float] = time.time,
        transport: Transport | None = None,
    ) -> None:
        self._webhook = checked(webhook, self.codes.vendor, self.example)
        self._secret = Secret((secret.reveal() if isinstance(secret, Secret) else secret or "").strip())
        self._keyword = keyword
        self._now = now
        self._transport = transport or HttpTransport(timeout_seconds)
        self._host = urlsplit(self._webhook.reveal()).hostname or ""
        self.name = name_of(self.channel, self._webhook.reveal())
        self._check()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._host}, {self.name})"

    def send(self, message: Message | str, text: str | None = None, *, again: Again = freely) -> Outcome:
        """Takes a message, or a title and a text in Markdown, gives what became of it.

        One call, and a second one only if the first was refused for its length or its form. Does not raise
        for an answer or a network.

        Args:
            again: asked before that second call; if it says no, the answer is `Later`.
        """
        if isinstance(message, str):
            message = Message(title=message, text=text or "")
        if message.uuid is None:
            message = replace(message, uuid=uuid.uuid4().hex)
        fitted = fit(message, self.size_bytes, self.limit_bytes(message))
        outcome = self._call(fitted, "rich")
        note = "" if fitted is message else "shortened to the robot's limit"
        if not isinstance(outcome, Never) or outcome.errcode not in self.too_long | self.too_rich:
            return replace(outcome, note=note) if isinstance(outcome, Delivered) else outcome
        if not again():
            return Later(f"{outcome.reason}; it goes out with less in it when there is room", outcome.errcode)
        if outcome.errcode in self.too_long:
            half = fit(fitted, self.size_bytes, self.size_bytes(fitted) // 2)
            outcome = self._call(_as_another(half, "short"), "rich")
            note = "shortened by half, because the robot found it too long"
        else:
            outcome = self._call(_as_another(fitted, "plain"), "plain")
            note = "sent as plain text, because the robot refused its links, pictures or form"
        return replace(outcome, note=note) if isinstance(outcome, Delivered) else outcome

    def size_bytes(self, message: Message) -> int:
        """Takes a message, gives the bytes of the whole JSON body, with a msgUuid even if it has none yet."""
        return len(_encoded(self.body(replace(message, uuid=message.uuid or "0" * 40), "rich")))

    def fits(self, message: Message) -> bool:
        """Takes a message, gives whether it goes out whole."""
        return self.size_bytes(message) <= self.limit_bytes(message)

    def limit_bytes(self, message: Message) -> int:
        """Takes a message, gives how large its `size_bytes` may be."""
        return self.max_bytes

    def close(self) -> None:
        """Closes idle connections."""
        self._transport.close()

    @abstractmethod
    def body(self, message: Message, form: Form = "rich") -> dict[str, Any]:
        """Takes a message, gives the vendor's JSON for it, without signature."""

    @abstractmethod
    def _signed(self, body: dict[str, Any]) -> tuple[str, Mapping[str, Any]]:
        """Takes a body, gives the address and the body of one attempt, signed for this moment."""

    @abstractmethod
    def _check(self) -> None:
        """Raises RobotError if the address is not one of this vendor's kind."""

    def _token(self) -> str:
        """Gives what must not stand in any reason."""
        return ""

    def _call(self, message: Message, form: Form) -> Outcome:
        url, body = self._signed(self.body(message, form))
        answer = self._transport.post(url, _encoded(body))
        if isinstance(answer, NoAnswer):
            return Later(f"{self.codes.vendor} ({self._host}): {answer.reason}", unanswered=answer.sent)
        return judge(answer, self.codes, self._now(), (self._token(), self._secret.reveal()))

    def _with_keyword(self, title: str, text: str) -> str:
        if not self._keyword or self._keyword in title or self._keyword in text:
            return text
        return f"{text.rstrip()}\n\n{self._keyword}"


def _encoded(body: Mapping[str, Any]) -> bytes:
    # A lone surrogate is not UTF-8; as a question mark the message still arrives.
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _as_another(message: Message, form: str) -> Message:
    """A changed message is another one to a robot that remembers msgUuid, and itself on each attempt."""
    return replace(message, uuid=f"{message.uuid}-{form}")
