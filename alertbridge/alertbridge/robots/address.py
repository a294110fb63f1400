"""Checks a robot's address before anything is sent to it, and gives it a name that can be shown."""

from __future__ import annotations

import hashlib
import ipaddress
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from alertbridge.errors import RobotError
from alertbridge.secret import Secret, mask_url

VENDOR_HOSTS = {
    "dingtalk": ("dingtalk.com",),
    "feishu": ("feishu.cn", "larksuite.com"),
    "wecom": ("qyapi.weixin.qq.com",),
}


def checked(webhook: str | Secret, vendor: str, example: str) -> Secret:
    """Takes a robot's address as it was configured, gives it ready for use.

    Raises:
        RobotError: it is no address, holds a user name, or would carry the token unencrypted over a network.
    """
    url = (webhook.reveal() if isinstance(webhook, Secret) else webhook).strip()
    try:
        parts = urlsplit(url)
        host = parts.hostname
        _ = parts.port
    except ValueError:
        parts, host = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not host or any(letter.isspace() for letter in url):
        raise RobotError(
            f"{vendor}: {mask_url(url)!r} is no robot address; copy it from the group: {example}"
        )
    if "@" in parts.netloc:
        raise RobotError(f"{vendor}: the address of {host} must hold no user name")
    if parts.scheme == "http" and not _near(host):
        raise RobotError(f"{vendor}: http://{host} would carry the token in the clear; write https://{host}")
    return Secret(url)


def with_query(url: str, **parameters: str) -> str:
    """Takes an address, gives it with these query parameters, encoded once, in place of those it had."""
    parts = urlsplit(url)
    kept = [(key, value) for key, value in parse_qsl(parts.query) if key not in parameters]
    return urlunsplit(parts._replace(query=urlencode([*kept, *parameters.items()]), fragment=""))


def parameter(url: str, name: str) -> str:
    """Takes an address, gives one of its query parameters, "" if it is absent."""
    return dict(parse_qsl(urlsplit(url).query)).get(name, "")


def foreign_host(channel: str, webhook: Secret) -> str | None:
    """Takes a channel and a robot's address, gives its host if that is not the vendor's: a proxy, or the sandbox."""
    host = urlsplit(webhook.reveal().strip()).hostname or ""
    known = VENDOR_HOSTS[channel]
    return None if any(host == one or host.endswith(f".{one}") for one in known) else host


def name_of(channel: str, url: str) -> str:
    """Takes an address, gives a name that is always the same for it and tells nothing of its token."""
    return f"{channel}-{hashlib.sha256(url.encode()).hexdigest()[:10]}"


def _near(host: str) -> bool:
    """Whether a host is this machine or in its own network: loopback, private, or a name without a dot."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "." not in host or host.endswith(".localhost")
    return address.is_loopback or address.is_private
