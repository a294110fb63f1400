"""The plain words in which an alert is told when no other form is taken."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from alertbridge.message import Mention
from alertbridge.plainly import plain_message
from alertbridge.render import Style
from alertbridge.settings import Mention as MentionSettings
from alertbridge.webhook import Notification, parse

Body = Callable[..., str]


def notification(text: str, **annotations: str) -> Notification:
    content = json.loads(text)
    content["alerts"][0]["annotations"] |= annotations
    return parse(json.dumps(content))


@pytest.mark.parametrize(
    ("language", "status", "expected"),
    [
        ("en", "firing", "CRITICAL · Training failed · digits: it broke"),
        ("zh", "firing", "严重 · 训练失败 · digits · 坏了"),
        ("zh", "resolved", "已解除 · 训练失败 · digits · 坏了"),
    ],
)
def test_an_alert_is_one_line(webhook_body: Body, language: str, status: str, expected: str) -> None:
    """Level or end, name, run and summary, in the receiver's language."""
    text = webhook_body("TrainingFailed", run="digits", severity="critical", status=status)
    told = notification(text, summary="digits: it broke", summary_zh="坏了")
    message = plain_message(told, Style(language=language))  # type: ignore[arg-type]
    assert (message.text, message.kind) == (expected, "text")


def test_foreign_marks_call_nobody(webhook_body: Body) -> None:
    """What looks like a mention or markup in an alert is only text."""
    text = webhook_body("A", run='<at user_id="all"></at>')
    message = plain_message(notification(text, summary="@all\n# x"), Style(language="en"))
    assert "<at" not in message.text
    assert "@" not in message.text
    assert "\n" not in message.text


def test_as_many_as_fit_and_the_number_of_the_rest(webhook_body: Body) -> None:
    """Alerts are left out until the robot takes the message; how many is said."""
    runs = tuple(f"r{number}" for number in range(130))
    told = notification(webhook_body("A", runs=runs))
    message = plain_message(told, Style(language="en"), lambda message: len(message.text) < 1000)
    lines = message.text.splitlines()
    assert len(message.text) < 1000
    assert lines[-1] == f"and {130 - len(lines) + 1} more"
    assert len(plain_message(told, Style()).text.splitlines()) == 101


def test_it_calls_whom_the_receiver_calls(webhook_body: Body) -> None:
    """A critical alert mentions people in its plain form too."""
    style = Style(mention=MentionSettings(mobiles=("13800000000",)))
    message = plain_message(notification(webhook_body("A", severity="critical")), style)
    assert message.mention == Mention(mobiles=("13800000000",))
