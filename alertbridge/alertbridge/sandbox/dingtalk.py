"""Judges a call as DingTalk's custom robot does.

Source of the rules: https://open.dingtalk.com/document/robots/custom-robot-access and
https://open.dingtalk.com/document/development/custom-robots-send-group-messages
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from alertbridge.robots.dingtalk import signature
from alertbridge.sandbox.call import EVERYBODY, Call, Content, Limit, Refusal, Rules, json_of, stands_in
from alertbridge.secret import Secret

MAX_BYTES = 20_000
MOST_MENTIONED = 50
TIME_WINDOW_MS = 3_600_000

_MORE = "link:请参考本接口对应文档获得具体要求，或者在https://open.dingtalk.com/document/  搜索相关文档;"

# What must be there for each msgtype. A btns card is judged apart.
_REQUIRED: dict[str, tuple[str, ...]] = {
    "text": ("content",),
    "link": ("title", "text", "messageUrl"),
    "markdown": ("title", "text"),
    "actionCard": ("title", "text"),
    "feedCard": (),
}


class DingTalk:
    """DingTalk's custom group robot."""

    channel = "dingtalk"
    limit = Limit(messages=20, per_seconds=60.0, lock_seconds=600.0)
    refused = Refusal(430104, "消息内容不合法", "the content is refused")
    too_long = Refusal(460101, f"message too long, exceed {MAX_BYTES} bytes", "too long")
    busy = Refusal(-1, "系统繁忙", "the system is busy")
    too_fast = Refusal(
        130101,
        f"description:机器人发送速度太快而限流;solution:请降低发送速度;{_MORE}",
        "called more often than the robot may be; it is locked",
    )

    def judge(self, call: Call, rules: Rules) -> Content | Refusal:
        if call.content_type.partition(";")[0].strip().lower() != "application/json":
            return Refusal(43004, "无效的HTTP HEADER Content-Type", "Content-Type is not application/json")
        if rules.secret is not None and (refusal := _signature(call, rules.secret)):
            return refusal
        if len(call.body) > MAX_BYTES:
            return replace(self.too_long, why=f"the body has {len(call.body)} bytes of at most {MAX_BYTES}")
        body = json_of(call.body)
        if not isinstance(body, dict):
            return _missing("json", "the body is not a JSON object")
        content = _message(body, rules.keywords)
        return content if isinstance(content, Refusal) else replace(content, signed=rules.secret is not None)

    def unknown_robot(self) -> Refusal:
        return Refusal(300005, "token is not exist", "no robot has this access_token")

    def answer(self, errcode: int | str, errmsg: str) -> dict[str, Any]:
        return {"errcode": errcode, "errmsg": errmsg}


def _signature(call: Call, secret: Secret) -> Refusal | None:
    timestamp, sign = call.query.get("timestamp", ""), call.query.get("sign", "")
    if not timestamp or not sign:
        return _sign_refused("timestamp and sign must stand in the address")
    if not timestamp.isdecimal() or abs(int(timestamp) - call.now * 1000) > TIME_WINDOW_MS:
        return Refusal(
            310000,
            f"description:无效的时间戳;solution:请使用当前时间的毫秒数，与服务器时间相差不超过1小时;{_MORE}",
            "timestamp is not within one hour of now, in milliseconds",
        )
    if not Secret(signature(int(timestamp), secret.reveal())).matches(sign):
        return _sign_refused("sign is not that of this timestamp and this secret, encoded once")
    return None


def _sign_refused(why: str) -> Refusal:
    return Refusal(
        310000,
        "description:机器人发送签名不匹配;solution:请确认签名和生成签名的时间戳必须都放在调用的网址中，"
        f"请确认机器人的密钥加密和填写正确;{_MORE}",
        why,
    )


def _missing(name: str, why: str = "") -> Refusal:
    return Refusal(40035, f"缺少参数 {name}", why or f"{name} is missing, empty or of a wrong type")


def _message(body: Mapping[str, Any], keywords: tuple[str, ...]) -> Content | Refusal:
    msgtype = body.get("msgtype")
    if not isinstance(msgtype, str) or not msgtype:
        return _missing("msgtype")
    if msgtype not in _REQUIRED:
        return Refusal(400105, "不支持的消息类型", f"msgtype {msgtype!r} is not known")
    if missing := next(_wrong_fields(msgtype, body.get(msgtype)), None):
        return _missing(missing)
    if wrong := _wrong_at(body.get("at", {})):
        return _missing(f"at.{wrong}")
    if not isinstance(body.get("msgUuid", ""), str):
        return _missing("msgUuid")
    content = _content(msgtype, body)
    if keywords and not any(keyword in content.title + "\n" + content.text for keyword in keywords):
        return Refusal(
            310000,
            f"description:关键词不匹配;solution:请联系群管理员查看此机器人的关键词，并在发送的信息中包含此关键词;{_MORE}",
            "none of the robot's keywords occurs in the message",
        )
    return content


def _wrong_fields(msgtype: str, part: Any) -> Iterator[str]:
    if not isinstance(part, dict):
        yield msgtype
        return
    for name in _REQUIRED[msgtype]:
        if not _is_words(part.get(name)):
            yield f"{msgtype}.{name}"
    if msgtype == "feedCard":
        yield from _wrong_items("feedCard.links", part.get("links"), ("title", "messageURL", "picURL"))
    if msgtype == "actionCard" and not (
        _is_words(part.get("singleTitle")) and _is_words(part.get("singleURL"))
    ):
        yield from _wrong_items("actionCard.btns", part.get("btns"), ("title", "actionURL"))


def _wrong_items(name: str, items: Any, fields: tuple[str, ...]) -> Iterator[str]:
    if not isinstance(items, list) or not items:
        yield name
        return
    for item in items:
        if not isinstance(item, dict):
            yield name
            return
        for one in fields:
            if not _is_words(item.get(one)):
                yield f"{name}.{one}"


def _is_words(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _wrong_at(at: Any) -> str:
    if not isinstance(at, dict):
        return "at"
    for name in ("atMobiles", "atUserIds"):
        people = at.get(name, [])
        if not isinstance(people, list) or not all(isinstance(one, str) for one in people):
            return name
    if not isinstance(at.get("isAtAll", False), bool):
        return "isAtAll"
    return "atMobiles" if len(at.get("atMobiles", [])) + len(at.get("atUserIds", [])) > MOST_MENTIONED else ""


def _content(msgtype: str, body: Mapping[str, Any]) -> Content:
    title, text, buttons = _FORMS[msgtype](body[msgtype])
    at = body.get("at", {})
    # Links and feeds cannot mention anybody.
    mentioned = () if msgtype in ("link", "feedCard") else tuple(_mentioned(at, text))
    return Content(
        msgtype=msgtype,
        title=title,
        text=text,
        style="text" if msgtype == "text" else "markdown",
        buttons=buttons,
        at=at,
        mentioned=mentioned,
        msg_uuid=body.get("msgUuid") or None,
    )


def _mentioned(at: Mapping[str, Any], text: str) -> Iterator[str]:
    if at.get("isAtAll") and stands_in(EVERYBODY, text):
        yield "all"
    for name in dict.fromkeys([*at.get("atMobiles", []), *at.get("atUserIds", [])]):
        if stands_in(f"@{name}", text):
            yield name


Form = tuple[str, str, tuple[tuple[str, str], ...]]


def _text(part: Mapping[str, Any]) -> Form:
    content: str = part["content"]
    return content.strip().split("\n")[0], content, ()


def _markdown(part: Mapping[str, Any]) -> Form:
    return part["title"], part["text"], ()


def _link(part: Mapping[str, Any]) -> Form:
    return part["title"], f"**{part['title']}**\n\n{part['text']}", ((part["title"], part["messageUrl"]),)


def _action_card(part: Mapping[str, Any]) -> Form:
    if part.get("singleTitle"):
        return part["title"], part["text"], ((part["singleTitle"], part["singleURL"]),)
    return part["title"], part["text"], tuple((one["title"], one["actionURL"]) for one in part["btns"])


def _feed_card(part: Mapping[str, Any]) -> Form:
    links = part["links"]
    return links[0]["title"], "", tuple((one["title"], one["messageURL"]) for one in links)


_FORMS: dict[str, Callable[[Mapping[str, Any]], Form]] = {
    "text": _text,
    "markdown": _markdown,
    "link": _link,
    "actionCard": _action_card,
    "feedCard": _feed_card,
}
