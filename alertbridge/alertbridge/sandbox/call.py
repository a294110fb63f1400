"""One call of a robot as it came in, and what a vendor makes of it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from alertbridge.secret import Secret

EVERYBODY = "@所有人"

Style = Literal["markdown", "lines", "text"]


@dataclass(frozen=True)
class Limit:
    """How often one robot may be called, in all and in any second, and for how long it is locked beyond that."""

    messages: int = 20
    per_seconds: float = 60.0
    lock_seconds: float = 600.0
    each_second: int | None = None


@dataclass(frozen=True)
class Rules:
    """The settings of the sandbox's robots.

    Attributes:
        tokens: one robot each; `secret`, `keywords` and `limit` hold for every one of them.
        limit: None: the vendor's own.
        secret: what calls must be signed with; None: unsigned calls are taken.
        keywords: one of them must occur in each message; none: any message is taken.
        name: the robot's name in the group.
    """

    tokens: tuple[Secret, ...] = (Secret("sandbox"),)
    secret: Secret | None = None
    keywords: tuple[str, ...] = ()
    limit: Limit | None = None
    name: str = "alertbridge"

    def robot(self, token: str) -> int | None:
        """Takes a token, gives the number of its robot, from 1; None if there is none."""
        numbers = (number for number, known in enumerate(self.tokens, start=1) if known.matches(token))
        return next(numbers, None)


@dataclass(frozen=True)
class Call:
    """What came over HTTP.

    Attributes:
        token: from the path or the query, as the vendor has it.
        query: decoded once.
        now: seconds since the epoch.
    """

    token: str
    query: Mapping[str, str]
    content_type: str
    body: bytes
    now: float


@dataclass(frozen=True)
class Refusal:
    """The vendor's answer to a call that it does not take. `why`: the same for developers, in English."""

    errcode: int
    errmsg: str
    why: str


@dataclass(frozen=True)
class Content:
    """What the group sees.

    Attributes:
        style: `lines` is Markdown that breaks at every newline.
        tone: the colour of a card's head, by the vendor's name for it.
        title: what the list of chats and the phone's notification show.
        mentioned: who is really called: named both in the list and in the text; `all` for everybody.
        at: the vendor's list as it was sent.
        signed: the call's signature was asked for and is right.
    """

    msgtype: str
    title: str
    text: str
    style: Style = "markdown"
    buttons: tuple[tuple[str, str], ...] = ()
    at: Mapping[str, Any] = field(default_factory=dict)
    mentioned: tuple[str, ...] = ()
    msg_uuid: str | None = None
    signed: bool = False
    tone: str = ""


class Vendor(Protocol):
    """How one vendor judges and answers."""

    channel: str
    limit: Limit
    busy: Refusal
    too_fast: Refusal
    refused: Refusal
    too_long: Refusal

    def judge(self, call: Call, rules: Rules) -> Content | Refusal:
        """Takes a call with a known token, gives what the group would see or why it sees nothing."""

    def unknown_robot(self) -> Refusal: ...

    def answer(self, errcode: int | str, errmsg: str) -> dict[str, Any]:
        """Takes a code and words, gives the vendor's JSON."""


def json_of(body: bytes) -> Any:
    """Takes a body, gives what its JSON says; None if it is no JSON."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def stands_in(name: str, text: str) -> bool:
    """Whether a name stands in a text as a word of its own, as the vendors want it: between spaces or at an end."""
    return re.search(rf"(?<!\S){re.escape(name)}(?!\S)", text) is not None
