"""Judges a call as WeCom's group robot does.

Source of the rules: https://developer.work.weixin.qq.com/document/path/91770
"""

from __future__ import annotations

import re
from typing import Any

from alertbridge.robots.shorten import plain
from alertbridge.sandbox.call import EVERYBODY, Call, Content, Limit, Refusal, Rules, json_of

MAX_BYTES = {"text": 2048, "markdown": 4096}

_AT = re.compile(r"<@([^<>\s]+)>")
_MORE = "more info at https://open.work.weixin.qq.com/devtool/query?e="


class WeCom:
    """WeCom's group robot. It knows neither signatures nor keywords."""

    channel = "wecom"
    limit = Limit(messages=20, per_seconds=60.0, lock_seconds=0.0)
    busy = Refusal(-1, "system error", "the system is busy")
    too_fast = Refusal(45009, f"api freq out of limit, {_MORE}45009", "called more than 20 times in a minute")
    refused = Refusal(40035, f"invalid parameter, {_MORE}40035", "the content is refused")
    too_long = Refusal(
        40058, f"content exceed max length. invalid Request Parameter, {_MORE}40058", "too long"
    )

    def judge(self, call: Call, rules: Rules) -> Content | Refusal:
        body = json_of(call.body)
        if not isinstance(body, dict):
            return Refusal(47001, f"data format error, {_MORE}47001", "the body is not a JSON object")
        kind = body.get("msgtype")
        if kind not in [*MAX_BYTES]:
            return Refusal(
                40008, f"invalid message type, {_MORE}40008", f"msgtype {kind!r} is not known here"
            )
        part = body.get(kind)
        content = part.get("content") if isinstance(part, dict) else None
        if not isinstance(part, dict) or not isinstance(content, str) or not content:
            return Refusal(
                44004, f"empty content, {_MORE}44004", f"{kind}.content is missing, empty or no text"
            )
        if len(content.encode()) > MAX_BYTES[kind]:
            return Refusal(
                40058,
                f"{kind}.content exceed max length {MAX_BYTES[kind]}. invalid Request Parameter, {_MORE}40058",
                f"{kind}.content has {len(content.encode())} bytes of at most {MAX_BYTES[kind]}",
            )
        return _text(part, content) if kind == "text" else _markdown(content)

    def unknown_robot(self) -> Refusal:
        return Refusal(93000, f"invalid webhook url, {_MORE}93000", "no robot has this key")

    def answer(self, errcode: int | str, errmsg: str) -> dict[str, Any]:
        return {"errcode": errcode, "errmsg": errmsg}


def _markdown(content: str) -> Content:
    names = tuple(dict.fromkeys(_AT.findall(content)))
    shown = _AT.sub(r"@\1", content)
    return Content("markdown", _title(content), shown, style="lines", mentioned=names)


def _text(part: dict[str, Any], content: str) -> Content | Refusal:
    called: list[str] = []
    at: dict[str, Any] = {}
    for name in ("mentioned_list", "mentioned_mobile_list"):
        people = part.get(name, [])
        if not isinstance(people, list) or not all(isinstance(one, str) for one in people):
            return Refusal(40035, f"invalid parameter, {_MORE}40035", f"text.{name} is no list of texts")
        called += people
        at[name] = people
    names = tuple(dict.fromkeys("all" if name == "@all" else name for name in called))
    # The list alone calls people; WeCom puts their names behind the text.
    behind = " ".join(EVERYBODY if name == "all" else f"@{name}" for name in names)
    shown = f"{content}\n{behind}" if names else content
    return Content("text", _title(content), shown, style="text", mentioned=names, at=at)


def _title(content: str) -> str:
    return plain(content.lstrip().split("\n")[0], links=False)
