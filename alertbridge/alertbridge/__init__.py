"""The bridge of epochwatch: Alertmanager's webhooks become signed messages, and none is lost.

A robot can be used from Python without the bridge; that needs `requests` and nothing else:

    from alertbridge import DingTalk

    DingTalk(webhook, secret).send("Training", "**digits** reached 98.1 %")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alertbridge.message import Button as Button
    from alertbridge.message import Mention as Mention
    from alertbridge.message import Message as Message
    from alertbridge.robots.dingtalk import DingTalk as DingTalk
    from alertbridge.robots.feishu import Feishu as Feishu
    from alertbridge.robots.outcome import Delivered as Delivered
    from alertbridge.robots.outcome import Later as Later
    from alertbridge.robots.outcome import Limited as Limited
    from alertbridge.robots.outcome import Never as Never
    from alertbridge.robots.outcome import Outcome as Outcome
    from alertbridge.robots.outcome import Robot as Robot
    from alertbridge.robots.wecom import WeCom as WeCom

# Imported when first asked for: `import alertbridge` alone stays cheap.
_HOMES = {
    "Button": "alertbridge.message",
    "Mention": "alertbridge.message",
    "Message": "alertbridge.message",
    "DingTalk": "alertbridge.robots.dingtalk",
    "Feishu": "alertbridge.robots.feishu",
    "WeCom": "alertbridge.robots.wecom",
    "Delivered": "alertbridge.robots.outcome",
    "Later": "alertbridge.robots.outcome",
    "Limited": "alertbridge.robots.outcome",
    "Never": "alertbridge.robots.outcome",
    "Outcome": "alertbridge.robots.outcome",
    "Robot": "alertbridge.robots.outcome",
}

__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
