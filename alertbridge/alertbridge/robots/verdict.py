"""Judges a robot's answer by its code, never by its words.

The words are Chinese or English depending on the year, and HTTP 200 says nothing: every vendor answers a
refusal with it. An answer without a code is no delivery.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from alertbridge.robots.outcome import Cause, Delivered, Later, Limited, Never, Outcome
from alertbridge.robots.transport import Answer

# A gateway that bans or breaks is not helped by more calls. DingTalk's own ban of an address takes 5 minutes.
GATEWAY_PAUSE_SECONDS = 300.0
LONGEST_PAUSE_SECONDS = 3600.0
LONGEST_WORDS = 200

# Clocks further apart than this make every signature invalid (DingTalk and Feishu accept one hour).
CLOCK_TOLERANCE_SECONDS = 3600.0
# A machine that has just started sets its clock within a minute or so.
CLOCK_PAUSE_SECONDS = 30.0


@dataclass(frozen=True)
class Meaning:
    """What one code means: the class of outcome, and what to tell people.

    `unclear` does not tell whether the robot or this one message is the reason.
    """

    verdict: Literal["delivered", "later", "limited", "never", "unclear"]
    text: str = ""
    cause: Cause = "configuration"
    pause_seconds: float | None = None
    signed: bool = False


@dataclass(frozen=True)
class Codes:
    """A vendor's codes.

    Attributes:
        vendor: its name for people.
        fields: where in the answer its code stands, the first one present counts.
        words: where its words stand.
        meanings: by code.
    """

    vendor: str
    fields: Sequence[str]
    words: Sequence[str]
    meanings: Mapping[str, Meaning]


def judge(answer: Answer, codes: Codes, now: float, secrets: Sequence[str] = ()) -> Outcome:
    """Takes an answer, gives what it means.

    Args:
        now: this machine's clock, to tell a wrong signature from a wrong clock.
        secrets: what must not stand in a reason, should the vendor repeat it.
    """
    fields = _fields(answer.body)
    code = _code(fields, codes.fields)
    if code is None:
        return _no_code(answer, fields, codes.vendor)
    meaning = codes.meanings.get(code, Meaning("unclear", "answered with a code that is not known"))
    reason = f"{codes.vendor}: {meaning.text} (errcode {code}{_words(fields, codes.words, secrets)})"
    if meaning.signed and answer.date is not None and abs(answer.date - now) >= CLOCK_TOLERANCE_SECONDS:
        # Nothing is wrong with message or robot: it is taken as soon as the clock is right.
        return Later(reason + _clock_hint(answer.date - now), code, CLOCK_PAUSE_SECONDS)
    if meaning.verdict == "delivered":
        return Delivered(code)
    if meaning.verdict == "limited":
        return Limited(reason, code, meaning.pause_seconds)
    if meaning.verdict == "never":
        return Never(reason, code, meaning.cause)
    return Later(reason, code, meaning.pause_seconds, doubtful=meaning.verdict == "unclear")


def _fields(body: bytes) -> dict[str, Any]:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _code(fields: Mapping[str, Any], names: Sequence[str]) -> str | None:
    value = next((fields[name] for name in names if name in fields), None)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str) and re.fullmatch(r"\s*-?\d{1,18}\s*", value):
        return str(int(value))
    return None


def _no_code(answer: Answer, fields: Mapping[str, Any], vendor: str) -> Later:
    if fields.get("status") == 1111:
        return Later(
            f"{vendor}: this machine's address is banned for a while after too many calls (status 1111)",
            pause_seconds=_ban_seconds(fields.get("wait")),
        )
    if 300 <= answer.status < 400:
        return Later(
            f"{vendor}: answered HTTP {answer.status}, a redirect, which is not followed; check the address",
            pause_seconds=GATEWAY_PAUSE_SECONDS,
        )
    if answer.status >= 500:
        return Later(f"{vendor}: answered HTTP {answer.status} without a code", unanswered=True)
    return Later(
        f"{vendor}: answered HTTP {answer.status} without a code; a gateway or a ban, not the robot",
        pause_seconds=GATEWAY_PAUSE_SECONDS,
        # A page is a gateway's own; anything else may be what is left of a robot's answer.
        unanswered=answer.status < 300 and not answer.body.lstrip().startswith(b"<"),
    )


def _ban_seconds(minutes: Any) -> float:
    if isinstance(minutes, int | float) and not isinstance(minutes, bool) and minutes > 0:
        return min(max(60.0 * minutes, GATEWAY_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS)
    return GATEWAY_PAUSE_SECONDS


def _words(fields: Mapping[str, Any], names: Sequence[str], secrets: Sequence[str]) -> str:
    words = next((fields[name] for name in names if isinstance(fields.get(name), str)), "")
    for secret in filter(None, secrets):
        words = words.replace(secret, "***")
    words = " ".join(word for word in words.split() if word.isprintable())
    return f": {words[:LONGEST_WORDS]}" if words else ""


def _clock_hint(behind_seconds: float) -> str:
    minutes, direction = abs(behind_seconds) / 60, "behind" if behind_seconds > 0 else "ahead of"
    return f"; this machine's clock is {minutes:.0f} minutes {direction} the robot's: set it right"
