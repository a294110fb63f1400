"""Which alerts fired for a run, asked of Prometheus with one bounded query.

Source: https://prometheus.io/docs/prometheus/latest/querying/api/#range-queries
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

import requests

from epochwatch.errors import HistoryError
from epochwatch.phrases import duration

from .record import Head, Raised

SOURCE = "prometheus"
TIMEOUT_SECONDS = 5.0
SAMPLES_LIMIT = 1000  # a series; Prometheus itself refuses more than 11,000
SHORTEST_STEP_SECONDS = 15.0
EVALUATION_SECONDS = 60.0  # Prometheus' own default between two looks at its rules
ANSWER_LIMIT_BYTES = 4 * 1024 * 1024
CHUNK_BYTES = 64 * 1024


def fired(prometheus_url: str, run: Head) -> list[Raised]:
    """Takes a run and gives the alerts that fired for its name while it ran, each kind once.

    Raises:
        HistoryError: Prometheus does not say.
    """
    end = run.seen_at if run.ended_at is None else run.ended_at
    step = max(SHORTEST_STEP_SECONDS, (end - run.started_at) / SAMPLES_LIMIT)
    # Over the whole step: a long run's steps are longer than many an alert. From one window on: not what was before.
    window = max(step, EVALUATION_SECONDS)
    start = run.started_at + window
    matchers = f'run={json.dumps(run.name, ensure_ascii=False)},alertstate="firing"'
    query = {
        "query": f"max_over_time(ALERTS{{{matchers}}}[{window:.0f}s])",
        "start": f"{start:.3f}",
        "end": f"{max(start, end):.3f}",
        "step": f"{step:.3f}",
        "timeout": f"{TIMEOUT_SECONDS:g}s",
    }
    try:
        answer = json.loads(_fetch(f"{prometheus_url.rstrip('/')}/api/v1/query_range", query))
        return summed_up(answer["data"]["result"], step)
    except (OSError, ValueError, KeyError, TypeError) as error:
        # The text of the exception may hold the address with its password.
        raise HistoryError(f"Prometheus does not say which alerts fired ({type(error).__name__})") from None


def summed_up(series: Sequence[Mapping[str, Any]], step_seconds: float) -> list[Raised]:
    """Takes the series of a range query over ALERTS and gives each kind of alert once: when first, and how long."""
    kinds: dict[tuple[str, str], set[float]] = {}
    for one in series:
        labels = one["metric"]
        kind = (str(labels.get("alertname", "")), str(labels.get("severity", "")))
        kinds.setdefault(kind, set()).update(float(at) for at, _ in one["values"])
    found = []
    for (name, severity), times in kinds.items():
        lasted = duration(len(times) * step_seconds)
        said = f"for about {lasted.en}", f"共持续约 {lasted.zh}"
        found.append(Raised(min(times), name, severity, *said, source=SOURCE))
    return sorted(found, key=lambda raised: raised.at)


def _fetch(address: str, query: Mapping[str, str]) -> bytes:
    give_up, body = time.monotonic() + 2 * TIMEOUT_SECONDS, bytearray()
    with requests.post(
        address, data=query, timeout=TIMEOUT_SECONDS, stream=True, allow_redirects=False
    ) as response:
        if response.status_code != requests.codes.ok:
            raise ValueError(f"HTTP {response.status_code}")
        for chunk in response.iter_content(CHUNK_BYTES):
            body += chunk
            if len(body) > ANSWER_LIMIT_BYTES or time.monotonic() > give_up:
                raise ValueError("the answer is too large or too slow")
    return bytes(body)
