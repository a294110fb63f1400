"""What `start` was asked for: arguments and EPOCHWATCH_ variables in, one checked, frozen object out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

from . import checks
from .secret import Secret
from .tolerance import Tolerance

Language = Literal["zh", "en"]
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
    advertise: str | None = None
    targets_dir: Path | None = None
    alertmanager_url: str | None = None
    notify: str | None = None
    language: Language = "zh"
    details: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    gpu: bool = True
    history: Path | None = None
    baseline: str | None = None
    threshold: Tolerance = Tolerance(0.005, relative=True)  # noqa: RUF009  (frozen)
    report_url: str | None = None
    prometheus_url: str | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    token: Secret | None = None
    token_file: Path | None = None

    def __post_init__(self) -> None:
        for name, check in _CHECKS.items():
            object.__setattr__(self, name, check(name, getattr(self, name)))
        if self.tls_key is not None and self.tls_cert is None:
            raise checks.wrong("tls_cert", "must be given with tls_key", None)
        if self.token_file is not None:
            if self.token is not None:
                raise checks.wrong("token_file", "must not be given together with token", None)
            object.__setattr__(self, "token", checks.token_of(self.token_file))

    @classmethod
    def read(cls, arguments: Mapping[str, object], environ: Mapping[str, str]) -> Settings:
        """Takes the arguments that were given (None is "not given") and the environment; arguments win.

        Raises:
            SettingsError: As the class, and when no run name is given at all.
        """
        given = {name: value for name, value in arguments.items() if value is not None}
        for known in fields(cls):
            text = environ.get(checks.variable(known.name), "")
            if known.name not in given and text:
                given[known.name] = _PARSERS.get(known.name, _as_text)(known.name, text)
        if "run" not in given:
            raise checks.wrong("run", 'must name the run, as in epochwatch.start("resnet50-imagenet")', None)
        return cls(**given)  # type: ignore[arg-type]  # __post_init__ checks every field


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
        raise checks.wrong(name, 'must look like "team=vision,owner=wang"', text)
    return {key.strip(): value.strip() for key, _, value in pairs}


_CHECKS: dict[str, Callable[[str, object], object]] = {
    "run": checks.label_value,
    "epochs": checks.whole(1, optional=True),
    "steps": checks.whole(1, optional=True),
    "monitor": checks.monitored,
    "mode": checks.direction,
    "patience": checks.whole(1),
    "min_delta": checks.threshold,
    "port": checks.whole(0, 65535),
    "addr": checks.address,
    "advertise": checks.advertised,
    "targets_dir": checks.path,
    "alertmanager_url": checks.web_addresses,
    "notify": checks.vendors,
    "language": checks.language,
    "details": checks.details,
    "labels": checks.labels,
    "gpu": checks.flag,
    "history": checks.path,
    "baseline": checks.optional_name,
    "threshold": checks.tolerance,
    "report_url": checks.shown_address,
    "prometheus_url": checks.web_address,
    "tls_cert": checks.readable_file,
    "tls_key": checks.readable_file,
    "token": checks.token,
    "token_file": checks.readable_file,
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
