"""Where swallowed failures go: each is counted, and logged when another kind of failure was there before.

Nothing of epochwatch may raise into the loop, so this is what a user has instead of a traceback. A failure may come
with every step: whatever it is, its place has a bounded number of lines.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Callable

LOGGER = logging.getLogger("epochwatch")
NAME_LIMIT = 200
PLACES_LIMIT = 100
LINES_LIMIT = 10
LINES_SECONDS = 600.0


def is_name(text: object) -> bool:
    """Tells whether what the loop gave may become a label value: a short text of one line that UTF-8 can carry."""
    return isinstance(text, str) and 0 < len(text) <= NAME_LIMIT and text.isprintable()


class Troubles:
    """Counts failures by where they happened, for `training_exporter_errors_total`."""

    def __init__(self, logger: logging.Logger = LOGGER, clock: Callable[[], float] = time.monotonic) -> None:
        self.counts: Counter[str] = Counter()
        self._logger = logger
        self._clock = clock
        self._last_kind: dict[str, str] = {}
        self._lines_at: dict[str, deque[float]] = {}

    def report(self, where: str, text: str, kind: str | None = None) -> None:
        """Counts one failure at `where`; logs `text` unless the last one logged there was of the same kind.

        A place may be the name of a user's metric: beyond 100 places, and for odd names, it is "other". It has 10
        lines in 10 minutes at most, so that failures which take turns do not fill the log.

        Args:
            kind: What makes it the same failure, where the text shows a value that differs each time; the text
                itself if left out.
        """
        if where not in self.counts and (len(self.counts) >= PLACES_LIMIT or not is_name(where)):
            where = "other"
        self.counts[where] += 1
        kind = text if kind is None else kind
        if self._last_kind.get(where) != kind and self._has_a_line(where):
            self._last_kind[where] = kind
            self._logger.warning("%s: %s", where, text)

    def report_exception(self, where: str, error: BaseException) -> None:
        """Counts a caught exception at `where`, told by its type and message."""
        self.report(where, f"{type(error).__name__}: {error}")

    def _has_a_line(self, where: str) -> bool:
        now, lines = self._clock(), self._lines_at.setdefault(where, deque(maxlen=LINES_LIMIT))
        if len(lines) == LINES_LIMIT and now - lines[0] < LINES_SECONDS:
            return False
        lines.append(now)
        return True
