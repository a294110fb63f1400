"""Bounds how long PostgreSQL, the network to it or another bridge on it can keep one waiting.

A server that is gone closes no connection, a proxy in between acknowledges what it never delivers, and a bridge that
was frozen holds its locks. Without bounds of ours each of them would stop all bridges on that store.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any, TypeVar

import psycopg
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.engine import URL

DRIVER = "postgresql+psycopg"
# Of the server, where neither the address nor the role or the database sets its own. A lock is held for milliseconds;
# who idles within a transaction has died.
LIMITS = {"lock_timeout": "10s", "statement_timeout": "30s", "idle_in_transaction_session_timeout": "30s"}
# A little later than the server, which can say why.
ANSWER_SECONDS = 35.0
# For what may have to go through everything: a migration, or a command that a person waits for.
PATIENT_SECONDS = 3600.0
# Source: https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS
CONNECT = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}

Result = TypeVar("Result")


def connect_options(url: URL) -> dict[str, int]:
    """Takes the storage's address, gives the driver's options that it leaves open."""
    return {name: value for name, value in CONNECT.items() if name not in url.query}


def bound_waiting(engine: Engine, answer_seconds: float | None = None) -> None:
    """Takes an engine, makes its connections wait no longer than the limits above, or than told for an answer."""

    def connect(dialect: object, record: object, args: Any, options: Any) -> BoundedConnection:
        connection = BoundedConnection.connect(*args, **options)
        connection.answer_seconds = answer_seconds or ANSWER_SECONDS
        return connection

    event.listen(engine, "connect", _limit_server)
    if engine.url.drivername == DRIVER:
        event.listen(engine, "do_connect", connect)


def be_patient(connection: Connection) -> None:
    """Takes a connection at the begin of its transaction, lifts the limits; it is not used for another one."""
    driver = connection.connection.dbapi_connection
    if isinstance(driver, BoundedConnection):
        driver.answer_seconds = PATIENT_SECONDS
    connection.detach()
    connection.execute(
        text("SELECT set_config('lock_timeout', '0', true), set_config('statement_timeout', '0', true)")
    )


class BoundedConnection(psycopg.Connection[Any]):
    """A connection that is closed when the server does not answer in time."""

    answer_seconds = ANSWER_SECONDS

    def wait(self, gen: Generator[Any, Any, Result], *args: Any, **options: Any) -> Result:
        """Takes what the driver does step by step while the server answers, gives its result.

        Raises:
            psycopg.OperationalError: there was no answer in time.
        """
        try:
            return super().wait(_within(gen, self.answer_seconds), *args, **options)
        except _SilenceError:
            # Whatever else is said on it would wait for that answer too.
            self.close()
            raise


class _SilenceError(psycopg.OperationalError):
    """The server does not answer."""


def _within(steps: Generator[Any, Any, Result], seconds: float) -> Generator[Any, Any, Result]:
    deadline = time.monotonic() + seconds
    try:
        wanted = next(steps)
        while True:
            # Nothing, several times a second, while the server is silent; psycopg says so from 3.2.11 on.
            ready = yield wanted
            if not ready and time.monotonic() > deadline:
                raise _SilenceError(f"no answer within {seconds:g} s")
            wanted = steps.send(ready)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


def _limit_server(connection: Any, record: object) -> None:
    cursor = connection.cursor()
    for name, limit in LIMITS.items():
        cursor.execute(
            "SELECT set_config(%(name)s, %(limit)s, false) WHERE current_setting(%(name)s) = '0'",
            {"name": name, "limit": limit},
        )
    cursor.close()
    connection.commit()
