"""The recent curve of a run's loss, as a line of small bars for a phone.

Asked of Prometheus by the sender just before a message is rendered. The message never waits for it longer
than `DEADLINE_SECONDS`, and never fails because of it: without an answer there is no curve.
"""

from __future__ import annotations

import json
import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import requests

from alertbridge.secret import mask
from alertbridge.webhook import Notification

logger = logging.getLogger(__name__)

DEADLINE_SECONDS = 2.0
# A day at 15 s between scrapes, eight ranks and two phases is 2.3 MB.
LARGEST_ANSWER_BYTES = 4 * 1024 * 1024
CHUNK_BYTES = 16 * 1024
WINDOW = "1d"
# Queries that hang beyond the deadline keep their thread until the socket gives up; no more than these.
MOST_AT_ONCE = 4

PHASES = ("validation", "train")
BARS = "▁▂▃▅▆▇"
GAP = "·"
WIDTH = 24
LOGARITHMIC_FROM = 4.0

Monotonic = Callable[[], float]


@dataclass(frozen=True)
class Curve:
    """The loss as it changed, oldest first: one value an epoch for `validation`. NaN and Inf are kept."""

    phase: str
    values: tuple[float, ...]

    @property
    def best(self) -> float | None:
        """Gives the lowest finite value."""
        return min((value for value in self.values if math.isfinite(value)), default=None)

    @property
    def shown(self) -> tuple[float, ...]:
        """Gives what the bars show: the last epochs; all of a loss that changes at every scrape."""
        return self.values[-WIDTH:] if self.phase == "validation" else self.values

    def bars(self) -> str:
        """Gives the curve as bars, at most `WIDTH` of them."""
        return sparkline(self.shown, WIDTH)


def sparkline(values: Sequence[float], width: int = WIDTH) -> str:
    """Takes values, gives one bar for each, or one for the mean of several if there are more than `width`.

    The lowest value is the lowest bar, on a logarithmic scale if the first epochs would dwarf the rest. Values
    that are not finite are gaps; equal values are in the middle.
    """
    points = [_mean(bucket) for bucket in _buckets(values, width)]
    finite = [point for point in points if point is not None]
    if not finite:
        return GAP * len(points)
    lowest, highest = min(finite), max(finite)
    scale = math.log if lowest > 0 and highest > LOGARITHMIC_FROM * lowest else float
    return "".join(
        GAP if point is None else _bar(scale(point), scale(lowest), scale(highest)) for point in points
    )


class CurveReader:
    """Asks Prometheus for the curve of a notification's run.

    Args:
        prometheus_url: where Prometheus answers, without /api.
        deadline_seconds: how long `read` takes at most.
        monotonic: the clock that the deadline is held against.
    """

    def __init__(
        self,
        prometheus_url: str,
        *,
        deadline_seconds: float = DEADLINE_SECONDS,
        monotonic: Monotonic = time.monotonic,
    ) -> None:
        self._address = prometheus_url.rstrip("/") + "/api/v1/query"
        self._deadline_seconds = deadline_seconds
        self._monotonic = monotonic
        self._trouble = ""
        self._free = threading.BoundedSemaphore(MOST_AT_ONCE)

    def read(self, notification: Notification) -> Curve | None:
        """Takes a notification, gives its run's curve, or None if there is none to be had in time.

        Only for something that fires for one run. Raises nothing.
        """
        query = curve_query(notification)
        if query is None or not self._free.acquire(blocking=False):
            return None
        answers: list[Curve | None] = []
        # Own thread: name resolution and a dripping answer know no time-out that `requests` could set.
        asking = threading.Thread(target=self._ask, args=(query, answers), name="curve", daemon=True)
        try:
            asking.start()
        except RuntimeError as error:  # the machine has no thread left
            self._note(str(error))
            self._free.release()
            return None
        asking.join(self._deadline_seconds)
        return answers[0] if answers else None

    def _ask(self, query: str, answers: list[Curve | None]) -> None:
        try:
            answers.append(parse_answer(self._fetch(query)))
            self._note("")
        except Exception as error:
            self._note(mask(f"{type(error).__name__}: {error}"))
        finally:
            self._free.release()

    def _note(self, trouble: str) -> None:
        if trouble and trouble != self._trouble:
            logger.warning("messages go out without a curve, Prometheus did not give one: %s", trouble)
        self._trouble = trouble

    def _fetch(self, query: str) -> bytes:
        give_up = self._monotonic() + self._deadline_seconds
        body = bytearray()
        with requests.post(
            self._address,
            data={"query": query, "timeout": str(self._deadline_seconds)},
            timeout=self._deadline_seconds,
            stream=True,
            allow_redirects=False,
        ) as response:
            if response.status_code != requests.codes.ok:
                raise ValueError(f"it answered with HTTP status {response.status_code}")
            for chunk in response.iter_content(CHUNK_BYTES):
                body += chunk
                if len(body) > LARGEST_ANSWER_BYTES or self._monotonic() > give_up:
                    raise ValueError("the answer is too large or too slow")
        return bytes(body)


def curve_query(notification: Notification) -> str | None:
    """Takes a notification, gives the PromQL for its run's loss, or None if no single run fires."""
    run = notification.common_labels.get("run")
    if not run or notification.status != "firing":
        return None
    labels = notification.common_labels
    matchers = [f"run={_quoted(run)}"]
    matchers.append(
        f'phase="{labels["phase"]}"' if labels.get("phase") in PHASES else 'phase=~"validation|train"'
    )
    if rank := labels.get("rank"):
        matchers.append(f"rank={_quoted(rank)}")
    # Raw samples, not a range query: its step would either skip short epochs or repeat long ones.
    return f"training_loss{{{','.join(matchers)}}}[{WINDOW}]"


def parse_answer(body: bytes) -> Curve | None:
    """Takes Prometheus' answer to `curve_query`, gives the curve, the validation loss if there is one.

    Source: https://prometheus.io/docs/prometheus/latest/querying/api/#range-vectors

    Raises:
        ValueError: it is not such an answer.
    """
    try:
        series = json.loads(body)["data"]["result"]
        for phase in PHASES:
            samples = _samples([one for one in series if one["metric"].get("phase") == phase])
            values = _changes(float(value) for _, value in samples)
            if len(values) > 1:
                return Curve(phase, values)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no answer of Prometheus: {error}") from None
    return None


def _samples(series: list[dict[str, Any]]) -> list[Sequence[Any]]:
    # Of the lowest rank that reports it, over all its processes: a restarted run has another instance label.
    rank = min((_rank(one) for one in series), default=None)
    samples = [sample for one in series if _rank(one) == rank for sample in one["values"]]
    return sorted(samples, key=lambda sample: float(sample[0]))


def _rank(series: dict[str, Any]) -> tuple[int, str]:
    rank = series["metric"].get("rank", "")
    return len(rank), rank


def _changes(values: Iterable[float]) -> tuple[float, ...]:
    # Scrapes repeat an epoch's value until the next one. By repr(), because NaN is not equal to itself.
    changed: list[float] = []
    for value in values:
        if not changed or repr(value) != repr(changed[-1]):
            changed.append(value)
    return tuple(changed)


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def _buckets(values: Sequence[float], width: int) -> list[Sequence[float]]:
    count = min(len(values), width)
    return [values[len(values) * i // count : len(values) * (i + 1) // count] for i in range(count)]


def _mean(values: Sequence[float]) -> float | None:
    # A gap inside a bucket is shown as one: a single NaN is what the reader must see.
    mean = sum(value / len(values) for value in values)
    return mean if math.isfinite(mean) else None


def _bar(value: float, lowest: float, highest: float) -> str:
    # Halved, because the difference of two large values may not be finite.
    span = highest / 2 - lowest / 2
    if span == 0:
        return BARS[len(BARS) // 2]
    return BARS[round((value / 2 - lowest / 2) / span * (len(BARS) - 1))]
