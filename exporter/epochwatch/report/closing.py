"""What the history adds to the message of a run's end: verdict, comparison, curve, where the report is; pure."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote

from epochwatch.phrases import Closing, Words, metric_value, metric_words

from . import wording
from .account import Account
from .record import Head, Record
from .sparkline import sparkline

REPORTS = "reports"


def closing(account: Account, directory: Path, linked: bool) -> Closing:
    """Takes a run with its comparisons and gives what its last message says besides.

    Args:
        directory: The history, as the user named it: no more of the machine than that is told.
        linked: Whether the message links the report, and need not say where it lies.
    """
    lines = [wording.sentence(against.judged, against.called) for against in account.against]
    for against in account.against[:1]:
        lines += wording.caveats(against.judged)
    lines += account.notes
    curve = curve_line(account.record)
    if curve is not None:
        lines.append(curve)
    if not linked:
        path = directory / REPORTS / file_name(account.record.head)
        lines.append(Words(f"report: {path}", f"训练报告：{path}"))
    return Closing(verdict(account), tuple(lines))


def verdict(account: Account) -> Words | None:
    """Gives the verdict of the comparison that decides; None without one."""
    for against in account.against[:1]:
        said = wording.VERDICTS[against.judged.verdict]
        return Words(f"{said.en} {against.called.en}", f"{said.zh}{against.called.zh}")
    return None


def curve_line(record: Record) -> Words | None:
    """Gives the curve of what the run monitored as bars, from its first to its last value."""
    curve = record.curve(record.head.monitor)
    if curve is None or len(curve.points) < 2:
        return None
    values = [point.value for point in curve.points]
    first, last = (metric_value(curve.metric, value) for value in (values[0], values[-1]))
    name = metric_words(curve.metric, curve.phase).by(str.strip)
    return name.by(lambda called: f"{called} {sparkline(values)} {first} → {last}")


def link_to(report_url: str | None, name: str, run_id: str) -> str:
    """Gives the address of a run's report; empty if reports are served nowhere."""
    return "" if report_url is None else f"{report_url}/{quote(report_name(name, run_id))}"


def file_name(head: Head) -> str:
    """Gives the name of a run's report."""
    return report_name(head.name, head.run_id)


def report_name(name: str, run_id: str) -> str:
    """Gives the name of the report of a run: readable, and the run's alone."""
    readable = re.sub(r"[^\w.-]+", "-", name).strip(".-")[:60]
    return f"{readable}-{run_id}.html" if readable else f"{run_id}.html"
