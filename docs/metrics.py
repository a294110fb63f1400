"""Writes docs/metrics.md from the catalogue: `python docs/metrics.py`."""

from __future__ import annotations

from pathlib import Path

from epochwatch.catalogue import CATALOGUE, STEP_BUCKETS_SECONDS, Metric
from epochwatch.supervisor.catalogue import JOB_CATALOGUE

PAGE = Path(__file__).with_name("metrics.md")
HEAD = """\
# Metrics of the training side

Made from `exporter/epochwatch/catalogue.py` and `exporter/epochwatch/supervisor/catalogue.py` by
`python docs/metrics.py`; a test compares the two.

Every series carries `run` (the stable name of the run), `rank`, and the labels given to `start(labels=...)`. What is
not known is absent. Counters whose label values are known beforehand start at 0. Labels in braces list their values
where these are fixed.

| name | type | labels | meaning |
|---|---|---|---|
"""
JOBS = """
## Jobs

What `epochwatch run` and a scheduler say of the jobs they supervise, on an endpoint of their own (port 9401). These
carry `job_name` and neither `run` nor `rank`.

| name | type | labels | meaning |
|---|---|---|---|
"""


def row(metric: Metric) -> str:
    """Takes a metric and gives its line of the table."""
    fixed = dict(metric.values)
    labels = ", ".join(
        f"{label} = {{{', '.join(fixed[label])}}}" if label in fixed else label for label in metric.labels
    )
    return f"| `{metric.name}` | {metric.kind} | {labels} | {metric.help} |\n"


def page() -> str:
    """Gives the whole page."""
    buckets = ", ".join(f"{bound:g}" for bound in STEP_BUCKETS_SECONDS)
    tail = f"\nBuckets of `training_step_duration_seconds`, in seconds: {buckets}.\n"
    return HEAD + "".join(map(row, CATALOGUE)) + tail + JOBS + "".join(map(row, JOB_CATALOGUE))


if __name__ == "__main__":
    PAGE.write_text(page())
