"""The history of runs in one directory: put by the process that trains, read by commands and reports."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from epochwatch.errors import HistoryError

from .database import BUSY_SECONDS, Database
from .record import Curve, CurveKey, Extreme, Facts, GpuUse, Head, Point, Raised, Record
from .thinning import GrowingCurve

RUNS_LIMIT = 1000
RAISED_LIMIT = 200
_HEAD = "run_id, name, state, started_at, seen_at, ended_at, epochs, planned_epochs, steps, monitor, mode"


class History:
    """Keeps and gives runs.

    Args:
        directory: Where the history lies, as the user named it.
    """

    def __init__(self, directory: Path, busy_seconds: float = BUSY_SECONDS) -> None:
        self.directory = directory
        self._database = Database(directory, busy_seconds)

    def put(
        self, head: Head, facts: Facts, curves: Iterable[GrowingCurve] = (), raised: Iterable[Raised] = ()
    ) -> None:
        """Takes how a run stands, what its curves have that is not kept yet, and what was raised since.

        Raises:
            HistoryError: It cannot be kept now; nothing of it is, and the same can be put again.
        """
        with self._database.write() as connection:
            _put_run(connection, head, facts)
            added = [(curve, _put_curve(connection, head.run_id, curve)) for curve in curves]
            _put_raised(connection, head.run_id, raised)
        for curve, count in added:
            curve.saved(count)

    def conclude(self, run_id: str, state: str, at: float, failure: str) -> bool:
        """Takes how a run ended that can no longer say so itself; tells whether it was still open.

        Raises:
            HistoryError: It cannot be kept now.
        """
        if not self._database.path.is_file():
            return False
        with self._database.write() as connection:
            row = connection.execute(
                "SELECT facts FROM runs WHERE run_id = ? AND ended_at IS NULL", (run_id,)
            ).fetchone()
            if row is None:
                return False
            facts = json.dumps(asdict(replace(_facts(*row), failure=failure)), ensure_ascii=False)
            connection.execute(
                "UPDATE runs SET state = ?, ended_at = ?, facts = ? WHERE run_id = ?",
                (state, at, facts, run_id),
            )
            return True

    def has_ended(self, run_id: str) -> bool:
        """Tells whether a run is there and has ended.

        Raises:
            HistoryError: The history cannot be read.
        """
        if not self._database.path.is_file():
            return False
        with self._database.read() as connection:
            wanted = "SELECT 1 FROM runs WHERE run_id = ? AND ended_at IS NOT NULL"
            return connection.execute(wanted, (run_id,)).fetchone() is not None

    def add_raised(self, run_id: str, raised: Iterable[Raised], source: str) -> None:
        """Takes what a source knows was raised during a run, instead of what it knew before.

        Raises:
            HistoryError: It cannot be kept now.
        """
        with self._database.write() as connection:
            connection.execute("DELETE FROM raised WHERE run_id = ? AND source = ?", (run_id, source))
            _put_raised(connection, run_id, raised)

    def heads(self) -> list[Head]:
        """Gives all runs, newest first.

        Raises:
            HistoryError: The history cannot be read.
        """
        with self._database.read() as connection:
            rows = connection.execute(f"SELECT {_HEAD} FROM runs ORDER BY started_at DESC, rowid DESC")  # noqa: S608
            return [_head(row) for row in rows]

    def record(self, run_id: str) -> Record:
        """Gives all that is kept of a run.

        Raises:
            HistoryError: It is not there (any more), or the history cannot be read.
        """
        with self._database.read() as connection:
            row = connection.execute(
                f"SELECT {_HEAD}, facts FROM runs WHERE run_id = ?",  # noqa: S608
                (run_id,),
            ).fetchone()
            if row is None:
                raise HistoryError(f"run {run_id} is not in the history {self.directory} any more")
            return Record(
                _head(row[:-1]), _facts(row[-1]), _curves(connection, run_id), _raised(connection, run_id)
            )

    def baselines(self) -> dict[str, str]:
        """Gives the run that each baseline names.

        Raises:
            HistoryError: The history cannot be read.
        """
        with self._database.read() as connection:
            return dict(connection.execute("SELECT name, run_id FROM baselines ORDER BY name").fetchall())

    def set_baseline(self, name: str, run_id: str, now: float) -> None:
        """Takes that a baseline is that run from now on.

        Raises:
            HistoryError: It cannot be kept now.
        """
        with self._database.write() as connection:
            connection.execute("INSERT OR REPLACE INTO baselines VALUES (?, ?, ?)", (name, run_id, now))

    def remove_baseline(self, name: str) -> None:
        """Takes that there is no such baseline any more; its run stays.

        Raises:
            HistoryError: It cannot be kept now.
        """
        with self._database.write() as connection:
            connection.execute("DELETE FROM baselines WHERE name = ?", (name,))

    def forget_old(self, keep: int = RUNS_LIMIT) -> list[str]:
        """Forgets all but the newest `keep` runs; baselines stay. Gives the ids of those forgotten.

        Raises:
            HistoryError: It cannot be changed now.
        """
        with self._database.write() as connection:
            old = connection.execute(
                "SELECT run_id FROM runs WHERE run_id NOT IN (SELECT run_id FROM baselines) AND run_id NOT IN "
                "(SELECT run_id FROM runs ORDER BY started_at DESC LIMIT ?)",
                (keep,),
            ).fetchall()
            connection.executemany("DELETE FROM runs WHERE run_id = ?", old)
            return [run_id for (run_id,) in old]


def _put_run(connection: sqlite3.Connection, head: Head, facts: Facts) -> None:
    row: dict[str, Any] = {**asdict(head), "facts": json.dumps(asdict(facts), ensure_ascii=False)}
    names = list(row)
    changed = ", ".join(f"{name} = excluded.{name}" for name in names if name != "run_id")
    connection.execute(
        f"INSERT INTO runs ({', '.join(names)}) VALUES ({', '.join(':' + name for name in names)}) "  # noqa: S608
        f"ON CONFLICT (run_id) DO UPDATE SET {changed}",
        row,
    )


def _put_curve(connection: sqlite3.Connection, run_id: str, growing: GrowingCurve) -> int:
    """Gives how many points were added."""
    curve = growing.so_far()
    from_scratch, points = growing.unsaved
    if curve is None or not points:
        return 0
    key = (run_id, curve.phase, curve.metric)
    if from_scratch:
        connection.execute("DELETE FROM points WHERE run_id = ? AND phase = ? AND metric = ?", key)
    connection.execute(
        "INSERT INTO curves VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (run_id, phase, metric) DO UPDATE SET "
        "final = excluded.final, lowest = excluded.lowest, lowest_epoch = excluded.lowest_epoch, "
        "highest = excluded.highest, highest_epoch = excluded.highest_epoch",
        (*key, curve.final, *(curve.lowest or (None, None)), *(curve.highest or (None, None))),
    )
    connection.executemany(
        "INSERT INTO points VALUES (?, ?, ?, ?, ?, ?)", [(*key, *point) for point in points]
    )
    return len(points)


def _put_raised(connection: sqlite3.Connection, run_id: str, raised: Iterable[Raised]) -> None:
    connection.executemany(
        "INSERT INTO raised VALUES (?, ?, ?, ?, ?, ?, ?)",
        [(run_id, one.at, one.name, one.severity, one.said_en, one.said_zh, one.source) for one in raised],
    )
    # The newest are kept: how a run ended says more than how it began.
    connection.execute(
        "DELETE FROM raised WHERE run_id = ? AND rowid NOT IN "
        "(SELECT rowid FROM raised WHERE run_id = ? ORDER BY at DESC LIMIT ?)",
        (run_id, run_id, RAISED_LIMIT),
    )


def _head(row: Sequence[Any]) -> Head:
    return Head(*row)


def _facts(document: str) -> Facts:
    try:
        known: Mapping[str, Any] = json.loads(document)
        gpus = tuple(GpuUse(**gpu) for gpu in known.get("gpus", ()))
        return Facts(**{**known, "gpus": gpus})
    except (ValueError, TypeError, AttributeError) as error:
        raise HistoryError(f"what the history holds of a run cannot be read ({error})") from error


def _curves(connection: sqlite3.Connection, run_id: str) -> dict[CurveKey, Curve]:
    points: dict[CurveKey, list[Point]] = {}
    for phase, metric, step, epoch, value in connection.execute(
        "SELECT phase, metric, step, epoch, value FROM points WHERE run_id = ? ORDER BY rowid", (run_id,)
    ):
        points.setdefault((phase, metric), []).append(Point(step, epoch, _number(value)))
    rows = connection.execute(
        "SELECT phase, metric, final, lowest, lowest_epoch, highest, highest_epoch FROM curves "
        "WHERE run_id = ? ORDER BY rowid",
        (run_id,),
    )
    return {
        (phase, metric): Curve(
            phase,
            metric,
            tuple(points.get((phase, metric), ())),
            _number(final),
            _extreme(lowest, lowest_epoch),
            _extreme(highest, highest_epoch),
        )
        for phase, metric, final, lowest, lowest_epoch, highest, highest_epoch in rows
    }


def _raised(connection: sqlite3.Connection, run_id: str) -> tuple[Raised, ...]:
    rows = connection.execute(
        "SELECT at, name, severity, said_en, said_zh, source FROM raised WHERE run_id = ? ORDER BY at, rowid",
        (run_id,),
    )
    return tuple(Raised(*row) for row in rows)


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _extreme(value: float | None, epoch: int | None) -> Extreme | None:
    return None if value is None or epoch is None else Extreme(value, epoch)
