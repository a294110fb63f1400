"""From readings to the exposition, to the byte."""

import time
from collections.abc import Iterable

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from epochwatch import catalogue as c
from epochwatch.collector import Buckets, Collector, Reading, SampledSource


class Source:
    """A source of given readings that fails after them, if told."""

    def __init__(self, name: str, readings: Iterable[Reading], error: Exception | None = None) -> None:
        self.name = name
        self._readings = readings
        self._error = error

    def collect(self) -> Iterable[Reading]:
        yield from self._readings
        if self._error is not None:
            raise self._error


class Sampled(Source):
    """A source that read its devices at 50 and took 0.25 s."""

    def start(self) -> None: ...

    def close(self) -> None: ...

    def sampled_at(self) -> float | None:
        return 50.0

    def sampling_seconds(self) -> float | None:
        return 0.25


def exposed(*sources: Source, errors: list[tuple[str, str]] | None = None) -> str:
    registry = CollectorRegistry()
    seen = errors if errors is not None else []
    registry.register(
        Collector(
            {"run": "digits", "rank": "0"},
            sources,
            on_error=lambda where, error: seen.append((where, str(error))),
            now=lambda: 100.0,
            clock=lambda: 7.0,
        )
    )
    return generate_latest(registry).decode()


OWN = """\
# HELP training_exporter_collector_up 1 if this source of readings works, 0 if it fails.
# TYPE training_exporter_collector_up gauge
training_exporter_collector_up{collector="loop",rank="0",run="digits"} 1.0
# HELP training_exporter_collect_seconds Time the last reading of this source took.
# TYPE training_exporter_collect_seconds gauge
training_exporter_collect_seconds{collector="loop",rank="0",run="digits"} 0.0
# HELP training_exporter_last_collect_timestamp_seconds When this source was last read with success.
# TYPE training_exporter_last_collect_timestamp_seconds gauge
training_exporter_last_collect_timestamp_seconds{collector="loop",rank="0",run="digits"} 100.0
"""


def test_readings_become_families_to_the_byte() -> None:
    """Gauges, counters and their labels come out in Prometheus' text format, in the catalogue's order."""
    text = exposed(
        Source(
            "loop",
            [
                Reading(c.NONFINITE_TOTAL, ("loss",), 2.0),
                Reading(c.LOSS, ("train",), float("nan")),
                Reading(c.LOSS, ('val\n"x"\\',), -1.5),
                Reading(c.STEPS_TOTAL, (), 3.0),
            ],
        )
    )
    expected = (
        """\
# HELP training_steps_total Optimizer steps of this process.
# TYPE training_steps_total counter
training_steps_total{rank="0",run="digits"} 3.0
# HELP training_loss Mean loss since the last report of the phase; NaN and infinities are shown as they are.
# TYPE training_loss gauge
training_loss{phase="train",rank="0",run="digits"} NaN
training_loss{phase="val\\n\\"x\\"\\\\",rank="0",run="digits"} -1.5
# HELP training_nonfinite_total NaN and infinite values seen.
# TYPE training_nonfinite_total counter
training_nonfinite_total{kind="loss",rank="0",run="digits"} 2.0
"""
        + OWN
    )
    assert text == expected


def test_a_histogram_is_cumulative() -> None:
    """Counts per bucket come out as Prometheus wants them: summed up, with +Inf, count and sum."""
    counts = [0] * 15
    counts[0], counts[2], counts[14] = 4, 1, 2
    text = exposed(Source("loop", [Reading(c.STEP_DURATION_SECONDS, (), Buckets(counts, 3000.5))]))
    lines = [line.replace('rank="0",run="digits"', "") for line in text.splitlines() if "duration" in line]
    assert lines[2:6] == [
        'training_step_duration_seconds_bucket{le="0.001",} 4.0',
        'training_step_duration_seconds_bucket{le="0.003",} 4.0',
        'training_step_duration_seconds_bucket{le="0.01",} 5.0',
        'training_step_duration_seconds_bucket{le="0.03",} 5.0',
    ]
    assert lines[-4:] == [
        'training_step_duration_seconds_bucket{le="1000.0",} 5.0',
        'training_step_duration_seconds_bucket{le="+Inf",} 7.0',
        "training_step_duration_seconds_count{} 7.0",
        "training_step_duration_seconds_sum{} 3000.5",
    ]


def test_a_failing_source_darkens_itself_only() -> None:
    """What it gave before it failed is served, its up is 0, the others' is 1, and the failure is told."""
    errors: list[tuple[str, str]] = []
    text = exposed(
        Source("nvml", [Reading(c.GPU_TEMPERATURE_CELSIUS, ("0",), 61.0)], RuntimeError("driver lost")),
        Source("loop", [Reading(c.STEPS_TOTAL, (), 3.0)]),
        errors=errors,
    )
    assert 'training_gpu_temperature_celsius{gpu="0",rank="0",run="digits"} 61.0' in text
    assert 'training_steps_total{rank="0",run="digits"} 3.0' in text
    assert 'training_exporter_collector_up{collector="nvml",rank="0",run="digits"} 0.0' in text
    assert 'training_exporter_collector_up{collector="loop",rank="0",run="digits"} 1.0' in text
    assert 'training_exporter_last_collect_timestamp_seconds{collector="nvml"' not in text
    assert errors == [("nvml", "driver lost")]


def test_a_sampled_source_shows_the_age_of_its_readings() -> None:
    """Its time-stamp and duration are those of its own thread's reading, not of the scrape."""
    source = Sampled("nvml", [])
    assert isinstance(source, SampledSource)
    text = exposed(source)
    assert (
        'training_exporter_last_collect_timestamp_seconds{collector="nvml",rank="0",run="digits"} 50.0'
        in text
    )
    assert 'training_exporter_collect_seconds{collector="nvml",rank="0",run="digits"} 0.25' in text


def test_registering_reads_nothing() -> None:
    """The registry learns the names without a source being asked."""

    def never() -> Iterable[Reading]:
        raise AssertionError("read")
        yield

    class Untouched(Source):
        def collect(self) -> Iterable[Reading]:
            return never()

    registry = CollectorRegistry()
    registry.register(Collector({"run": "a"}, [Untouched("loop", [])], on_error=lambda where, error: None))
    assert "training_steps_total" in registry._names_to_collectors


@pytest.mark.parametrize("metric", c.CATALOGUE, ids=lambda metric: metric.name)
def test_the_catalogue_keeps_the_rules_of_naming(metric: c.Metric) -> None:
    """Names carry the prefix, counters and only they end in _total, and the unit is in the name."""
    assert metric.name.startswith("training_")
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    if metric.unit:
        assert f"_{metric.unit}" in metric.name
    assert metric.help.endswith(".")
    assert {name for name, _ in metric.values} <= set(metric.labels)
    assert not {"run", "rank"} & set(metric.labels)


def test_no_name_is_there_twice() -> None:
    """Every family has one entry."""
    names = [metric.name for metric in c.CATALOGUE]
    assert len(names) == len(set(names)) > 50


def test_a_scrape_of_a_normal_run_is_quick() -> None:
    """A hundred series are built and written in a few milliseconds."""
    readings = [Reading(c.METRIC, (f"m{index}", "train"), 1.0) for index in range(100)]
    exposed(Source("loop", readings))
    began = time.thread_time()
    exposed(Source("loop", readings))
    assert time.thread_time() - began < 0.05
