"""The history's schema, step by step. A step that was released is never changed; a change is a new step.

The number of steps taken stands in the file's `user_version`, and `application_id` says that the file is ours
(https://www.sqlite.org/pragma.html).
"""

from __future__ import annotations

import sqlite3

from epochwatch.errors import HistoryError

APPLICATION_ID = 0x65707768  # "epwh"

FIRST = (
    """CREATE TABLE runs (
        run_id TEXT NOT NULL PRIMARY KEY, name TEXT NOT NULL, state TEXT NOT NULL, started_at REAL NOT NULL,
        seen_at REAL NOT NULL, ended_at REAL, epochs INTEGER NOT NULL, planned_epochs INTEGER,
        steps INTEGER NOT NULL, monitor TEXT NOT NULL, mode TEXT NOT NULL, facts TEXT NOT NULL)""",
    "CREATE INDEX runs_by_name ON runs (name, started_at)",
    # A NaN cannot be stored: SQLite makes NULL of it, and NULL is read as NaN.
    """CREATE TABLE curves (
        run_id TEXT NOT NULL REFERENCES runs ON DELETE CASCADE, phase TEXT NOT NULL, metric TEXT NOT NULL,
        final REAL, lowest REAL, lowest_epoch INTEGER, highest REAL, highest_epoch INTEGER,
        PRIMARY KEY (run_id, phase, metric))""",
    """CREATE TABLE points (
        run_id TEXT NOT NULL, phase TEXT NOT NULL, metric TEXT NOT NULL, step INTEGER NOT NULL,
        epoch INTEGER NOT NULL, value REAL,
        FOREIGN KEY (run_id, phase, metric) REFERENCES curves ON DELETE CASCADE)""",
    "CREATE INDEX points_by_curve ON points (run_id, phase, metric)",
    """CREATE TABLE raised (
        run_id TEXT NOT NULL REFERENCES runs ON DELETE CASCADE, at REAL NOT NULL, name TEXT NOT NULL,
        severity TEXT NOT NULL, said_en TEXT NOT NULL, said_zh TEXT NOT NULL, source TEXT NOT NULL)""",
    "CREATE INDEX raised_by_run ON raised (run_id, at)",
    """CREATE TABLE baselines (
        name TEXT NOT NULL PRIMARY KEY, run_id TEXT NOT NULL REFERENCES runs, set_at REAL NOT NULL)""",
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (FIRST,)
NEWEST = len(MIGRATIONS)


def version_of(connection: sqlite3.Connection, shown: str) -> int:
    """Takes an open file, as `shown` to the user, and gives the schema it has; 0 for an empty one.

    Raises:
        HistoryError: If it is somebody else's database, or a newer epochwatch wrote it.
    """
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    owner: int = connection.execute("PRAGMA application_id").fetchone()[0]
    has_tables: int = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if owner != APPLICATION_ID and (has_tables or version):
        raise HistoryError(f"{shown} is another program's database; name another directory")
    if version > NEWEST:
        raise HistoryError(
            f"the history {shown} has schema {version}, this epochwatch knows schemas up to {NEWEST}; "
            "update epochwatch, or name another directory"
        )
    return version


def migrate(connection: sqlite3.Connection, version: int) -> None:
    """Takes a connection in a write transaction and brings the schema from `version` up to date."""
    for statements in MIGRATIONS[version:]:
        for statement in statements:
            connection.execute(statement)
    if version < NEWEST:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {NEWEST}")
