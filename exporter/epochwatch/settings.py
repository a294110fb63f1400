"""What `start` was asked for: arguments and EPOCHWATCH_ variables in, one checked, frozen object out."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from . import catalogue
from .errors import SettingsError
from .secret import Secret

LABEL_VALUE_LIMIT = 200
VENDORS = ("dingtalk", "feishu", "wecom")
Language = Literal["zh", "en"]
_LABEL_NAME = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_RESERVED_LABELS = {"run", "rank", "job", "instance", "le", "event", "alertname", "severity"}.union(
    *(metric.labels for metric in catalogue.CATALOGUE)
)
_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off"}


@dataclass(frozen=True)
class Settings:
    """Everything `start` can be told.

    Raises:
        SettingsError: When a field has the wrong type or range; names the argument and its variable.
    """

    run: str
    epochs: int | None = None
    steps: int | None = None
    monitor: str | None = None
    mode: str | None = None
    patience: int = 10
    min_delta: float = 1e-4
    port: int = 9400
    addr: str = "0.0.0.0"  # noqa: S104  (a scraper comes from another machine)
    targets_dir: Path | None = None
    alertmanager_url: str | None = None
    notify: str | None = None
    language: Language = "zh"
    details: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    gpu: bool = True
    tls_cert: Path | None = None
    tls_key: Path | None = None
    token: Secret | None = None
    token_file: Path | None = None

    def __post_init__(self) -> None:
        for name, check in _CHECKS.items():
            object.__setattr__(self, name, check(name, getattr(self, name)))
        if self.tls_key is not None and self.tls_cert is None:
            raise _wrong("tls_cert", "must be given with tls_key", None)
        if self.token_file is not None:
            if self.token is not None:
                raise _wrong("token_file", "must not be given together with token", None)
            object.__setattr__(self, "token", _token_of(self.token_file))

    @classmethod
    def read(cls, arguments: Mapping[str, object], environ: Mapping[str, str]) -> Settings:
        """Takes the arguments that were given (None is "not given") and the environment; arguments win.

        Raises:
            SettingsError: As the class, and when no run name is given at all.
        """
        given = {name: value for name, value in arguments.items() if value is not None}
        for known in fields(cls):
            text = environ.get(variable(known.name), "")
            if known.name not in given and text:
                given[known.name] = _PARSERS.get(known.name, _as_text)(known.name, text)
        if "run" not in given:
            raise _wrong("run", 'must name the run, as in epochwatch.start("resnet50-imagenet")', None)
        return cls(**given)  # type: ignore[arg-type]  # __post_init__ checks every field


def variable(name: str) -> str:
    """Takes an argument's name and gives its environment variable."""
    return f"EPOCHWATCH_{name.upper()}"


def label_value(name: str, value: object) -> str:
    """Checks a text that becomes a label value.

    Raises:
        SettingsError: If it is no text, empty, over 200 characters, or has control or non-UTF-8 characters.
    """
    if not isinstance(value, str) or not value:
        raise _wrong(name, "must be a text that is not empty", value)
    if len(value) > LABEL_VALUE_LIMIT:
        raise _wrong(name, f"must have at most {LABEL_VALUE_LIMIT} characters, this has {len(value)}", value)
    if _CONTROL.search(value):
        raise _wrong(name, "must be one line of valid UTF-8 without control characters", value)
    return value


def _wrong(name: str, rule: str, value: object) -> SettingsError:
    shown = ascii(value)
    if len(shown) > 60:
        shown = f"{shown[:57]}..."
    got = "" if value is None else f"; got {shown}"
    return SettingsError(f"{name} {rule}{got} (argument {name}=, environment {variable(name)})")


def _whole(low: int, high: int | None = None, optional: bool = False) -> Callable[[str, object], int | None]:
    span = f"from {low} to {high}" if high is not None else f"of at least {low}"

    def check(name: str, value: object) -> int | None:
        if value is None and optional:
            return None
        if type(value) is not int or value < low or (high is not None and value > high):
            raise _wrong(name, f"must be a whole number {span}", value)
        return value

    return check


def _min_delta(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise _wrong(name, "must be a number from 0 up to, but not including, 1", value)
    return float(value)


def _monitor(name: str, value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not re.fullmatch(r"[^/]+/[^/]+", value):
        raise _wrong(name, 'must be phase/metric, as in "validation/loss"', value)
    return label_value(name, value)


def _mode(name: str, value: object) -> str | None:
    if value not in (None, "min", "max"):
        raise _wrong(name, 'must be "min" or "max"', value)
    return None if value is None else str(value)


def _addr(name: str, value: object) -> str:
    if not isinstance(value, str) or not value or "/" in value or any(map(str.isspace, value)):
        raise _wrong(name, 'must be a host name or an IP address, as in "0.0.0.0" or "127.0.0.1"', value)
    return value


def _path(name: str, value: object) -> Path | None:
    if value is None:
        return None
    if not isinstance(value, str | Path) or not str(value) or "\0" in str(value):
        raise _wrong(name, "must be a path", value)
    return Path(value)


def _urls(name: str, value: object) -> str | None:
    if value is None:
        return None
    addresses = [text.strip().rstrip("/") for text in value.split(",")] if isinstance(value, str) else []
    if addresses and all(map(_is_web_address, addresses)):
        return ",".join(dict.fromkeys(addresses))
    # The value is not shown: an address may carry a password.
    raise _wrong(
        name,
        'must be an http:// or https:// address, as in "http://alertmanager:9093", or several separated by commas',
        None,
    )


def _is_web_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and not any(map(str.isspace, text))


def _notify(name: str, value: object) -> str | None:
    if value is None:
        return None
    vendors = [text.strip() for text in value.split(",")] if isinstance(value, str) else []
    if not vendors or not set(vendors) <= set(VENDORS):
        raise _wrong(
            name, f"must be {' or '.join(map(repr, VENDORS))}, or several separated by commas", value
        )
    return ",".join(dict.fromkeys(vendors))


def _language(name: str, value: object) -> str:
    if value not in ("zh", "en"):
        raise _wrong(name, 'must be "zh" or "en"', value)
    return str(value)


def _details(name: str, value: object) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise _wrong(name, 'must map names to values, as in {"model": "resnet50", "batch_size": 256}', value)
    return {
        label_value(name, key): label_value(name, text if isinstance(text, str) else str(text))
        for key, text in value.items()
    }


def _labels(name: str, value: object) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise _wrong(name, 'must map names to texts, as in {"team": "vision"}', value)
    for key in value:
        if not isinstance(key, str) or not _LABEL_NAME.fullmatch(key):
            raise _wrong(
                name, "must have names of letters, digits and _, not starting with a digit or __", key
            )
        if key in _RESERVED_LABELS:
            raise _wrong(name, "must not use a name that epochwatch or Prometheus uses itself", key)
    return {key: label_value(name, text) for key, text in value.items()}


def _readable_file(name: str, value: object) -> Path | None:
    path = _path(name, value)
    if path is not None:
        try:
            path.open("rb").close()
        except OSError as error:
            raise _wrong(
                name, f"must be a file that can be read ({error.strerror or error})", value
            ) from error
    return path


def _token(name: str, value: object) -> Secret | None:
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
        raise _wrong(name, "must be a text of printable ASCII characters without spaces", None)
    return Secret(text)


def _token_of(path: Path) -> Secret:
    token = _token("token_file", path.read_text(errors="replace").strip())
    if token is None:
        raise _wrong("token_file", "must hold a token", None)
    return token


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise _wrong(name, "must be True or False", value)
    return value


def _as_text(name: str, text: str) -> object:
    return text


def _as_whole(name: str, text: str) -> object:
    try:
        return int(text)
    except ValueError:
        return text


def _as_number(name: str, text: str) -> object:
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text


def _as_flag(name: str, text: str) -> object:
    lowered = text.strip().lower()
    return True if lowered in _TRUE else False if lowered in _FALSE else text


def _as_labels(name: str, text: str) -> object:
    pairs = [pair.partition("=") for pair in text.split(",") if pair.strip()]
    if not all(separator for _, separator, _ in pairs):
        raise _wrong(name, 'must look like "team=vision,owner=wang"', text)
    return {key.strip(): value.strip() for key, _, value in pairs}


_CHECKS: dict[str, Callable[[str, object], object]] = {
    "run": label_value,
    "epochs": _whole(1, optional=True),
    "steps": _whole(1, optional=True),
    "monitor": _monitor,
    "mode": _mode,
    "patience": _whole(1),
    "min_delta": _min_delta,
    "port": _whole(0, 65535),
    "addr": _addr,
    "targets_dir": _path,
    "alertmanager_url": _urls,
    "notify": _notify,
    "language": _language,
    "details": _details,
    "labels": _labels,
    "gpu": _flag,
    "tls_cert": _readable_file,
    "tls_key": _readable_file,
    "token": _token,
    "token_file": _readable_file,
}
_PARSERS: dict[str, Callable[[str, str], object]] = {
    "epochs": _as_whole,
    "steps": _as_whole,
    "patience": _as_whole,
    "min_delta": _as_number,
    "port": _as_whole,
    "details": _as_labels,
    "labels": _as_labels,
    "gpu": _as_flag,
}
