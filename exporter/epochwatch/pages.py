"""What the endpoint answers: /metrics, and a page at / that leads there."""

from __future__ import annotations

import gzip
import html
import math
import time
from collections import deque
from collections.abc import Callable
from itertools import pairwise
from threading import Event

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from .connection import Request, Response
from .secret import Secret
from .trends import median
from .troubles import Troubles

# The fastest level: it shrinks the text to a tenth, and the CPU is the training's.
GZIP_LEVEL = 1


PLAIN = ("Content-Type", "text/plain; charset=utf-8")

# Someone who reads the page twice by hand is no scraper of a millisecond's interval.
SHORTEST_INTERVAL_SECONDS = 1.0
UNKNOWN_INTERVAL_SECONDS = 30.0


class Scrapes:
    """When /metrics was read, and by whom an end state is still to be seen."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._at: deque[float] = deque(maxlen=8)
        self._waiting_since = math.inf
        self._seen = Event()

    def begin(self) -> Callable[[], None]:
        """Takes that a scrape begins now; gives what to call when it is answered."""
        began = self._clock()
        self._at.append(began)
        return lambda: self._answered(began)

    def _answered(self, began: float) -> None:
        # One that began before the end state was set has not shown it.
        if began >= self._waiting_since:
            self._seen.set()

    def wait_for_next(self, longest_seconds: float) -> bool:
        """Waits until a scrape that begins after this call is answered, and tells whether one was."""
        seconds = self.longest_wait_seconds(longest_seconds)
        self._waiting_since = self._clock()
        return seconds > 0 and self._seen.wait(seconds)

    def longest_wait_seconds(self, longest_seconds: float) -> float:
        """Gives twice the usual interval, `longest_seconds` at most; while only one scrape is known, 30 s at most.

        Gives 0 if there never was a scrape, or if the last three are overdue.
        """
        at = list(self._at)
        if len(at) < 2:
            return min(longest_seconds, UNKNOWN_INTERVAL_SECONDS) if at else 0.0
        interval = max(median(later - earlier for earlier, later in pairwise(at)), SHORTEST_INTERVAL_SECONDS)
        if self._clock() - at[-1] > 3 * interval:
            return 0.0
        return min(longest_seconds, 2 * interval)


class Pages:
    """The handler of one run's server."""

    def __init__(
        self,
        run: str,
        registry: CollectorRegistry,
        scrapes: Scrapes,
        troubles: Troubles,
        token: Secret | None = None,
    ) -> None:
        self._run = run
        self._registry = registry
        self._scrapes = scrapes
        self._troubles = troubles
        self._token = token

    def __call__(self, request: Request) -> Response:
        """Takes any request and gives its answer; a failure of ours is an answer too."""
        if self._token is not None and not self._token.matches(bearer_token(request)):
            wanted = ("WWW-Authenticate", 'Bearer realm="epochwatch"')
            return Response(401, b"a bearer token is needed\n", (PLAIN, wanted))
        pages = {"/": self._index, "/metrics": self._metrics}
        page = pages.get(request.path)
        if page is None:
            return Response(404, b"not found; the metrics are at /metrics\n")
        if request.method not in ("GET", "HEAD"):
            return Response(405, b"only GET is allowed\n", (PLAIN, ("Allow", "GET, HEAD")))
        try:
            return page(request)
        except Exception as error:
            self._troubles.report_exception("scrape", error)
            return Response(500, b"the metrics could not be read; the training's log says why\n")

    def _metrics(self, request: Request) -> Response:
        answered = self._scrapes.begin()
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        body = encode(self._registry)
        headers = [("Content-Type", content_type), ("Vary", "Accept, Accept-Encoding")]
        if "gzip" in request.headers.get("accept-encoding", ""):
            body = gzip.compress(body, GZIP_LEVEL)
            headers.append(("Content-Encoding", "gzip"))
        return Response(200, body, tuple(headers), sent=answered)

    def _index(self, request: Request) -> Response:
        name = html.escape(self._run)
        page = (
            f'<!doctype html><meta charset="utf-8"><title>{name} - epochwatch</title>'
            f'<h1>{name}</h1><p><a href="/metrics">metrics</a></p>\n'
        )
        return Response(200, page.encode(), (("Content-Type", "text/html; charset=utf-8"),))


def bearer_token(request: Request) -> str:
    """Gives the token a request shows; empty if it shows none."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""
