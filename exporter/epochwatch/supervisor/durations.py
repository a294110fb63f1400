"""Spans of time and sizes as people write them: "90", "10m", "1h30m", "100M"; pure."""

from __future__ import annotations

import math
import re

LONGEST_SECONDS = 3653 * 86_400.0
_UNIT_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?[smhdw])+")
_PART = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")
_UNIT_BYTES = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)([KMG]?)(?:i?B)?", re.IGNORECASE)


def seconds_of(text: str) -> float:
    """Takes "90" (seconds), "10m", "8h" or "1h30m" and gives seconds.

    Raises:
        ValueError: If it is no span of time; says how one is written.
    """
    text = text.strip().replace(" ", "")
    if re.fullmatch(r"\d+(?:\.\d+)?", text):
        text += "s"
    if not _DURATION.fullmatch(text):
        raise ValueError('must be a span of time, as in "30s", "10m", "8h", "1h30m" or "2d"')
    seconds = sum(float(number) * _UNIT_SECONDS[unit] for number, unit in _PART.findall(text))
    if seconds > LONGEST_SECONDS:
        raise ValueError("must be a span of time of at most ten years")
    return seconds


def bytes_of(text: str) -> int:
    """Takes "4096", "100M" or "2GiB" and gives bytes.

    Raises:
        ValueError: If it is no size; says how one is written.
    """
    size = _SIZE.fullmatch(text.strip())
    if size is None:
        raise ValueError('must be a size, as in "64K", "100M" or "2G"')
    number = float(size[1]) * _UNIT_BYTES[size[2].upper()]
    if math.isinf(number):
        raise ValueError("must be a size that a disk can hold")
    return int(number)
