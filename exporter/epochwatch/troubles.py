"""Where swallowed failures go: each is counted, and logged when its text changes.

Nothing of epochwatch may raise into the loop, so this is what a user has instead of a traceback.
"""

from __future__ import annotations

import logging
from collections import Counter

LOGGER = logging.getLogger("epochwatch")


class Troubles:
    """Counts failures by where they happened, for `training_exporter_errors_total`."""

    def __init__(self, logger: logging.Logger = LOGGER) -> None:
        self.counts: Counter[str] = Counter()
        self._logger = logger
        self._last_text: dict[str, str] = {}

    def report(self, where: str, text: str) -> None:
        """Counts one failure at `where`; logs `text` unless it was the last one logged for `where`."""
        self.counts[where] += 1
        if self._last_text.get(where) != text:
            self._last_text[where] = text
            self._logger.warning("%s: %s", where, text)

    def report_exception(self, where: str, error: BaseException) -> None:
        """Counts a caught exception at `where`, told by its type and message."""
        self.report(where, f"{type(error).__name__}: {error}")
