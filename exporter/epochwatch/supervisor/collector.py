"""Turns what is known of jobs into Prometheus families, at scrape time and not before."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from prometheus_client.core import Metric as Family

from ..catalogue import Metric
from ..collector import Reading, add_samples, new_family
from . import catalogue as c
from .jobbook import JobBook, Usage


class JobCollector:
    """A prometheus_client collector over the books of one supervisor's jobs."""

    def __init__(self, books: Sequence[JobBook], *, on_error: Callable[[str, Exception], None]) -> None:
        self._books = books
        self._on_error = on_error

    def describe(self) -> Iterable[Family]:
        """Gives the names without readings, so that registering reads nothing."""
        return [new_family(metric) for metric in c.JOB_CATALOGUE]

    def collect(self) -> Iterable[Family]:
        """Gives the families of all jobs, each family once, in the catalogue's order."""
        families = {metric.name: new_family(metric) for metric in c.JOB_CATALOGUE}
        for book in self._books:
            for reading in readings(book, self._used(book)):
                add_samples(families[reading.metric.name], reading, {})
        return [family for family in families.values() if family.samples]

    def _used(self, book: JobBook) -> Usage | None:
        try:
            return book.used()
        except Exception as error:  # /proc has its days; the scrape goes on
            self._on_error("job_usage", error)
            return None


def readings(book: JobBook, used: Usage | None) -> Iterator[Reading]:
    """Takes a job's book and what it uses, gives the job's series; the unknown is left out."""
    spec, job = book.spec, (book.spec.name,)
    yield Reading(c.INFO, (*job, spec.schedule or "", spec.timezone or ""), 1.0)
    for state in c.STATES:
        yield Reading(c.STATE, (*job, state), float(state == book.state))
    for metric, value in (
        (c.LAST_START_TIMESTAMP_SECONDS, book.last_start_at),
        (c.LAST_END_TIMESTAMP_SECONDS, book.last_end_at),
        (c.LAST_SUCCESS_TIMESTAMP_SECONDS, book.last_success_at),
        (c.NEXT_START_TIMESTAMP_SECONDS, book.next_start_at),
        (c.START_GRACE_SECONDS, None if spec.schedule is None else spec.grace_seconds),
        (c.LAST_EXIT_CODE, book.last_exit_code),
        (c.LAST_DURATION_SECONDS, book.last_duration_seconds),
        (c.CPU_SECONDS_TOTAL, None if used is None else used.cpu_seconds),
        (c.RESIDENT_MEMORY_BYTES, None if used is None else used.resident_bytes),
    ):
        yield from _single(metric, value, job)
    for outcome in c.ENDINGS if book.last_outcome else ():
        yield Reading(c.LAST_OUTCOME, (*job, outcome), float(outcome == book.last_outcome))
    for outcome in c.OUTCOMES:
        yield Reading(c.RUNS_TOTAL, (*job, outcome), float(book.runs[outcome]))
    for pattern in c.PATTERNS:
        yield Reading(c.LOG_MATCHES_TOTAL, (*job, pattern), float(book.matches[pattern]))


def _single(metric: Metric, value: float | None, labels: tuple[str, ...]) -> Iterator[Reading]:
    if value is not None:
        yield Reading(metric, labels, float(value))
