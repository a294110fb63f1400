"""Takes a call through its stations: the mode, the token, the vendor's judgement, the limit, the group.

Gives a `Reply`, which says what is to be put on the wire; how is the application's business.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from alertbridge.sandbox.call import Call, Content, Refusal, Rules, Vendor
from alertbridge.sandbox.log import Attempt, Log, Shown
from alertbridge.sandbox.modes import MODES, Mode, Switch
from alertbridge.sandbox.window import Window

JSON = "application/json"
HTML = "text/html; charset=utf-8"


@dataclass(frozen=True)
class Reply:
    """What goes back.

    Attributes:
        body: None: nothing; the caller is hung up on, after `hang` was set where there is one.
        drip: byte by byte.
    """

    status: int = 200
    body: bytes | None = b""
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    hang: threading.Event | None = None
    drip: bool = False


class Reception:
    """The sandbox's robots.

    Args:
        told: called with each message that the group sees and each attempt, in the thread of the call.
    """

    def __init__(self, rules: Rules, told: Callable[[Shown | Attempt], None] = lambda news: None) -> None:
        self.rules = rules
        self.log = Log()
        self.switch = Switch()
        self._told = told
        self._lock = threading.Lock()
        self._windows: dict[tuple[str, int], Window] = {}

    def take(self, vendor: Vendor, call: Call) -> Reply:
        """Takes a call, notes it, gives the reply."""
        mode, changed = self.switch.take()
        robot = self.rules.robot(call.token)
        noted = {"at": call.now, "channel": vendor.channel, "robot": robot, "mode": mode.name}
        noted["size_bytes"] = len(call.body)
        if failure := _failure(mode, vendor, changed):
            reply, errcode = failure
            self._note(noted, errcode=errcode, reason=f"mode {mode.name}: {MODES[mode.name]}")
            return reply
        verdict = self._judge(vendor, call, robot, mode)
        if robot is None or isinstance(verdict, Refusal):
            refusal = verdict if isinstance(verdict, Refusal) else vendor.unknown_robot()
            self._note(noted, errcode=refusal.errcode, reason=refusal.why)
            return _answer(vendor, refusal.errcode, refusal.errmsg)
        reply, errcode = _ending(mode, vendor, changed)
        message_id, is_new = self._show(vendor, call, robot, verdict)
        reasons = [] if is_new else [f"repeats message {message_id}; not shown again"]
        reasons += [] if mode.name == "ok" else [f"mode {mode.name}: {MODES[mode.name]}"]
        self._note(
            noted,
            errcode=errcode,
            reason="; ".join(reasons),
            msgtype=verdict.msgtype,
            msg_uuid=verdict.msg_uuid,
            message_id=message_id if is_new else None,
            duplicate_of=None if is_new else message_id,
        )
        return reply

    def reset(self) -> None:
        """Forgets everything: messages, attempts, counted calls and locks. The mode stays."""
        with self._lock:
            self._windows.clear()
        self.log.clear()

    def _judge(self, vendor: Vendor, call: Call, robot: int | None, mode: Mode) -> Content | Refusal:
        if robot is None:
            return vendor.unknown_robot()
        if mode.name == "too_long" and len(call.body) > mode.limit_bytes:
            return replace(vendor.too_long, why=f"mode too_long: over {mode.limit_bytes} bytes")
        verdict = vendor.judge(call, self.rules)
        if isinstance(verdict, Refusal):
            return verdict
        if mode.name == "markdown_refused" and verdict.style != "text":
            return replace(vendor.refused, why="mode markdown_refused: not plain text")
        return verdict if self._admit(vendor, robot, call.now) else vendor.too_fast

    def _admit(self, vendor: Vendor, robot: int, now: float) -> bool:
        with self._lock:
            window = self._windows.setdefault(
                (vendor.channel, robot), Window(self.rules.limit or vendor.limit)
            )
            return window.admit(now)

    def _show(self, vendor: Vendor, call: Call, robot: int, content: Content) -> tuple[int, bool]:
        """Gives the message's number, and whether the group sees it for the first time."""
        shown = self.log.show(call.now, vendor.channel, robot, content, len(call.body))
        if not isinstance(shown, Shown):
            return shown, False
        self._told(shown)
        return shown.id, True

    def _note(self, noted: Mapping[str, Any], **rest: Any) -> None:
        self._told(self.log.note(**noted, **rest))


def _answer(vendor: Vendor, errcode: int | str, errmsg: str) -> Reply:
    return Reply(body=json.dumps(vendor.answer(errcode, errmsg), ensure_ascii=False).encode())


def _failure(mode: Mode, vendor: Vendor, changed: threading.Event) -> tuple[Reply, int | str | None] | None:
    """Gives what goes back instead of a judgement, with its errcode; None: the call is judged."""
    if mode.name in ("busy", "limited", "errcode"):
        refusal = {
            "busy": vendor.busy,
            "limited": vendor.too_fast,
            "errcode": Refusal(0, f"errcode {mode.errcode}", ""),
        }[mode.name]
        errcode = mode.errcode if mode.name == "errcode" else refusal.errcode
        return _answer(vendor, errcode, refusal.errmsg), errcode
    replies = {
        "ban": Reply(body=b'{"status":1111,"wait":5,"source":"x5","punish":"deny","uuid":"sandbox"}'),
        "ban_page": Reply(403, _page("Forbidden"), HTML),
        "bad_gateway": Reply(502, _page("502 Bad Gateway"), HTML),
        "redirect": Reply(302, _page("Found"), HTML, {"Location": "https://login.example.com/"}),
        "empty": Reply(body=b""),
        "no_errcode": Reply(body=b'{"errmsg":"ok"}'),
        "drip": Reply(body=b" " * 600, drip=True),
        "hang": Reply(body=None, hang=changed),
        "reset": Reply(body=None),
    }
    return (replies[mode.name], None) if mode.name in replies else None


def _ending(mode: Mode, vendor: Vendor, changed: threading.Event) -> tuple[Reply, int | str | None]:
    """Gives what goes back for a message that was taken, with its errcode."""
    if mode.name == "answer_lost":
        return Reply(body=None), None
    if mode.name == "answer_hangs":
        return Reply(body=None, hang=changed), None
    errcode: int | str = "0" if mode.name == "string_zero" else 0
    return _answer(vendor, errcode, "ok"), errcode


def _page(title: str) -> bytes:
    return f"<!doctype html><html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>".encode()
