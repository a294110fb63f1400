"""Keeps the end of a stream of bytes, and gives its last lines as a terminal would show them."""

from __future__ import annotations

import re

KEPT_BYTES = 64 * 1024

# Colours, cursor moves, window titles (ECMA-48, 5.4).
_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")


class Tail:
    """The last 64 KiB of one stream."""

    def __init__(self) -> None:
        self._kept = bytearray()

    def feed(self, data: bytes) -> None:
        """Takes the next bytes."""
        self._kept += data[-KEPT_BYTES:]
        if len(self._kept) > 2 * KEPT_BYTES:
            del self._kept[:-KEPT_BYTES]

    def __contains__(self, text: bytes) -> bool:
        return text in self._kept

    def lines(self, count: int) -> list[str]:
        """Gives the last lines that are not empty, oldest first; of a progress bar what was drawn last."""
        text = bytes(self._kept[-KEPT_BYTES:]).decode("utf-8", "replace")
        shown = (last_drawn(line) for line in _ESCAPE.sub("", text).split("\n"))
        return [line for line in shown if line.strip()][-count:]


def last_drawn(line: str) -> str:
    """Takes a line with carriage returns and gives what stands there at its end."""
    return next((part for part in reversed(line.split("\r")) if part.strip()), "").rstrip()
