"""The ways in which a robot can fail, switched on for the next calls.

Each stands for something that real robots and the gateways in front of them do.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import Any, Literal

# (mode, what the robot does)
MODES: dict[str, str] = {
    "ok": "judges and answers as it should",
    "busy": "answers that the system is busy",
    "limited": "answers that it was called too often",
    "errcode": "answers with the errcode that is given along",
    "ban": "answers as the gateway does to a banned address: JSON without an errcode",
    "ban_page": "answers as the gateway does to a banned address: an HTML page",
    "bad_gateway": "answers HTTP 502 with an HTML page",
    "redirect": "answers with a redirect to another host",
    "empty": "answers HTTP 200 with nothing",
    "no_errcode": "answers HTTP 200 with JSON that has no errcode",
    "string_zero": 'takes the message and answers with "0" as a text',
    "drip": "answers one byte a second",
    "hang": "never answers",
    "reset": "hangs up without taking the message",
    "answer_lost": "takes the message, then hangs up without an answer",
    "answer_hangs": "takes the message, then never answers",
    "markdown_refused": "refuses all but plain text, as a content check does (DingTalk: 430104)",
    "too_long": "finds anything over `bytes` bytes too long (DingTalk: 460101)",
}

When = Literal["before", "after"]


@dataclass(frozen=True)
class Mode:
    """How the robot behaves.

    Attributes:
        left: for so many calls, then `ok` again; None: until it is changed.
        errcode: of mode `errcode`.
        limit_bytes: of mode `too_long`.
    """

    name: str = "ok"
    left: int | None = None
    errcode: int | str = -1
    limit_bytes: int = 10_000

    def shown(self) -> dict[str, Any]:
        return {"mode": self.name, "count": self.left}


class Switch:
    """Holds the mode. Changing it ends every answer that hangs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._mode = Mode()
        self._changed = threading.Event()

    @property
    def mode(self) -> Mode:
        return self._mode

    def set(self, mode: Mode) -> None:
        with self._lock:
            self._mode = mode
        self.let_go()

    def let_go(self) -> None:
        """Ends every answer that hangs."""
        with self._lock:
            self._changed.set()
            self._changed = threading.Event()

    def take(self) -> tuple[Mode, threading.Event]:
        """Gives the mode for one call, counts it, and an event that ends a hanging answer."""
        with self._lock:
            mode = self._mode
            if mode.left is not None:
                self._mode = replace(mode, left=mode.left - 1) if mode.left > 1 else Mode()
            return mode, self._changed


def mode_from(body: Any) -> Mode | str:
    """Takes the JSON of a change, gives the mode, or what is wrong with it."""
    if not isinstance(body, dict) or body.get("mode") not in [*MODES]:
        return f"mode must be one of {', '.join(MODES)}"
    count = body.get("count")
    if count is not None and (not isinstance(count, int) or isinstance(count, bool) or count < 1):
        return "count must be a whole number from 1, or null"
    errcode = body.get("errcode", -1)
    if not isinstance(errcode, int | str) or isinstance(errcode, bool):
        return "errcode must be a number or a text"
    limit = body.get("bytes", 10_000)
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 0:
        return "bytes must be a whole number"
    return Mode(body["mode"], count, errcode, limit)
