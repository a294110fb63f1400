"""Inserts that know what to do about rows that are there already. Both stores can; SQLAlchemy says it per dialect."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import import_module
from typing import Any

from sqlalchemy import Connection, Table


def upsert(connection: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Takes rows, inserts those that are new and overwrites the others."""
    if not rows:
        return
    connection.execute(_overwriting(connection.dialect.name, table), _in_order(rows, _keys(table)))


def insert_new(connection: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Takes rows, inserts those that are new and leaves the others as they are."""
    if rows:
        statement = _insert(connection.dialect.name, table).on_conflict_do_nothing(
            index_elements=_keys(table)
        )
        connection.execute(statement, _in_order(rows, _keys(table)))


@cache
def _overwriting(dialect: str, table: Table) -> Any:
    # Made once: it costs more to build than to run, and runs for each webhook.
    keys = _keys(table)
    statement = _insert(dialect, table)
    changed = {
        column.name: statement.excluded[column.name] for column in table.columns if column.name not in keys
    }
    return statement.on_conflict_do_update(index_elements=keys, set_=changed)


def _insert(dialect: str, table: Table) -> Any:
    # The other store's dialect would be two megabytes for nothing.
    return import_module(f"sqlalchemy.dialects.{dialect}").insert(table)


def _keys(table: Table) -> list[str]:
    return [column.name for column in table.primary_key.columns]


def _in_order(rows: Sequence[dict[str, Any]], keys: Sequence[str]) -> list[dict[str, Any]]:
    # In one order everywhere: two replicas that lock rows crosswise would wait for each other.
    return sorted(rows, key=lambda row: [row[key] for key in keys])
