"""What can be configured, with its defaults and its limits, as frozen models.

`configfile` fills them from YAML and the environment; everything else takes them as they are.
Each field's description is the text of docs/configuration.md.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from alertbridge.secret import Secret

Language = Literal["zh", "en"]
Severity = Literal["critical", "warning", "info"]

RECEIVER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


def _known_timezone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"{name!r} is no time zone; write one like Asia/Shanghai or UTC") from None
    return name


def _host_and_port(text: str) -> str:
    host, separator, port = text.rpartition(":")
    if not separator or not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"{text!r} is no address; write HOST:PORT, for example 127.0.0.1:8060")
    return text


def _web_address(text: str) -> str:
    if urlsplit(text).scheme not in ("http", "https") or not urlsplit(text).hostname:
        raise ValueError("must be an address that begins with http:// or https://")
    return text.rstrip("/")


def _as_text(value: object) -> object:
    # YAML reads a mobile number as an integer.
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Timezone = Annotated[str, AfterValidator(_known_timezone)]
Listen = Annotated[str, AfterValidator(_host_and_port)]
WebAddress = Annotated[str, AfterValidator(_web_address)]
Text = Annotated[str, BeforeValidator(_as_text)]


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DingTalkSettings(_Settings):
    """A custom robot of a DingTalk group."""

    webhook: Secret = Field(description="The robot's address, access_token included.")
    secret: Secret | None = Field(default=None, description="The signing secret (SEC…), if the robot signs.")
    timeout_seconds: float = Field(default=5.0, gt=0, le=60, description="How long one call may take.")


class FeishuSettings(_Settings):
    """A custom bot of a Feishu or Lark group."""

    webhook: Secret = Field(description="The bot's address.")
    secret: Secret | None = Field(default=None, description="The signing secret, if the bot asks for one.")
    timeout_seconds: float = Field(default=5.0, gt=0, le=60, description="How long one call may take.")


class WeComSettings(_Settings):
    """A robot of a WeCom group."""

    webhook: Secret = Field(description="The robot's address, key included.")
    timeout_seconds: float = Field(default=5.0, gt=0, le=60, description="How long one call may take.")


class Limits(_Settings):
    """How often a robot may be called. The defaults are DingTalk's own; Feishu's 5 a second is kept besides."""

    messages: int = Field(default=20, ge=1, le=100_000, description="Messages in one window.")
    per_seconds: float = Field(default=60.0, gt=0, le=86_400, description="Length of the sliding window.")
    lock_seconds: float = Field(
        default=600.0, gt=0, le=86_400, description="Pause after a rate-limit answer."
    )
    longest_pause_seconds: float = Field(
        default=3600.0,
        gt=0,
        le=86_400,
        description="Longest pause after an answer that is a gateway's, not the robot's: a ban, a page, nothing. "
        "Such an answer pauses the robot for 5 minutes, or for as long as it asks.",
    )
    monthly: int = Field(default=5000, ge=1, description="The organisation's monthly quota for this robot.")


class RobotSettings(_Settings):
    """One robot of a receiver: a channel, and its limits."""

    dingtalk: DingTalkSettings | None = Field(default=None, description="A DingTalk group robot.")
    feishu: FeishuSettings | None = Field(default=None, description="A Feishu or Lark group bot.")
    wecom: WeComSettings | None = Field(default=None, description="A WeCom group robot.")
    limits: Limits = Field(default=Limits(), description="How often this robot may be called.")

    @model_validator(mode="after")
    def _one_channel(self) -> RobotSettings:
        if sum(channel is not None for channel in (self.dingtalk, self.feishu, self.wecom)) != 1:
            raise ValueError("give exactly one of dingtalk, feishu and wecom")
        return self

    @property
    def address(self) -> tuple[str, Secret]:
        """The channel, and the address of the robot in it."""
        for channel in ("dingtalk", "feishu", "wecom"):
            given = getattr(self, channel)
            if given is not None:
                return channel, given.webhook
        raise AssertionError("_one_channel has seen to it that there is one")


class Mention(_Settings):
    """Who is called by name in a firing message."""

    mobiles: tuple[Text, ...] = Field(
        default=(), max_length=50, description="Mobile numbers of group members."
    )
    user_ids: tuple[Text, ...] = Field(
        default=(), max_length=50, description="DingTalk user ids of group members."
    )
    all: bool = Field(default=False, description="Mention everybody in the group.")
    severities: tuple[Severity, ...] = Field(
        default=("critical",), description="Only for alerts of these severities."
    )


class ReceiverSettings(_Settings):
    """One address of the bridge: which robots tell, and how."""

    robots: tuple[RobotSettings, ...] = Field(
        min_length=1, description="The robots that share the load and stand in for each other."
    )
    mention: Mention = Field(default=Mention(), description="Who is mentioned.")
    keyword: str = Field(
        default="", max_length=200, description="The keyword that the robot's security settings ask for."
    )
    template: str = Field(
        default="training", description="`training`, `generic`, or a file of `templates_dir`."
    )
    kind: Literal["markdown", "action_card"] = Field(
        default="markdown",
        description="`action_card` shows the links as buttons; WeCom's robots have none and list them.",
    )
    language: Language | None = Field(
        default=None, description="`zh` or `en`; the global `language` if absent."
    )
    timezone: Timezone | None = Field(
        default=None, description="Of the times shown; the global one if absent."
    )
    watchdog_seconds: float | None = Field(
        default=None,
        ge=10,
        le=3600,
        description="If no `Watchdog` alert comes for so long, the receiver is told that the monitoring is silent; "
        "while it comes nobody is told. Absent: a `Watchdog` alert is like any other.",
    )
    fallback: str | None = Field(
        default=None, description="The receiver that is told what this one's robots refuse."
    )


class BasicAuth(_Settings):
    """HTTP basic authentication."""

    username: str = Field(min_length=1, description="The user name Alertmanager sends.")
    password: Secret = Field(description="The password Alertmanager sends.")


class Auth(_Settings):
    """What a client must show to post alerts or to reload: a bearer token, or a user and password."""

    bearer_token: Secret | None = Field(
        default=None, description="Alertmanager's `authorization.credentials`."
    )
    basic: BasicAuth | None = Field(default=None, description="Alertmanager's `basic_auth`.")

    @model_validator(mode="after")
    def _one_of_both(self) -> Auth:
        if (self.bearer_token is None) == (self.basic is None):
            raise ValueError("give either bearer_token (or bearer_token_file) or basic")
        if self.bearer_token is not None and not self.bearer_token:
            raise ValueError("bearer_token is empty")
        return self


class Settings(_Settings):
    """The whole configuration file."""

    listen: Listen = Field(
        default="127.0.0.1:8060", description="HOST:PORT to serve on; port 0 picks a free one."
    )
    storage: Secret = Field(
        default=Secret("sqlite:///alertbridge.db"),
        description="The outbox: `sqlite:///FILE`, relative to where the bridge is started, or "
        "`postgresql+psycopg://USER:PASSWORD@HOST/DATABASE`.",
    )
    language: Language = Field(default="zh", description="Of the messages: `zh` or `en`.")
    timezone: Timezone = Field(default="Asia/Shanghai", description="Of the times shown in messages.")
    auth: Auth | None = Field(
        default=None, description="Who may post. Absent: everybody who can reach the port."
    )
    prometheus_url: WebAddress | None = Field(
        default=None, description="Adds the recent curve to training messages."
    )
    grafana_url: WebAddress | None = Field(default=None, description="Adds dashboard links to messages.")
    runbooks_url: WebAddress | None = Field(
        default=None,
        description="Where your `runbooks.md` and `runbooks.zh-CN.md` are, for links to the shipped ones.",
    )
    receivers: dict[str, ReceiverSettings] = Field(
        min_length=1, description="By name, as in the address `/dingtalk/<receiver>/send`."
    )
    max_body_bytes: int = Field(
        default=8 * 1024 * 1024,
        ge=1024,
        le=64 * 1024 * 1024,
        description="Webhooks above this size are answered 413.",
    )
    templates_dir: str | None = Field(
        default=None, description="Directory of your own templates, relative to the configuration file."
    )

    @model_validator(mode="after")
    def _names_fit(self) -> Settings:
        for name, receiver in self.receivers.items():
            if not RECEIVER_NAME.fullmatch(name):
                raise ValueError(f"receiver {name!r}: a name is made of letters, digits, '_', '.' and '-'")
            if receiver.fallback is not None and receiver.fallback not in self.receivers:
                known = ", ".join(sorted(self.receivers))
                raise ValueError(f"receiver {name!r}: fallback {receiver.fallback!r} is not one of {known}")
            if receiver.fallback == name:
                raise ValueError(f"receiver {name!r}: it cannot be its own fallback")
        return self

    def language_of(self, receiver: str) -> Language:
        return self.receivers[receiver].language or self.language

    def timezone_of(self, receiver: str) -> str:
        return self.receivers[receiver].timezone or self.timezone
