"""Judges a call as Feishu's custom robot does.

Source of the rules: https://open.feishu.cn/document/client-docs/bot-v3/add-custom-bot
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from alertbridge.robots.feishu import signature
from alertbridge.sandbox.call import EVERYBODY, Call, Content, Limit, Refusal, Rules, json_of
from alertbridge.secret import Secret

MAX_BYTES = 20 * 1024
TIME_WINDOW_SECONDS = 3600

_AT = re.compile(r"""<at (?:user_)?id=["']?([^"'>\s]+)["']?></at>""")
_BAD_REQUEST = 9499


class Feishu:
    """Feishu's custom group robot."""

    channel = "feishu"
    limit = Limit(messages=100, per_seconds=60.0, lock_seconds=0.0, each_second=5)
    busy = Refusal(_BAD_REQUEST, "Internal Error", "the system is busy")
    too_fast = Refusal(
        11232, "frequency limited psm[lark.oapi.app_platform_runtime]appID[1500]", "called too often"
    )
    refused = Refusal(230099, "Failed to create card content", "the card is refused")
    too_long = Refusal(_BAD_REQUEST, "Bad Request", f"the body has more than {MAX_BYTES} bytes")

    def judge(self, call: Call, rules: Rules) -> Content | Refusal:
        body = json_of(call.body)
        if not call.content_type.lower().startswith("application/json") or not isinstance(body, dict):
            return Refusal(_BAD_REQUEST, "Bad Request", "not a JSON object sent as application/json")
        if len(call.body) > MAX_BYTES:
            return self.too_long
        if rules.secret is not None and not _is_signed(body, rules.secret, call.now):
            return Refusal(
                19021,
                "sign match fail or timestamp is not within one hour from current time",
                "timestamp and sign in the body are not those of this secret and this hour, in seconds",
            )
        content = _content(body, signed=rules.secret is not None)
        if isinstance(content, Content) and rules.keywords:
            said = f"{content.title}\n{content.text}"
            if not any(keyword in said for keyword in rules.keywords):
                return Refusal(
                    19024, "Key Words Not Found", "none of the robot's keywords occurs in the message"
                )
        return content

    def unknown_robot(self) -> Refusal:
        return Refusal(
            19001, "param invalid: incoming webhook access token invalid", "no robot has this token"
        )

    def answer(self, errcode: int | str, errmsg: str) -> dict[str, Any]:
        if errcode in (0, "0"):
            return {
                "StatusCode": errcode,
                "StatusMessage": "success",
                "code": errcode,
                "data": {},
                "msg": "success",
            }
        return {"code": errcode, "data": {}, "msg": errmsg}


def _is_signed(body: Mapping[str, Any], secret: Secret, now: float) -> bool:
    timestamp, sign = body.get("timestamp"), body.get("sign")
    if not isinstance(timestamp, str | int) or not isinstance(sign, str) or not str(timestamp).isdecimal():
        return False
    if abs(int(timestamp) - now) > TIME_WINDOW_SECONDS:
        return False
    return Secret(signature(int(timestamp), secret.reveal())).matches(sign)


def _params_error(what: str) -> Refusal:
    return Refusal(19002, f"params error, {what}", what)


def _content(body: Mapping[str, Any], signed: bool) -> Content | Refusal:
    kind = body.get("msg_type")
    if not kind:
        return _params_error("msg_type need")
    if kind == "text":
        content = body.get("content")
        text = content.get("text") if isinstance(content, dict) else None
        if not isinstance(text, str) or not text:
            return _params_error("text need")
        shown, mentioned = _with_names(text)
        return Content("text", text.split("\n")[0], shown, style="text", mentioned=mentioned, signed=signed)
    if kind == "interactive":
        return _card(body.get("card"), signed)
    return _params_error(f"unknown msg_type {kind!r}")


def _card(card: Any, signed: bool) -> Content | Refusal:
    elements = card.get("elements") if isinstance(card, dict) else None
    if not isinstance(elements, list) or not elements or not all(isinstance(one, dict) for one in elements):
        return _params_error("unknown card value")
    header = card.get("header") or {}
    title = (header.get("title") or {}).get("content", "") if isinstance(header, dict) else None
    texts = [element.get("content") for element in elements if element.get("tag") == "markdown"]
    buttons = list(_buttons(elements))
    if not isinstance(title, str) or not all(isinstance(text, str) for text in texts) or None in buttons:
        return _params_error("unknown card value")
    text, mentioned = _with_names("\n\n".join(str(one) for one in texts))
    return Content(
        "interactive",
        title,
        text,
        style="lines",
        buttons=tuple(button for button in buttons if button is not None),
        mentioned=mentioned,
        signed=signed,
        tone=str(header.get("template", "")),
    )


def _buttons(elements: list[dict[str, Any]]) -> Iterator[tuple[str, str] | None]:
    """Gives each button's words and address; None for one that is not well formed."""
    for element in elements:
        if element.get("tag") != "action":
            continue
        for action in element.get("actions") or [None]:
            try:
                title, url = action["text"]["content"], action["url"]
            except (KeyError, TypeError):
                yield None
            else:
                yield (title, url) if isinstance(title, str) and isinstance(url, str) else None


def _with_names(text: str) -> tuple[str, tuple[str, ...]]:
    """Gives the text with @name for each tag that mentions, and the names."""
    names = tuple(dict.fromkeys(_AT.findall(text)))
    shown = _AT.sub(lambda match: EVERYBODY if match[1] == "all" else f"@{match[1]}", text)
    return shown, names
