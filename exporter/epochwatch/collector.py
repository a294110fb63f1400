"""Turns what the sources know into Prometheus families, at scrape time and not before.

A source is read at every scrape. What it yields before it fails is served; its failure shows as
`training_exporter_collector_up 0` for it alone and never touches another source's readings.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from prometheus_client.core import Metric as Family
from prometheus_client.samples import Sample
from prometheus_client.utils import floatToGoString

from . import catalogue as c


class Buckets(NamedTuple):
    """A histogram: the sum, and `counts` per bucket (not cumulative; the last is above the top bound)."""

    counts: Sequence[int]
    sum: float


class Reading(NamedTuple):
    """One series: the metric, the values of `metric.labels` in their order, and the value now."""

    metric: c.Metric
    labels: tuple[str, ...]
    value: float | Buckets


class Source(Protocol):
    """Something that can be read at a scrape; `name` is its `collector` label."""

    @property
    def name(self) -> str: ...

    def collect(self) -> Iterable[Reading]:
        """Gives the readings of now, quickly and without waiting for anything.

        Raises:
            Exception: Of any kind, if the source is down; readings yielded before are still served.
        """
        ...


@runtime_checkable
class SampledSource(Source, Protocol):
    """A source that reads on a thread of its own, so that its readings have an age."""

    def start(self) -> None: ...

    def close(self) -> None: ...

    def sampled_at(self) -> float | None:
        """Gives the Unix time of the last successful reading, in seconds; None before the first."""
        ...

    def sampling_seconds(self) -> float | None:
        """Gives how long the last reading took; None before the first."""
        ...


class Collector:
    """A prometheus_client collector over `sources`, all series of which carry `constant_labels`."""

    def __init__(
        self,
        constant_labels: Mapping[str, str],
        sources: Sequence[Source],
        *,
        on_error: Callable[[str, Exception], None],
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._constant_labels = dict(constant_labels)
        self._sources = tuple(sources)
        self._on_error = on_error
        self._now = now
        self._clock = clock
        self._last_success: dict[str, float] = {}

    def describe(self) -> Iterable[Family]:
        """Gives the names without readings, so that registering reads nothing."""
        return [new_family(metric) for metric in c.CATALOGUE]

    def collect(self) -> Iterable[Family]:
        """Gives the families of all sources, each family once, in the catalogue's order."""
        readings: list[Reading] = []
        for source in self._sources:
            readings += self._read(source)
        families: dict[str, Family] = {}
        for reading in readings:
            family = families.get(reading.metric.name)
            if family is None:
                family = families[reading.metric.name] = new_family(reading.metric)
            add_samples(family, reading, self._constant_labels)
        return [families[metric.name] for metric in c.CATALOGUE if metric.name in families]

    def _read(self, source: Source) -> list[Reading]:
        readings: list[Reading] = []
        started = self._clock()
        up = 1.0
        try:
            # Not extend(): what came before a failure is kept.
            for reading in source.collect():
                readings.append(reading)
            self._last_success[source.name] = self._now()
        except Exception as error:  # whatever a source does, the scrape goes on
            up = 0.0
            self._on_error(source.name, error)
        seconds: float | None = self._clock() - started
        read_at = self._last_success.get(source.name)
        if isinstance(source, SampledSource):
            seconds, read_at = source.sampling_seconds(), source.sampled_at()
        label = (source.name,)
        readings.append(Reading(c.EXPORTER_COLLECTOR_UP, label, up))
        if seconds is not None:
            readings.append(Reading(c.EXPORTER_COLLECT_SECONDS, label, seconds))
        if read_at is not None:
            readings.append(Reading(c.EXPORTER_LAST_COLLECT_TIMESTAMP_SECONDS, label, read_at))
        return readings


def new_family(metric: c.Metric) -> Family:
    """Takes a catalogue entry and gives its empty prometheus_client family."""
    name = metric.name.removesuffix("_total") if metric.kind == "counter" else metric.name
    unit = metric.unit if name.endswith(f"_{metric.unit}") else ""
    return Family(name, metric.help, metric.kind, unit)


def add_samples(family: Family, reading: Reading, constant_labels: Mapping[str, str]) -> None:
    """Adds the reading's samples (one, or a histogram's many) to its family."""
    metric, values, value = reading
    labels = {**constant_labels, **dict(zip(metric.labels, values, strict=True))}
    if isinstance(value, Buckets):
        cumulative = 0
        bounds = [*map(floatToGoString, c.STEP_BUCKETS_SECONDS), "+Inf"]
        for bound, count in zip(bounds, value.counts, strict=True):
            cumulative += count
            family.samples.append(Sample(f"{metric.name}_bucket", {**labels, "le": bound}, float(cumulative)))
        family.samples.append(Sample(f"{metric.name}_count", labels, float(cumulative)))
        family.samples.append(Sample(f"{metric.name}_sum", labels, value.sum))
    else:
        family.samples.append(Sample(metric.name, labels, value))
