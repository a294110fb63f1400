"""Opens SQLite or PostgreSQL and gives transactions whose failures are `StoreError`s.

The only module that meets SQLAlchemy's exceptions.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from alertbridge.errors import ConfigError, StoreCorrupt, StoreError, StoreUnavailable
from alertbridge.outbox.migrations import migrate
from alertbridge.secret import Secret, mask, mask_url

BUSY_SECONDS = 5
# Of each connection, instead of 2 MiB. The system keeps the file's pages in memory as well.
CACHE_KIB = 512
WRITES = "alertbridge_writes"
_CORRUPT = ("malformed", "not a database")


class Database:
    """Takes the storage's address, gives read and write transactions.

    Args:
        url: `sqlite:///FILE` or `postgresql+psycopg://…`.
        answer_seconds: how long PostgreSQL may take to answer; absent: half a minute.

    Raises:
        ConfigError: the address names no store that can be used.
    """

    def __init__(self, url: Secret, *, answer_seconds: float | None = None) -> None:
        self._url = _checked(url)
        self.shown_url = _shown(self._url)
        self.is_sqlite = self._url.get_backend_name() == "sqlite"
        self._engine = _engine(self._url, self.is_sqlite, answer_seconds)
        # SQLite has one writer; waiting for our own turn here is fair and free, its busy handler is neither.
        self._turn: Any = threading.Lock() if self.is_sqlite else nullcontext()

    @property
    def path(self) -> Path | None:
        """The file, if the store is one."""
        return Path(self._url.database or "") if self.is_sqlite else None

    def open(self) -> int:
        """Connects and brings the schema up to date; gives the number of migration steps taken.

        Raises:
            StoreError: as `write`; StoreTooNew as well.
        """
        with self.write(patient=True) as connection:
            return migrate(connection)

    def close(self) -> None:
        self._engine.dispose()

    def check_integrity(self) -> None:
        """Reads the whole file.

        Raises:
            StoreCorrupt: it is damaged.
        """
        with self.read() as connection:
            found = connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar()
            if found != "ok":
                raise StoreCorrupt(_damaged(self.shown_url, str(found)))

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Gives a connection that sees one state of the store.

        Raises:
            StoreError: the store cannot be read now, or is corrupt.
        """
        with self._mapped_errors(), self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self, *, patient: bool = False) -> Iterator[Connection]:
        """Gives a connection whose changes are on disk once the block has ended, or undone if it raises.

        Args:
            patient: whether a statement may take long, since it may go through all that there is.

        Raises:
            StoreError: the store cannot be written now (full, locked, gone), or is corrupt.
        """
        with self._mapped_errors(), self._turn, self._engine.connect() as plain:
            connection = plain.execution_options(**{WRITES: True})
            with connection.begin():
                if patient and not self.is_sqlite:
                    from alertbridge.outbox.postgresql import be_patient

                    be_patient(connection)
                yield connection

    @contextmanager
    def _mapped_errors(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            raise self._explained(error) from None

    def _explained(self, error: SQLAlchemyError) -> StoreError:
        cause = mask(str(getattr(error, "orig", None) or error).strip().splitlines()[0])
        if any(sign in cause for sign in _CORRUPT):
            return StoreCorrupt(_damaged(self.shown_url, cause))
        message = f"the outbox {self.shown_url} cannot be used now: {cause}"
        # PostgreSQL's causes name host and user.
        return (
            StoreUnavailable(message, outside=f"the outbox cannot be used now: {cause}")
            if self.is_sqlite
            else StoreUnavailable(message)
        )


def _damaged(shown_url: str, cause: str) -> str:
    return (
        f"the outbox {shown_url} is damaged ({cause}); start alertbridge serve with --move-corrupt-aside "
        "to keep the file under another name and begin a new one"
    )


def move_aside(url: Secret) -> Path | None:
    """Takes the storage's address, renames its file if it is damaged; gives where it lies then, or none.

    Raises:
        ConfigError: the address names no file.
        StoreError: the file cannot be used, but is not damaged.
    """
    database = Database(url)
    if database.path is None:
        raise ConfigError(f"storage {database.shown_url} is no file that could be moved aside")
    try:
        database.check_integrity()
    except StoreCorrupt:
        pass
    else:
        return None
    finally:
        database.close()
    kept = database.path.with_name(f"{database.path.name}.corrupt-{time.strftime('%Y%m%dT%H%M%S')}")
    for suffix in ("", "-wal", "-shm"):
        part = database.path.with_name(database.path.name + suffix)
        if part.exists():
            part.rename(kept.with_name(kept.name + suffix))
    return kept


def _checked(secret: Secret) -> URL:
    try:
        url = make_url(secret.reveal())
    except (ArgumentError, ValueError):
        raise ConfigError(
            f"storage {mask_url(secret)!r} is no address; write sqlite:///FILE or "
            "postgresql+psycopg://USER:PASSWORD@HOST/DATABASE"
        ) from None
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise ConfigError(f"storage {_shown(url)!r}: only sqlite and postgresql are known")
    # Behind the first @, / or ?, a password that was not encoded is taken for host, database or options.
    if url.get_backend_name() == "postgresql" and secret.reveal().count("@") > 1:
        raise ConfigError(
            f"storage {mask_url(secret)!r}: write %40 for each @ but the one before the host, and in the password "
            "%2F for each /, %3F for each ?, %23 for each #"
        )
    if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
        raise ConfigError(f"storage {mask_url(secret)!r} would forget everything at a restart; name a file")
    return url if url.drivername != "postgresql" else url.set(drivername="postgresql+psycopg")


def _shown(url: URL) -> str:
    """Gives the address fit to be shown: a password stands before the host or among the options."""
    if url.get_backend_name() == "sqlite":
        # Whole, because it is looked for where the bridge was started.
        return f"sqlite:///{Path(url.database or '').absolute()}"
    return url.set(query={}).render_as_string(hide_password=True)


def _engine(url: URL, is_sqlite: bool, answer_seconds: float | None) -> Engine:
    # hide_parameters: a bound value may hold a whole webhook, and would end up in a log.
    # Last in, first out: what few connections can do is not spread over many, each with a cache of its own.
    options: dict[str, Any] = {
        "hide_parameters": True,
        "pool_size": 8,
        "max_overflow": 56,
        "pool_use_lifo": True,
    }
    if is_sqlite:
        options["connect_args"] = {"timeout": BUSY_SECONDS, "check_same_thread": False}
        engine = create_engine(url, **options)
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    try:
        # An optional driver's, and megabytes that a bridge on SQLite does not need.
        from alertbridge.outbox.postgresql import bound_waiting, connect_options

        engine = create_engine(url, pool_pre_ping=True, connect_args=connect_options(url), **options)
    except (ImportError, NoSuchModuleError):
        raise ConfigError(
            f"storage {url.drivername} needs a driver that is not here: pip install 'epochwatch[postgres]'"
        ) from None
    bound_waiting(engine, answer_seconds)
    return engine


def _set_up_sqlite(connection: sqlite3.Connection, record: object) -> None:
    # Without this, sqlite3 begins transactions when it sees fit; `_begin_sqlite` says when.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # A deferred transaction that turns writer fails at once when another one wrote in between.
    writes = connection.get_execution_options().get(WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
