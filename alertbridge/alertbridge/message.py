"""What a robot is asked to tell: one message, the same for every channel.

Stands between the renderer, which makes it, and the robots, which put it into their vendor's form. Its text
is Markdown in DingTalk's dialect (headings, quotes, bold, italic, links, images, lists,
`<font color="#RRGGBB">`; a line ends with two spaces and a newline); a robot of another vendor translates it.
Needs nothing but the standard library.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["markdown", "text", "action_card"]
Level = Literal["critical", "warning", "info", "resolved"]


@dataclass(frozen=True)
class Button:
    """A button below the message: the words on it and the web address that it opens."""

    title: str
    url: str


@dataclass(frozen=True)
class Mention:
    """Who is called by name.

    The robot puts them both into the vendor's list and into the text; a message's text need not hold them.

    Attributes:
        mobiles: mobile numbers of group members.
        user_ids: the vendor's own ids of group members.
        all: everybody in the group.
    """

    mobiles: tuple[str, ...] = ()
    user_ids: tuple[str, ...] = ()
    all: bool = False

    def __bool__(self) -> bool:
        return self.all or bool(self.mobiles) or bool(self.user_ids)


@dataclass(frozen=True)
class Message:
    """One message to one group.

    Attributes:
        title: one line; what a phone shows in its notification and in the list of chats.
        text: the message itself, without the title.
        kind: `action_card` shows `buttons`; one without buttons is sent as `markdown`.
        uuid: the same on every attempt of one message, so that a robot that honours it shows it once.
            None: each call of `send` is a message of its own.
        level: colours the head of a card where the vendor has one.
    """

    title: str
    text: str
    kind: Kind = "markdown"
    buttons: tuple[Button, ...] = ()
    mention: Mention = Mention()
    uuid: str | None = None
    level: Level | None = None
