"""Alertmanager's webhook, version 4, as it comes over the wire.

First station of the flow: the HTTP body becomes a `Notification`, which is stored, rendered and sent.
Bodies of Alertmanager 0.25 to 0.34 are accepted; fields that a newer one adds are kept.
Source: https://prometheus.io/docs/alerting/latest/configuration/#webhook_config
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timezone
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from alertbridge.errors import WebhookError
from alertbridge.problems import problems

__all__ = ["Alert", "Notification", "parse"]

Status = Literal["firing", "resolved"]

# Go's zero time, which stands for "not ended" while an alert fires.
ZERO_TIME = datetime(1, 1, 1, tzinfo=timezone.utc)
SHOWN_PROBLEMS = 3


def _in_utc(time: datetime) -> datetime:
    try:
        return time.astimezone(timezone.utc)
    except OverflowError:
        raise ValueError("is outside the years 1 to 9999") from None


UtcTime = Annotated[AwareDatetime, AfterValidator(_in_utc)]


class _Wire(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel, validate_by_name=True, validate_by_alias=True, extra="allow", frozen=True
    )


class Alert(_Wire):
    """One alert of a notification. Times are in UTC; `ends_at` is `ZERO_TIME` while it fires."""

    status: Status
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    starts_at: UtcTime
    ends_at: UtcTime = ZERO_TIME
    generator_url: str = Field(default="", alias="generatorURL")
    fingerprint: str = ""

    @property
    def identity(self) -> str:
        """Which occurrence of which alert this is: the same while it fires, in a repeat and once resolved."""
        return f"{self.fingerprint or _label_hash(self.labels)}@{self.starts_at.isoformat()}"

    @property
    def ended(self) -> bool:
        return self.status == "resolved"


class Notification(_Wire):
    """What Alertmanager tells about one alert group at one time."""

    version: Literal["4"]
    status: Status
    alerts: tuple[Alert, ...] = Field(min_length=1)
    group_key: str = Field(min_length=1)
    receiver: str = ""
    group_labels: dict[str, str] = Field(default_factory=dict)
    common_labels: dict[str, str] = Field(default_factory=dict)
    common_annotations: dict[str, str] = Field(default_factory=dict)
    external_url: str = Field(default="", alias="externalURL")
    truncated_alerts: int = Field(default=0, ge=0)

    def to_json(self) -> str:
        """Gives the body again, unknown fields included, in one line of JSON with Alertmanager's names."""
        return self.model_dump_json(by_alias=True)


def parse(body: bytes | str) -> Notification:
    """Takes a request body, gives the notification.

    Raises:
        WebhookError: it is not UTF-8, not JSON, or not a webhook of version 4; says which field and why.
    """
    try:
        return Notification.model_validate_json(body)
    except ValidationError as error:
        raise WebhookError(_explain(error)) from None


def _explain(error: ValidationError) -> str:
    found = list(problems(error))
    if found[0].kind == "json_invalid":
        return f"the body is not JSON: {found[0].message.removeprefix('Invalid JSON: ')}"
    shown = [
        f"{'.'.join(map(str, problem.place)) or 'body'}: {problem.message}"
        for problem in found[:SHOWN_PROBLEMS]
    ]
    if len(found) > SHOWN_PROBLEMS:
        shown.append(f"and {len(found) - SHOWN_PROBLEMS} more")
    return "the body is no Alertmanager webhook of version 4: " + "; ".join(shown)


def _label_hash(labels: dict[str, str]) -> str:
    # Only for senders that leave the fingerprint out; Alertmanager never does.
    text = "\x00".join(f"{name}\x01{value}" for name, value in sorted(labels.items()))
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]
