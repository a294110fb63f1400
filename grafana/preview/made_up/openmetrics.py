"""Takes series as functions of time, gives the text that promtool makes blocks of."""

from __future__ import annotations

import hashlib
import lzma
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

Values = Callable[[float], float | None]


@dataclass(frozen=True)
class Series:
    """One series; `at` takes a Unix time and gives the value then, None where there is none."""

    name: str
    labels: Mapping[str, str]
    at: Values


def lines(series: Iterable[Series], start: float, end: float, step: float) -> Iterator[str]:
    """Gives the samples of each series from `start` to `end`, one every `step` seconds."""
    for one in series:
        labels = ",".join(f'{name}="{value}"' for name, value in one.labels.items())
        head = f"{one.name}{{{labels}}}"
        for number in range(int((end - start) / step) + 1):
            moment = start + number * step
            value = one.at(moment)
            if value is not None:
                yield f"{head} {text(value)} {moment:.3f}\n"


def text(value: float) -> str:
    """Gives a value as OpenMetrics writes it."""
    if math.isnan(value):
        return "NaN"
    return repr(float(value)) if math.isfinite(value) else ("+Inf" if value > 0 else "-Inf")


def replayed(record: Path, end: float) -> Iterator[str]:
    """Takes what `record.py` wrote, gives its samples as if the last one had been read at `end`.

    Moments that are values of series move along.
    """
    with lzma.open(record, "rt", encoding="utf-8") as file:
        samples = [line.rstrip("\n").rsplit(" ", 2) for line in file if not line.startswith("#")]
    shift = end - max(float(at) for _, _, at in samples)
    for series, value, at in samples:
        moved = float(value) + shift if re.match(r"\w+_timestamp_seconds\{", series) else float(value)
        yield f"{series} {text(moved)} {float(at) + shift:.3f}\n"


def noise(*key: object) -> float:
    """Gives a number from -1 to 1 that depends on the key alone: a history is the same each time it is made."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**63 - 1
