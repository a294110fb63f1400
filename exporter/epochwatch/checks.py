"""What each argument of `start` may be: one check per kind of value, with the words a user is told.

A check takes the argument's name and its value, gives the value as it is kept, and raises SettingsError.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from . import catalogue
from .errors import SettingsError
from .secret import Secret
from .tolerance import Tolerance, parse

LABEL_VALUE_LIMIT = 200
VENDORS = ("dingtalk", "feishu", "wecom")
_LABEL_NAME = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_RESERVED_LABELS = {
    "run",
    "rank",
    "job",
    "job_name",
    "instance",
    "le",
    "event",
    "alertname",
    "severity",
}.union(*(metric.labels for metric in catalogue.CATALOGUE))
_PLACE = re.compile(r"(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:(?P<port>[0-9]{1,5}))?")


def variable(name: str) -> str:
    """Takes an argument's name and gives its environment variable."""
    return f"EPOCHWATCH_{name.upper()}"


def label_value(name: str, value: object) -> str:
    """Checks a text that becomes a label value.

    Raises:
        SettingsError: If it is no text, empty, over 200 characters, or has control or non-UTF-8 characters.
    """
    if not isinstance(value, str) or not value:
        raise wrong(name, "must be a text that is not empty", value)
    if len(value) > LABEL_VALUE_LIMIT:
        raise wrong(name, f"must have at most {LABEL_VALUE_LIMIT} characters, this has {len(value)}", value)
    if _CONTROL.search(value):
        raise wrong(name, "must be one line of valid UTF-8 without control characters", value)
    return value


def wrong(name: str, rule: str, value: object) -> SettingsError:
    """Gives the error for an argument that breaks `rule`; a `value` of None is not shown."""
    shown = ascii(value)
    if len(shown) > 60:
        shown = f"{shown[:57]}..."
    got = "" if value is None else f"; got {shown}"
    return SettingsError(f"{name} {rule}{got} (argument {name}=, environment {variable(name)})")


def whole(low: int, high: int | None = None, optional: bool = False) -> Callable[[str, object], int | None]:
    """Gives the check of a whole number."""

    span = f"from {low} to {high}" if high is not None else f"of at least {low}"

    def check(name: str, value: object) -> int | None:
        if value is None and optional:
            return None
        if type(value) is not int or value < low or (high is not None and value > high):
            raise wrong(name, f"must be a whole number {span}", value)
        return value

    return check


def threshold(name: str, value: object) -> float:
    """Checks how much better is better."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise wrong(name, "must be a number from 0 up to, but not including, 1", value)
    return float(value)


def tolerance(name: str, value: object) -> Tolerance:
    """Checks how much worse still counts as the same."""
    if isinstance(value, Tolerance):
        return value
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise wrong(name, 'must be a share as in "0.5%" or a distance as in 0.005', value)
    try:
        return parse(str(value))
    except ValueError as error:
        raise wrong(name, str(error), value) from None


def optional_name(name: str, value: object) -> str | None:
    """Checks a name that need not be given."""
    return None if value is None else label_value(name, value)


def monitored(name: str, value: object) -> str | None:
    """Checks the name of the value that says how good the model is."""
    if value is None:
        return None
    if not isinstance(value, str) or not re.fullmatch(r"[^/]+/[^/]+", value):
        raise wrong(name, 'must be phase/metric, as in "validation/loss"', value)
    return label_value(name, value)


def direction(name: str, value: object) -> str | None:
    """Checks whether less or more of a value is better."""
    if value not in (None, "min", "max"):
        raise wrong(name, 'must be "min" or "max"', value)
    return None if value is None else str(value)


def address(name: str, value: object) -> str:
    """Checks an address to serve on."""
    if not isinstance(value, str) or not value or "/" in value or any(map(str.isspace, value)):
        raise wrong(name, 'must be a host name or an IP address, as in "0.0.0.0" or "127.0.0.1"', value)
    return value


def advertised(name: str, value: object) -> str | None:
    """Checks the address under which others reach this process."""
    if value is None:
        return None
    place = _PLACE.fullmatch(value) if isinstance(value, str) else None
    if place is None or (place["port"] is not None and not 1 <= int(place["port"]) <= 65535):
        raise wrong(
            name,
            'must be a host name or an IP address, with or without a port, as in "gpu-01.example.com" or '
            '"203.0.113.7:19400"; an IPv6 address in brackets, as in "[2001:db8::7]:19400"',
            value,
        )
    return place[0]


def path(name: str, value: object) -> Path | None:
    """Checks a path, which need not exist."""
    if value is None:
        return None
    if not isinstance(value, str | Path) or not str(value) or "\0" in str(value):
        raise wrong(name, "must be a path", value)
    return Path(value)


def web_addresses(name: str, value: object) -> str | None:
    """Checks addresses separated by commas; the ones given twice are kept once."""
    if value is None:
        return None
    addresses = [text.strip().rstrip("/") for text in value.split(",")] if isinstance(value, str) else []
    if addresses and all(map(_is_web_address, addresses)):
        return ",".join(dict.fromkeys(addresses))
    # The value is not shown: an address may carry a password.
    raise wrong(
        name,
        'must be an http:// or https:// address, as in "http://alertmanager:9093", or several separated by commas',
        None,
    )


def web_address(name: str, value: object) -> str | None:
    """Checks one address."""
    if value is None:
        return None
    if not isinstance(value, str) or "," in value or not _is_web_address(value.strip()):
        # The value is not shown: an address may carry a password.
        raise wrong(name, 'must be one http:// or https:// address, as in "http://prometheus:9090"', None)
    return value.strip().rstrip("/")


def shown_address(name: str, value: object) -> str | None:
    """Checks an address that everybody is shown."""
    address = web_address(name, value)
    if address is not None and (urlsplit(address).username or urlsplit(address).query):
        raise wrong(
            name, "must be an address without user, password and query: it stands in every message", None
        )
    return address


def _is_web_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and not any(map(str.isspace, text))


def vendors(name: str, value: object) -> str | None:
    """Checks robots' vendors separated by commas."""
    if value is None:
        return None
    named = [text.strip() for text in value.split(",")] if isinstance(value, str) else []
    if not named or not set(named) <= set(VENDORS):
        raise wrong(name, f"must be {' or '.join(map(repr, VENDORS))}, or several separated by commas", value)
    return ",".join(dict.fromkeys(named))


def language(name: str, value: object) -> str:
    """Checks the language of messages."""
    if value not in ("zh", "en"):
        raise wrong(name, 'must be "zh" or "en"', value)
    return str(value)


def details(name: str, value: object) -> dict[str, str]:
    """Checks what the message of the start shows; values of any type become texts."""
    if not isinstance(value, Mapping):
        raise wrong(name, 'must map names to values, as in {"model": "resnet50", "batch_size": 256}', value)
    return {
        label_value(name, key): label_value(name, text if isinstance(text, str) else str(text))
        for key, text in value.items()
    }


def labels(name: str, value: object) -> dict[str, str]:
    """Checks constant labels; a name that a metric has itself would make its series collide."""
    if not isinstance(value, Mapping):
        raise wrong(name, 'must map names to texts, as in {"team": "vision"}', value)
    for key in value:
        if not isinstance(key, str) or not _LABEL_NAME.fullmatch(key):
            raise wrong(
                name, "must have names of letters, digits and _, not starting with a digit or __", key
            )
        if key in _RESERVED_LABELS:
            raise wrong(name, "must not use a name that epochwatch or Prometheus uses itself", key)
    return {key: label_value(name, text) for key, text in value.items()}


def readable_file(name: str, value: object) -> Path | None:
    """Checks a file that must be there."""
    file = path(name, value)
    if file is not None:
        try:
            file.open("rb").close()
        except OSError as error:
            raise wrong(
                name, f"must be a file that can be read ({error.strerror or error})", value
            ) from error
    return file


def token(name: str, value: object) -> Secret | None:
    """Checks a token and hides it."""
    if value is None:
        return None
    text = value.reveal() if isinstance(value, Secret) else value
    # The value is not shown.
    if (
        not isinstance(text, str)
        or not text.isascii()
        or not text.isprintable()
        or not text.split() == [text]
    ):
        raise wrong(name, "must be a text of printable ASCII characters without spaces", None)
    return Secret(text)


def token_of(file: Path) -> Secret:
    """Gives the token a file holds."""
    held = token("token_file", file.read_text(errors="replace").strip())
    if held is None:
        raise wrong("token_file", "must hold a token", None)
    return held


def flag(name: str, value: object) -> bool:
    """Checks a truth value."""
    if not isinstance(value, bool):
        raise wrong(name, "must be True or False", value)
    return value
