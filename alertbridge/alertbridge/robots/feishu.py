"""Feishu's (Lark's) custom group robot.

Source of the protocol: https://open.feishu.cn/document/client-docs/bot-v3/add-custom-bot
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from alertbridge.errors import RobotError
from alertbridge.message import Level, Mention, Message
from alertbridge.robots import dialect
from alertbridge.robots.grouprobot import Form, GroupRobot
from alertbridge.robots.shorten import plain
from alertbridge.robots.verdict import Codes, Meaning

MAX_BYTES = 20_000
# timestamp and sign, which each attempt adds to the body.
SIGNATURE_BYTES = 100
LIMIT_PAUSE_SECONDS = 60.0
DOUBT_PAUSE_SECONDS = 10.0

_COLOURS: dict[Level | None, str] = {
    "critical": "red",
    "warning": "orange",
    "info": "blue",
    "resolved": "green",
    None: "blue",
}
_FONTS: dict[dialect.Tone, str] = {"red": "red", "green": "green", "grey": "grey"}
_CARD_REFUSED = Meaning("never", "refused the card", "content")
_OUR_DEFECT = Meaning(
    "never", "refused the form of the request; please report this as a defect of alertbridge", "defect"
)

CODES = Codes(
    vendor="Feishu",
    fields=("code", "StatusCode"),
    words=("msg", "StatusMessage"),
    meanings={
        "0": Meaning("delivered"),
        "19021": Meaning(
            "never", "the signature is wrong; check the signing secret and this machine's clock", signed=True
        ),
        "19022": Meaning("never", "this machine's address is not in the robot's IP list"),
        "19024": Meaning("never", "the message lacks the keyword that the robot's security settings ask for"),
        "19001": Meaning(
            "never", "there is no such robot (any more); copy its address again from the group's settings"
        ),
        "19002": _OUR_DEFECT,
        **dict.fromkeys(("230099", "11310"), _CARD_REFUSED),
        "11232": Meaning("limited", "the robot was called too often", pause_seconds=LIMIT_PAUSE_SECONDS),
        # A bad request and too many requests have the same code.
        "9499": Meaning(
            "unclear", "refused the request, or too many of them", pause_seconds=DOUBT_PAUSE_SECONDS
        ),
    },
)


def signature(timestamp_seconds: int, secret: str) -> str:
    """Takes a time in seconds and the robot's secret, gives the signature that goes into the body.

    Unlike DingTalk's, the secret is part of the key and nothing is signed.
    """
    return base64.b64encode(
        hmac.digest(f"{timestamp_seconds}\n{secret}".encode(), b"", hashlib.sha256)
    ).decode()


class Feishu(GroupRobot):
    """A Feishu or Lark group's custom robot. Cannot mention by mobile number; those are shown as text."""

    channel = "feishu"
    max_bytes = MAX_BYTES
    codes = CODES
    example = "https://open.feishu.cn/open-apis/bot/v2/hook/…"
    too_rich = frozenset({"230099", "11310"})

    def body(self, message: Message, form: Form = "rich") -> dict[str, Any]:
        """Takes a message, gives its JSON: a card, or text."""
        text = self._with_keyword(message.title, message.text)
        if form == "plain" or message.kind == "text":
            words = plain(text, links=False) if form == "plain" else text
            calls = _calls(message.mention, '<at user_id="{}"></at>')
            return {"msg_type": "text", "content": {"text": _joined(f"{message.title}\n{words}", calls)}}
        text = dialect.recoloured(dialect.linked_images(dialect.without_quotes(text)), _FONTS)
        content = _joined(
            dialect.lines(dialect.bold_headings(text)), _calls(message.mention, "<at id={}></at>")
        )
        elements: list[dict[str, Any]] = [{"tag": "markdown", "content": content}]
        if message.buttons:
            buttons = [
                {
                    "tag": "button",
                    "text": {"tag": "plain_text", "content": button.title},
                    "url": button.url,
                    "type": "default",
                }
                for button in message.buttons
            ]
            elements.append({"tag": "action", "actions": buttons})
        header = {
            "title": {"tag": "plain_text", "content": message.title},
            "template": _COLOURS[message.level],
        }
        return {
            "msg_type": "interactive",
            "card": {"config": {"wide_screen_mode": True}, "header": header, "elements": elements},
        }

    def size_bytes(self, message: Message) -> int:
        """Takes a message, gives the bytes of the whole JSON body, signature included."""
        return super().size_bytes(message) + SIGNATURE_BYTES

    def _signed(self, body: dict[str, Any]) -> tuple[str, Mapping[str, Any]]:
        if not self._secret:
            return self._webhook.reveal(), body
        timestamp = round(self._now())
        sign = signature(timestamp, self._secret.reveal())
        return self._webhook.reveal(), {"timestamp": str(timestamp), "sign": sign, **body}

    def _check(self) -> None:
        if "/hook/" not in urlsplit(self._webhook.reveal()).path or not self._token():
            raise RobotError(
                f"Feishu: the address of {self._host} has no /hook/ token; copy it whole: {self.example}"
            )

    def _token(self) -> str:
        return urlsplit(self._webhook.reveal()).path.rpartition("/hook/")[2].strip("/")


def _calls(mention: Mention, tag: str) -> list[str]:
    people = [tag.format(user_id) for user_id in mention.user_ids]
    everybody = [tag.format("all")] if mention.all else []
    return [*everybody, *people, *(f"@{mobile}" for mobile in mention.mobiles)]


def _joined(text: str, calls: list[str]) -> str:
    return f"{text.rstrip()}\n\n{' '.join(calls)}" if calls else text
