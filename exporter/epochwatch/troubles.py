"""Where swallowed failures go: each is counted, and logged when its text changes.

Nothing of epochwatch may raise into the loop, so this is what a user has instead of a traceback.
"""

from __future__ import annotations

import logging
from collections import Counter

LOGGER = logging.getLogger("epochwatch")
NAME_LIMIT = 200
PLACES_LIMIT = 100


def is_name(text: object) -> bool:
    """Tells whether what the loop gave may become a label value: a short text of one line that UTF-8 can carry."""
    return isinstance(text, str) and 0 < len(text) <= NAME_LIMIT and text.isprintable()


class Troubles:
    """Counts failures by where they happened, for `training_exporter_errors_total`."""

    def __init__(self, logger: logging.Logger = LOGGER) -> None:
        self.counts: Counter[str] = Counter()
        self._logger = logger
        self._last_text: dict[str, str] = {}

    def report(self, where: str, text: str) -> None:
        """Counts one failure at `where`; logs `text` unless it was the last one logged for `where`.

        A place may be the name of a user's metric: beyond 100 places, and for odd names, it is "other".
        """
        if where not in self.counts and (len(self.counts) >= PLACES_LIMIT or not is_name(where)):
            where = "other"
        self.counts[where] += 1
        if self._last_text.get(where) != text:
            self._last_text[where] = text
            self._logger.warning("%s: %s", where, text)

    def report_exception(self, where: str, error: BaseException) -> None:
        """Counts a caught exception at `where`, told by its type and message."""
        self.report(where, f"{type(error).__name__}: {error}")
