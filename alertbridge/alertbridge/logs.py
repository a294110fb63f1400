"""One line a record on stderr, with anything that looks like a secret masked, tracebacks included."""

from __future__ import annotations

import logging
import sys
from typing import TextIO

from alertbridge.secret import mask


class MaskingFormatter(logging.Formatter):
    """Formats as `logging.Formatter`, then masks: foreign libraries put addresses into their messages."""

    def format(self, record: logging.LogRecord) -> str:
        return mask(super().format(record))


def set_up_logging(level: str = "INFO", stream: TextIO | None = None) -> None:
    """Takes a level's name and a stream (stderr by default), makes the process log there."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(MaskingFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # It warns of every moment in which all threads are busy, which a burst of webhooks is.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    # It logs each address it calls, token included, at DEBUG.
    logging.getLogger("urllib3").setLevel(logging.WARNING)
