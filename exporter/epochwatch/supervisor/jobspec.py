"""What a job is: the command, when it runs, how long it may take, what happens when it fails.

One frozen object, whoever makes it: the flags of `epochwatch run`, or an entry of a file of several jobs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .. import checks
from ..errors import JobError, SettingsError
from ..masking import masked_command

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
LOG_SIZE_BYTES = 100 * 2**20
SMALLEST_LOG_BYTES = 4096


@dataclass(frozen=True)
class JobSpec:
    """A job as it was asked for.

    Attributes:
        name: The `job_name` label.
        command: The program and its arguments; no shell reads them.
        schedule: When it starts, as a cron expression; None for once, now. Read by the scheduler, as is `timezone`.
        grace_seconds: How late a start may be before it counts as missed.
        timeout_seconds: How long a run may take, restarts included.
        stop_grace_seconds: Between SIGTERM and SIGKILL, wherever the supervisor itself ends a process.
        restarts: How often a run that failed is started again.
        restart_delay_seconds: Before the first restart; doubled each time, to five minutes at most.
        log_file: Also gets the output; turned over at `log_size_bytes`, `log_files` old ones are kept.
        env: Variables of the command besides the supervisor's own.
        cwd: Where the command starts.

    Raises:
        JobError: When a field is wrong; names the job, the key and the flag.
    """

    name: str
    command: tuple[str, ...]
    schedule: str | None = None
    timezone: str | None = None
    grace_seconds: float = 600.0
    timeout_seconds: float | None = None
    stop_grace_seconds: float = 30.0
    restarts: int = 0
    restart_delay_seconds: float = 10.0
    log_file: Path | None = None
    log_size_bytes: int = LOG_SIZE_BYTES
    log_files: int = 5
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None

    def __post_init__(self) -> None:
        for key, check in _CHECKS.items():
            rule = check(getattr(self, key))
            if rule is not None:
                raise wrong(self.name, key, rule, getattr(self, key))
        object.__setattr__(self, "command", tuple(self.command))

    @property
    def said_command(self) -> str:
        """Gives the command in one line, for people, without what its flags say of secrets."""
        words = masked_command(self.command)
        return " ".join(word if word and not re.search(r"\s", word) else repr(word) for word in words)


FLAGS = {
    "name": ("job", "--job"),
    "command": ("command", "the words after --"),
    "grace_seconds": ("grace", "--grace"),
    "timeout_seconds": ("timeout", "--timeout"),
    "stop_grace_seconds": ("stop_grace", "--stop-grace"),
    "restart_delay_seconds": ("restart_delay", "--restart-delay"),
    "log_size_bytes": ("log_size", "--log-size"),
}


def wrong(job: object, key: str, rule: str, value: object) -> JobError:
    """Gives the error for a field of a job that breaks `rule`, by the names that users give it."""
    named, flag = FLAGS.get(key, (key, f"--{key.replace('_', '-')}"))
    shown = ascii(value)
    if len(shown) > 60:
        shown = f"{shown[:57]}..."
    # The values of variables may be secrets.
    got = "" if key == "env" else f"; got {shown}"
    return JobError(f"job {job}: {named} {rule}{got} (key {named}:, flag {flag})")


def _name(value: object) -> str | None:
    try:
        checks.label_value("job", value)
    except SettingsError:
        return "must be a name: one line of 1 to 200 characters"
    # It names files of state and of locks.
    return (
        "must not have a / in it, nor begin with a dot" if "/" in str(value) or str(value)[0] == "." else None
    )


def _command(value: object) -> str | None:
    if isinstance(value, str) or not isinstance(value, tuple | list) or not value:
        return 'must be the program and its arguments, as in ["python", "train.py", "--epochs", "30"]'
    if not all(isinstance(part, str) and "\0" not in part for part in value) or not value[0]:
        return "must consist of texts, the first of them a program"
    return None


def _optional_text(value: object) -> str | None:
    return None if value is None or (isinstance(value, str) and value.strip()) else "must be a text"


def _seconds(low: float, optional: bool = False) -> Callable[[object], str | None]:
    def check(value: object) -> str | None:
        if value is None and optional:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return 'must be a span of time, as in "30s", "10m" or "8h"'
        return None if value >= low else f"must be at least {low:g} s"

    return check


def _whole(low: int, high: int) -> Callable[[object], str | None]:
    def check(value: object) -> str | None:
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        return None if is_whole and low <= value <= high else f"must be a whole number from {low} to {high}"  # type: ignore[operator]  # it is a number

    return check


def _size(value: object) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool) and value >= SMALLEST_LOG_BYTES:
        return None
    return f'must be a size of at least {SMALLEST_LOG_BYTES} bytes, as in "100M"'


def _path(value: object) -> str | None:
    good = value is None or (isinstance(value, Path) and str(value) and "\0" not in str(value))
    return None if good else "must be a path"


def _env(value: object) -> str | None:
    if not isinstance(value, Mapping):
        return 'must map names to texts, as in {"CUDA_VISIBLE_DEVICES": "0"}'
    for name, text in value.items():
        if not isinstance(name, str) or not _VARIABLE.fullmatch(name):
            return f"must have names of letters, digits and _, not {name!r}"
        if not isinstance(text, str) or "\0" in text:
            return f"must have texts for values (quote numbers), which {name} has not"
    return None


_CHECKS: dict[str, Callable[[object], str | None]] = {
    "name": _name,
    "command": _command,
    "schedule": _optional_text,
    "timezone": _optional_text,
    "grace_seconds": _seconds(0),
    "timeout_seconds": _seconds(1, optional=True),
    "stop_grace_seconds": _seconds(0),
    "restarts": _whole(0, 1000),
    "restart_delay_seconds": _seconds(0),
    "log_file": _path,
    "log_size_bytes": _size,
    "log_files": _whole(1, 1000),
    "env": _env,
    "cwd": _path,
}
