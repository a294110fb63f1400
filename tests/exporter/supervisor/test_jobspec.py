"""What a job may be, and how it is refused."""

import re
from pathlib import Path
from typing import Any

import pytest

from epochwatch.errors import JobError
from epochwatch.supervisor.durations import bytes_of, seconds_of
from epochwatch.supervisor.jobspec import JobSpec

GOOD: dict[str, Any] = {"name": "nightly", "command": ("python", "train.py")}

BAD = [
    (
        {"name": ""},
        "job : job must be a name: one line of 1 to 200 characters; got '' (key job:, flag --job)",
    ),
    (
        {"name": "a/b"},
        "job a/b: job must not have a / in it, nor begin with a dot; got 'a/b' (key job:, flag --job)",
    ),
    (
        {"command": "python train.py"},
        'job nightly: command must be the program and its arguments, as in ["python", "train.py", "--epochs", "30"]; '
        "got 'python train.py' (key command:, flag the words after --)",
    ),
    (
        {"command": ("", "x")},
        "job nightly: command must consist of texts, the first of them a program; got ('', 'x') "
        "(key command:, flag the words after --)",
    ),
    (
        {"timeout_seconds": 0.5},
        "job nightly: timeout must be at least 1 s; got 0.5 (key timeout:, flag --timeout)",
    ),
    (
        {"timeout_seconds": "8h"},
        'job nightly: timeout must be a span of time, as in "30s", "10m" or "8h"; got \'8h\' '
        "(key timeout:, flag --timeout)",
    ),
    (
        {"grace_seconds": float("nan")},
        'job nightly: grace must be a span of time, as in "30s", "10m" or "8h"; got nan (key grace:, flag --grace)',
    ),
    (
        {"stop_grace_seconds": -1},
        "job nightly: stop_grace must be at least 0 s; got -1 (key stop_grace:, flag --stop-grace)",
    ),
    (
        {"restarts": True},
        "job nightly: restarts must be a whole number from 0 to 1000; got True (key restarts:, flag --restarts)",
    ),
    (
        {"log_size_bytes": 10},
        'job nightly: log_size must be a size of at least 4096 bytes, as in "100M"; got 10 '
        "(key log_size:, flag --log-size)",
    ),
    (
        {"log_file": "train.log"},
        "job nightly: log_file must be a path; got 'train.log' (key log_file:, flag --log-file)",
    ),
    (
        {"env": {"A B": "1"}},
        "job nightly: env must have names of letters, digits and _, not 'A B' (key env:, flag --env)",
    ),
    (
        {"env": {"A": 1}},
        "job nightly: env must have texts for values (quote numbers), which A has not (key env:, flag --env)",
    ),
]


@pytest.mark.parametrize(("fields", "message"), BAD, ids=lambda value: str(value)[:30])
def test_a_wrong_job_is_refused_by_its_users_names(fields: dict[str, Any], message: str) -> None:
    """The error names the job, the key of a file and the flag, and says what would be right."""
    with pytest.raises(JobError, match=f"^{re.escape(message)}$"):
        JobSpec(**{**GOOD, **fields})


def test_a_job_needs_a_name_and_a_command_only() -> None:
    """All else has a default; a list from a file becomes a tuple."""
    spec = JobSpec("nightly", ["python", "train.py", "a b"], log_file=Path("x.log"))  # type: ignore[arg-type]
    assert spec.command == ("python", "train.py", "a b")
    assert spec.said_command == "python train.py 'a b'"
    assert (spec.timeout_seconds, spec.restarts, spec.schedule) == (None, 0, None)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90.0),
        ("1.5", 1.5),
        ("30s", 30.0),
        ("10m", 600.0),
        ("1h30m", 5400.0),
        ("2d", 172_800.0),
        ("1 h", 3600.0),
    ],
)
def test_spans_of_time_are_read(text: str, seconds: float) -> None:
    """Bare numbers are seconds; units add up."""
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "8 hours", "-5m", "10m5", "1e3s"])
def test_what_is_no_span_of_time_is_refused(text: str) -> None:
    """The error says how one is written."""
    with pytest.raises(ValueError, match='must be a span of time, as in "30s"'):
        seconds_of(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [("4096", 4096), ("64k", 65_536), ("100M", 104_857_600), ("2GiB", 2 * 2**30), ("1.5K", 1536)],
)
def test_sizes_are_read(text: str, size: int) -> None:
    """Units are powers of 1024."""
    assert bytes_of(text) == size


@pytest.mark.parametrize("text", ["", "M", "10T", "-1", "1 0"])
def test_what_is_no_size_is_refused(text: str) -> None:
    """The error says how one is written."""
    with pytest.raises(ValueError, match='must be a size, as in "64K"'):
        bytes_of(text)
