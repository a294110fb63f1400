"""What the commands print: the list of runs, a comparison, each as a table for people or as JSON for programs; pure."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from epochwatch.phrases import Words, duration, metric_value

from . import wording
from .comparison import Comparison, Value
from .record import Head, Record
from .table import table

RUNS_HEADING = ("RUN ID", "NAME", "STATE", "STARTED", "TOOK", "EPOCHS", "BEST", "BASELINE")


def runs_table(records: Sequence[Record], baselines: Mapping[str, str], now: float) -> str:
    """Takes runs, newest first, and gives a line for each."""
    names: dict[str, list[str]] = {}
    for name, run_id in baselines.items():
        names.setdefault(run_id, []).append(name)
    return table(
        RUNS_HEADING,
        [
            (
                record.head.run_id,
                record.head.name,
                record.head.state_at(now),
                moment(record.head.started_at),
                duration(record.head.seconds).en,
                epochs(record.head),
                best(record),
                ", ".join(names.get(record.head.run_id, [])),
            )
            for record in records
        ],
    )


def runs_json(records: Sequence[Record], baselines: Mapping[str, str], now: float) -> str:
    """Takes runs, newest first, and gives them as one JSON list; times in seconds since the epoch."""
    return json.dumps(
        [
            {
                "run_id": record.head.run_id,
                "name": record.head.name,
                "state": record.head.state_at(now),
                "started_at": record.head.started_at,
                "ended_at": record.head.ended_at,
                "seconds": record.head.seconds,
                "epochs": record.head.epochs,
                "monitor": record.head.monitor,
                "mode": record.head.mode,
                "best": _best_value(record),
                "baselines": [name for name, run_id in baselines.items() if run_id == record.head.run_id],
                "git_commit": record.facts.git_commit,
                "checkpoint": record.facts.checkpoint,
            }
            for record in records
        ],
        ensure_ascii=False,
        indent=1,
    )


def comparison_text(
    reference: Head, candidate: Head, judged: Comparison, others: Sequence[Comparison]
) -> str:
    """Takes two runs and their comparisons, gives a table, the verdict and what it goes by."""
    rows = [
        (
            one.metric,
            wording.shown(one, one.reference.value),
            wording.shown(one, one.candidate.value),
            wording.difference(one),
            f"{wording.MARKS[one.verdict]} {one.verdict}",
        )
        for one in (judged, *(other for other in others if other.metric != judged.metric))
    ]
    called = Words.same(f"{reference.name} ({reference.run_id})")
    lines = [
        table(
            (f"BY {judged.at.upper()} VALUE", f"A {reference.name}", f"B {candidate.name}", "B - A", "B IS"),
            rows,
        ),
        "",
        f"{candidate.name} ({candidate.run_id}) is {wording.VERDICTS[judged.verdict].en} {called.en}",
        f"by {wording.rule(judged).en}",
        *(f"note: {line.en}" for line in wording.caveats(judged)),
        *(
            f"note: {one.name} ({one.run_id}) is {one.state}"
            for one in (reference, candidate)
            if one.state != "finished"
        ),
    ]
    return "\n".join(lines)


def comparison_json(
    reference: Head, candidate: Head, judged: Comparison, others: Sequence[Comparison]
) -> str:
    """Takes the same and gives it as JSON; a value that is not finite is null."""
    return json.dumps(
        {
            "a": {"run_id": reference.run_id, "name": reference.name, "state": reference.state},
            "b": {"run_id": candidate.run_id, "name": candidate.name, "state": candidate.state},
            "verdict": judged.verdict,
            "not_worse": judged.verdict != "worse",
            **_comparison(judged),
            "notes": [line.en for line in wording.caveats(judged)],
            "others": [
                {"verdict": one.verdict, **_comparison(one)} for one in others if one.metric != judged.metric
            ],
        },
        ensure_ascii=False,
        indent=1,
    )


def moment(seconds: float) -> str:
    """Gives a time of day as this machine's clock shows it."""
    return f"{datetime.fromtimestamp(seconds).astimezone():%Y-%m-%d %H:%M}"


def epochs(head: Head) -> str:
    """Gives the epochs done, of how many; the steps where there are none."""
    if not head.epochs and head.planned_epochs is None:
        return f"{head.steps} steps"
    return str(head.epochs) if head.planned_epochs is None else f"{head.epochs}/{head.planned_epochs}"


def best(record: Record) -> str:
    """Gives the best of the value that the run monitored, and what it is called."""
    value = _best_value(record)
    metric = record.head.monitor
    return "" if value is None else f"{metric} {metric_value(metric.partition('/')[2], value)}"


def _best_value(record: Record) -> float | None:
    curve = record.curve(record.head.monitor)
    found = None if curve is None else curve.best(record.head.mode)
    return None if found is None else found.value


def _comparison(one: Comparison) -> dict[str, Any]:
    return {
        "metric": one.metric,
        "mode": one.mode,
        "at": one.at,
        "threshold": str(one.tolerance),
        "a_value": _value(one.reference),
        "b_value": _value(one.candidate),
        "gain": one.gain if math.isfinite(one.gain) else None,
    }


def _value(value: Value) -> dict[str, Any]:
    return {"value": value.value if math.isfinite(value.value) else None, "epoch": value.epoch}
