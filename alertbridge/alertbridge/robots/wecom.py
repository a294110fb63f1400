"""WeCom's (Enterprise WeChat's) group robot. It has no signatures; its key is all there is.

Source of the protocol: https://developer.work.weixin.qq.com/document/path/91770
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from alertbridge.errors import RobotError
from alertbridge.message import Message
from alertbridge.robots import dialect
from alertbridge.robots.address import parameter
from alertbridge.robots.grouprobot import Form, GroupRobot
from alertbridge.robots.shorten import plain
from alertbridge.robots.verdict import Codes, Meaning

MAX_MARKDOWN_BYTES = 4096
MAX_TEXT_BYTES = 2048
LIMIT_PAUSE_SECONDS = 60.0

_FONTS: dict[dialect.Tone, str] = {"red": "warning", "green": "info", "grey": "comment"}
_TOO_FAST = Meaning("limited", "the robot was called too often", pause_seconds=LIMIT_PAUSE_SECONDS)
_TOO_LONG = Meaning("never", "found the message too long", "content")
_OUR_DEFECT = Meaning(
    "never", "refused the form of the request; please report this as a defect of alertbridge", "defect"
)

CODES = Codes(
    vendor="WeCom",
    fields=("errcode",),
    words=("errmsg",),
    meanings={
        "0": Meaning("delivered"),
        "-1": Meaning("later", "the system is busy"),
        **dict.fromkeys(("45009", "45033"), _TOO_FAST),
        "93000": Meaning(
            "never", "there is no such robot (any more); copy its address again from the group's settings"
        ),
        **dict.fromkeys(("40058", "45002"), _TOO_LONG),
        **dict.fromkeys(("40008", "40035", "44004", "47001"), _OUR_DEFECT),
    },
)


class WeCom(GroupRobot):
    """A WeCom group's robot.

    Its Markdown mentions by user id only. A message that calls mobile numbers or everybody goes as plain text, which
    can; it holds half as much.
    """

    channel = "wecom"
    max_bytes = MAX_MARKDOWN_BYTES
    codes = CODES
    example = "https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=…"
    too_long = frozenset({"40058", "45002"})

    def body(self, message: Message, form: Form = "rich") -> dict[str, Any]:
        """Takes a message, gives its JSON: Markdown, or text."""
        text = self._with_keyword(message.title, message.text)
        if form == "plain" or _needs_text(message):
            words = text if message.kind == "text" else plain(dialect.lines(text))
            mention = message.mention
            everybody = ["@all"] if mention.all else []
            return {
                "msgtype": "text",
                "text": {
                    "content": _with_buttons(f"{message.title}\n{words}", message, "{}: {}"),
                    "mentioned_list": [*mention.user_ids, *everybody],
                    "mentioned_mobile_list": list(mention.mobiles),
                },
            }
        # A text that begins with a heading shows its own title.
        text = text if text.startswith("#") else f"**{message.title}**\n{text}"
        content = dialect.recoloured(dialect.linked_images(dialect.lines(text)), _FONTS)
        content = _with_buttons(content, message, "[{}]({})")
        if message.mention.user_ids:
            content += "\n\n" + " ".join(f"<@{user_id}>" for user_id in message.mention.user_ids)
        return {"msgtype": "markdown", "markdown": {"content": content}}

    def size_bytes(self, message: Message) -> int:
        """Takes a message, gives the bytes of its content, which is what WeCom limits."""
        body = self.body(message)
        return len(body[body["msgtype"]]["content"].encode("utf-8", "replace"))

    def limit_bytes(self, message: Message) -> int:
        """Gives how much the form that this message needs may hold."""
        return MAX_TEXT_BYTES if _needs_text(message) else MAX_MARKDOWN_BYTES

    def _signed(self, body: dict[str, Any]) -> tuple[str, Mapping[str, Any]]:
        return self._webhook.reveal(), body

    def _check(self) -> None:
        if not self._token():
            raise RobotError(f"WeCom: the address of {self._host} has no key; copy it whole: {self.example}")
        if self._secret:
            raise RobotError("WeCom: its robots have no signing secret; leave `secret` away")

    def _token(self) -> str:
        return parameter(self._webhook.reveal(), "key")


def _needs_text(message: Message) -> bool:
    return message.kind == "text" or message.mention.all or bool(message.mention.mobiles)


def _with_buttons(text: str, message: Message, form: str) -> str:
    """WeCom's robots have no buttons for links; they become lines."""
    links = [form.format(button.title, button.url) for button in message.buttons]
    return "\n".join([text.rstrip(), "", *links]) if links else text
