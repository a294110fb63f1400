"""DingTalk's custom group robot.

Source of the protocol: https://open.dingtalk.com/document/robots/custom-robot-access and
https://open.dingtalk.com/document/development/custom-robots-send-group-messages
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from alertbridge.errors import RobotError
from alertbridge.message import Button, Mention, Message
from alertbridge.robots.address import parameter, with_query
from alertbridge.robots.grouprobot import Form, GroupRobot
from alertbridge.robots.shorten import plain
from alertbridge.robots.verdict import Codes, Meaning

MAX_BYTES = 20_000
MOST_MENTIONED = 50
EVERYBODY = "@所有人"

_TOO_FAST = Meaning("limited", "the robot was called too often and is locked")
_NO_ROBOT = Meaning(
    "never", "there is no such robot (any more); copy its address again from the group's settings"
)
_OUR_DEFECT = "refused the form of the request; please report this as a defect of alertbridge"
_REFUSED = Meaning("never", "refused what the message says or links to", "content")
_TOO_LONG = Meaning("never", "found the message too long", "content")

CODES = Codes(
    vendor="DingTalk",
    fields=("errcode",),
    words=("errmsg",),
    meanings={
        "0": Meaning("delivered"),
        "-1": Meaning("later", "the system is busy"),
        **dict.fromkeys(("130101", "410100", "130102", "130103", "90018", "90002"), _TOO_FAST),
        "310000": Meaning(
            "never",
            "the robot's security settings refuse the message; check the signing secret, the keyword,"
            " the IP list and this machine's clock",
            signed=True,
        ),
        **dict.fromkeys(("400101", "300001", "300005", "400106"), _NO_ROBOT),
        "400102": Meaning("never", "the robot is stopped; start it in the group's settings"),
        "400013": Meaning("never", "the group has been dissolved"),
        **dict.fromkeys(("40035", "43004", "400105", "400402"), Meaning("never", _OUR_DEFECT, "defect")),
        **dict.fromkeys(("430101", "430102", "430103", "430104"), _REFUSED),
        **dict.fromkeys(("460101", "101002"), _TOO_LONG),
    },
)


def signature(timestamp_ms: int, secret: str) -> str:
    """Takes a time in milliseconds and the robot's secret, gives the signature, not yet encoded for a URL."""
    message = f"{timestamp_ms}\n{secret}".encode()
    return base64.b64encode(hmac.digest(secret.encode(), message, hashlib.sha256)).decode()


class DingTalk(GroupRobot):
    """A DingTalk group's robot: `DingTalk(webhook, secret).send("Training", "**digits** has finished")`."""

    channel = "dingtalk"
    max_bytes = MAX_BYTES
    codes = CODES
    example = "https://oapi.dingtalk.com/robot/send?access_token=…"
    too_long = frozenset({"460101", "101002"})
    too_rich = frozenset({"430101", "430102", "430103", "430104"})

    def body(self, message: Message, form: Form = "rich") -> dict[str, Any]:
        """Takes a message, gives its JSON.

        Args:
            form: `plain` leaves Markdown, addresses and buttons away.
        """
        text = self._with_keyword(message.title, message.text)
        if form == "plain" or message.kind == "text":
            words = plain(text, links=False) if form == "plain" else text
            lines = words if words.startswith(message.title) else f"{message.title}\n{words}"
            content: dict[str, Any] = {
                "msgtype": "text",
                "text": {"content": _calling(lines, message.mention, all_too=False)},
            }
        else:
            text = _calling(text, message.mention, all_too=True)
            content = _card(message, text) if _has_card(message) else _markdown(message, text)
        content["at"] = _at(message.mention)
        if message.uuid:
            content["msgUuid"] = message.uuid
        return content

    def _signed(self, body: dict[str, Any]) -> tuple[str, Mapping[str, Any]]:
        url = self._webhook.reveal()
        if not self._secret:
            return url, body
        timestamp_ms = round(self._now() * 1000)
        sign = signature(timestamp_ms, self._secret.reveal())
        return with_query(url, timestamp=str(timestamp_ms), sign=sign), body

    def _check(self) -> None:
        if not self._token():
            raise RobotError(
                f"DingTalk: the address of {self._host} has no access_token; copy it whole: {self.example}"
            )

    def _token(self) -> str:
        return parameter(self._webhook.reveal(), "access_token")


def _has_card(message: Message) -> bool:
    return message.kind == "action_card" and bool(message.buttons)


def _markdown(message: Message, text: str) -> dict[str, Any]:
    return {"msgtype": "markdown", "markdown": {"title": message.title, "text": text}}


def _card(message: Message, text: str) -> dict[str, Any]:
    card: dict[str, Any] = {"title": message.title, "text": text}
    if len(message.buttons) == 1:
        card |= {"singleTitle": message.buttons[0].title, "singleURL": _in_browser(message.buttons[0])}
    else:
        # Two buttons stand side by side on a phone; more would not leave room for their words.
        card["btnOrientation"] = "1" if len(message.buttons) == 2 else "0"
        card["btns"] = [
            {"title": button.title, "actionURL": _in_browser(button)} for button in message.buttons
        ]
    return {"msgtype": "actionCard", "actionCard": card}


def _in_browser(button: Button) -> str:
    """Gives the address that opens the browser instead of DingTalk's narrow side panel."""
    if not button.url.startswith(("http://", "https://")):
        return button.url
    return f"dingtalk://dingtalkclient/page/link?url={quote(button.url, safe='')}&pc_slide=false"


def _people(mention: Mention) -> tuple[tuple[str, ...], tuple[str, ...]]:
    mobiles = mention.mobiles[:MOST_MENTIONED]
    return mobiles, mention.user_ids[: MOST_MENTIONED - len(mobiles)]


def _at(mention: Mention) -> dict[str, Any]:
    mobiles, user_ids = _people(mention)
    return {"atMobiles": list(mobiles), "atUserIds": list(user_ids), "isAtAll": mention.all}


def _calling(text: str, mention: Mention, all_too: bool) -> str:
    """Gives the text with everybody in it who is called and does not stand in it yet, separated by spaces."""
    mobiles, user_ids = _people(mention)
    names: Iterable[str] = [f"@{name}" for name in (*mobiles, *user_ids)]
    if mention.all and all_too:
        names = [EVERYBODY, *names]
    missing = [name for name in names if not re.search(rf"(?<!\S){re.escape(name)}(?!\S)", text)]
    return f"{text.rstrip()}\n\n{' '.join(missing)}" if missing else text
