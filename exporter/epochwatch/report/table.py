"""Rows as a table in a terminal, aligned also where Chinese characters take two columns; pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence


def table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Takes a heading and rows of as many texts, gives them in columns."""
    lines = [list(heading), *(list(map(printable, row)) for row in rows)]
    widths = [max(map(width, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell + " " * (size - width(cell)) for cell, size in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def width(text: str) -> int:
    """Gives the columns that a text takes; wide characters take two (Unicode Standard Annex #11)."""
    return sum(2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text)


def printable(text: str) -> str:
    """Gives a text without what a terminal would obey."""
    return "".join(sign if sign.isprintable() else "?" for sign in text)
