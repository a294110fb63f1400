"""What the demo prints: progress lines with the time, the table of hops, the delivered message."""

from __future__ import annotations

import sys
import textwrap
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

BOLD, DIM, GREEN, RED, PLAIN = "\033[1m", "\033[2m", "\033[32m", "\033[31m", "\033[0m"


@dataclass(frozen=True)
class Hop:
    """One station of the way and when it was reached (Unix seconds)."""

    name: str
    at: float


def paint(text: str, colour: str) -> str:
    """Gives the text in a colour where the output is a terminal."""
    return f"{colour}{text}{PLAIN}" if sys.stdout.isatty() else text


def say(text: str) -> None:
    """Prints one progress line behind the time of day."""
    print(f"{paint(clock(datetime.now().timestamp())[:8], DIM)}  {text}", flush=True)


def clock(at: float) -> str:
    """Takes Unix seconds, gives local time of day with milliseconds."""
    return datetime.fromtimestamp(at).strftime("%H:%M:%S.%f")[:-3]


def table(hops: Sequence[Hop]) -> str:
    """Takes the hops in order, gives a table with times and the seconds that each took."""
    width = max(cells(hop.name) for hop in hops) + 2
    lines = [pad("hop", width) + "at             took"]
    for before, hop in zip([None, *hops], hops, strict=False):
        took = "" if before is None else f"{hop.at - before.at:+7.3f} s"
        lines.append(f"{pad(hop.name, width)}{clock(hop.at)}  {took}".rstrip())
    lines.append(f"{pad('in all', width)}{'':12}  {hops[-1].at - hops[0].at:+7.3f} s")
    return "\n".join(lines)


def framed(text: str) -> str:
    """Gives the text behind a bar, as a quotation."""
    return textwrap.indent(text.strip(), "  │ ", lambda line: True)


def cells(text: str) -> int:
    """Gives the columns that a text takes in a terminal; Chinese characters take two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def pad(text: str, width: int) -> str:
    return text + " " * (width - cells(text))
