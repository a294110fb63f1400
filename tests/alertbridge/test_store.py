"""Stores in trouble: full, damaged, too new, gone."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner
from sqlalchemy import Connection, event, inspect, text

from alertbridge.app import create_app
from alertbridge.budget import Budget
from alertbridge.commands import main
from alertbridge.errors import ConfigError, StoreCorrupt, StoreTooNew, StoreUnavailable
from alertbridge.outbox.arrival import Arrival
from alertbridge.outbox.claim import Claim
from alertbridge.outbox.database import Database, move_aside
from alertbridge.outbox.migrations import MIGRATIONS, NEWEST, ROW_ID
from alertbridge.outbox.outbox import Outbox
from alertbridge.outbox.robotstate import RobotPlan
from alertbridge.outbox.tables import metadata
from alertbridge.secret import Secret
from alertbridge.settings import Settings
from alertbridge.webhook import parse

Body = Callable[..., str]
ROBOT = {"dingtalk": {"webhook": "https://example.com/robot/send?access_token=x"}}


def arrival(text: str, now: float = 1.0) -> Arrival:
    return Arrival.of("ml", "am", parse(text), text, now)


def shape(connection: Connection) -> dict[str, Any]:
    """Gives tables, columns with nullability, keys and indexes."""
    found = inspect(connection)
    return {
        table: (
            [(column["name"], column["nullable"]) for column in found.get_columns(table)],
            found.get_pk_constraint(table)["constrained_columns"],
            sorted((index["name"], tuple(index["column_names"])) for index in found.get_indexes(table)),
        )
        for table in sorted(found.get_table_names())
    }


def test_the_migrations_make_the_tables_that_the_code_uses(storage: Secret) -> None:
    """All steps together give exactly the schema that the queries are written for."""
    database = Database(storage)
    database.open()
    with database.write() as connection:
        migrated = shape(connection)
        metadata.drop_all(connection)
        metadata.create_all(connection)
        assert migrated == shape(connection)
    database.close()


def test_a_store_of_the_first_schema_keeps_what_it_holds(storage: Secret, webhook_body: Body) -> None:
    """What waits in an outbox of the first schema is told after the migration, and heartbeats are remembered."""
    first = Database(storage)
    rowid = ROW_ID["sqlite" if first.is_sqlite else "postgresql"]
    with first.write() as connection:
        for statement in MIGRATIONS[0]:
            connection.execute(text(statement.format(rowid=rowid)))
        connection.execute(text("CREATE TABLE schema_version (version INTEGER NOT NULL PRIMARY KEY)"))
        connection.execute(text("INSERT INTO schema_version VALUES (1)"))
        waiting = "INSERT INTO notifications (receiver, group_hash, critical, body, received_at, state, path)"
        connection.execute(
            text(f"{waiting} VALUES ('ml', 'g', 0, :body, 1.0, 'waiting', '')"), {"body": webhook_body()}
        )
        connection.execute(text("INSERT INTO seen VALUES ('heartbeat of ml', '', 5.0, 5.0)"))
    first.close()
    box = Outbox(Database(storage))
    box.open(10.0)
    claim = box.claim("ml", [RobotPlan("robot", Budget(20, 60.0))], 10.0)
    assert isinstance(claim, Claim)
    assert list(box.bodies(claim)) == [webhook_body()]
    assert box.last_beat("ml") == 5.0
    box.close()


def test_opening_again_migrates_nothing(storage: Secret) -> None:
    """A store that is up to date is left alone."""
    database = Database(storage)
    assert database.open() == NEWEST
    assert database.open() == 0
    database.close()


def test_a_newer_store_is_refused(storage: Secret) -> None:
    """A store that a newer version has written is not touched."""
    database = Database(storage)
    database.open()
    with database.write() as connection:
        connection.execute(text("UPDATE schema_version SET version = 99"))
    with pytest.raises(StoreTooNew) as error:
        database.open()
    assert str(error.value) == (
        f"the outbox has schema 99, this alertbridge knows schemas up to {NEWEST}; "
        "run the newer alertbridge again, or give another storage"
    )
    database.close()


def test_sqlite_writes_through_to_the_disk(sqlite_storage: Secret) -> None:
    """Every connection uses the write-ahead log with full synchronisation."""
    database = Database(sqlite_storage)
    database.open()
    with database.read() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
    database.close()


def test_a_full_disk_is_answered_503_and_recovers(
    sqlite_storage: Secret, webhook_body: Body, make_robot: Callable[..., Any]
) -> None:
    """While there is no room Alertmanager is told to come again; what was stored stays; then everything goes on."""
    database = Database(sqlite_storage)
    box = Outbox(database)
    box.open()
    settings = Settings.model_validate({"receivers": {"ml": {"robots": [ROBOT]}}})
    client = create_app(settings, outbox=box, robots=lambda settings, keyword: make_robot()).test_client()
    large = webhook_body("During", runs=tuple(f"r{number}" for number in range(2000)))

    def send(body: str) -> Any:
        return client.post("/v1/alerts/ml", data=body, content_type="application/json")

    assert send(webhook_body("Before")).status_code == 202
    with a_full_disk(database):
        answer = send(large)
        assert answer.status_code == 503
        assert answer.json["error"].endswith("cannot be used now: database or disk is full")
        assert client.get("/metrics").status_code == 200
        ready = client.get("/-/ready")
        assert (ready.status_code, ready.json) == (503, answer.json)
    assert send(large).status_code == 202
    box.check(time.time())
    assert len(box.entries(["waiting"])) == 2
    box.close()


def test_a_store_that_was_full_is_asked_again_after_a_while(
    sqlite_storage: Secret, webhook_body: Body
) -> None:
    """A balancer that sends nothing to a bridge that is not ready gets it back, to see whether there is room."""
    database = Database(sqlite_storage)
    box = Outbox(database)
    box.open()
    with a_full_disk(database), pytest.raises(StoreUnavailable):
        box.put(arrival(webhook_body(runs=tuple(f"r{number}" for number in range(2000))), now=100.0))
    with pytest.raises(StoreUnavailable, match="database or disk is full"):
        box.check(159.0)
    box.check(160.0)
    box.close()


@contextmanager
def a_full_disk(database: Database) -> Iterator[None]:
    """Lets the file grow no more, as a full disk does."""

    def tighten(connection: sqlite3.Connection, record: object) -> None:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count={pages}")

    database._engine.dispose()
    event.listen(database._engine, "connect", tighten)
    yield
    event.remove(database._engine, "connect", tighten)
    database._engine.dispose()


def test_a_damaged_file_is_said_and_moved_aside_on_request(
    sqlite_storage: Secret, webhook_body: Body, tmp_path: Path
) -> None:
    """A file that is no database is refused with the way out; moving it aside keeps it and begins anew."""
    file = tmp_path / "outbox.db"
    file.write_bytes(b"this is no database, but long enough to look like a file of one" * 100)
    box = Outbox(Database(sqlite_storage))
    with pytest.raises(StoreCorrupt) as error:
        box.open()
    assert str(error.value) == (
        f"the outbox sqlite:///{file} is damaged (file is not a database); start alertbridge serve with "
        "--move-corrupt-aside to keep the file under another name and begin a new one"
    )
    box.close()

    kept = move_aside(sqlite_storage)
    assert kept is not None
    assert kept.read_bytes().startswith(b"this is no database")
    fresh = Outbox(Database(sqlite_storage))
    fresh.open()
    assert fresh.put(arrival(webhook_body())) == "stored"
    fresh.close()
    assert move_aside(sqlite_storage) is None


def test_a_lost_connection_comes_back(postgresql: Any, webhook_body: Body) -> None:
    """After the database server has dropped all connections the next put works."""
    storage = Secret(postgresql.empty_database())
    box = Outbox(Database(storage))
    box.open()
    box.put(arrival(webhook_body("A")))
    with psycopg.connect(storage.reveal().replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
            "AND datname = current_database()"
        )
    assert box.put(arrival(webhook_body("B"))) == "stored"
    box.close()


ENCODE = (
    "write %40 for each @ but the one before the host, and in the password "
    "%2F for each /, %3F for each ?, %23 for each #"
)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (
            "nonsense",
            "storage 'nonsense' is no address; write sqlite:///FILE or "
            "postgresql+psycopg://USER:PASSWORD@HOST/DATABASE",
        ),
        ("mysql://u:pw@h/d", "storage 'mysql://u:***@h/d': only sqlite and postgresql are known"),
        ("mysql://u:p/w@h/d", "storage 'mysql://u:***@h/d': only sqlite and postgresql are known"),
        (
            "postgresql://u:p@ss@h/d",
            "storage 'postgresql://u:***@h/d': " + ENCODE,
        ),
        (
            "postgresql://u:p@s/w@h:5432/d",
            "storage 'postgresql://u:***@h:5432/d': " + ENCODE,
        ),
        ("postgresql://u:p@s?w@h/d", "storage 'postgresql://u:***@h/d': " + ENCODE),
        ("postgresql://u:p@s/w?x@h/d", "storage 'postgresql://u:***@h/d': " + ENCODE),
        (
            "postgresql://u:p/w@h:port/d",
            "storage 'postgresql://u:***@h:port/d' is no address; write sqlite:///FILE or "
            "postgresql+psycopg://USER:PASSWORD@HOST/DATABASE",
        ),
        ("sqlite://", "storage 'sqlite://' would forget everything at a restart; name a file"),
        (
            "sqlite:///:memory:",
            "storage 'sqlite:///:memory:' would forget everything at a restart; name a file",
        ),
        (
            "postgresql+nodriver://h/d",
            "storage postgresql+nodriver needs a driver that is not here: pip install 'epochwatch[postgres]'",
        ),
    ],
)
def test_an_address_that_cannot_be_used_is_said(url: str, message: str) -> None:
    """A wrong storage address is refused with what to write, and without its password."""
    with pytest.raises(ConfigError) as error:
        Database(Secret(url))
    assert str(error.value) == message


def test_a_directory_that_is_not_there_is_said(tmp_path: Path) -> None:
    """A file that cannot be made is a store that cannot be used."""
    database = Database(Secret(f"sqlite:///{tmp_path}/nowhere/outbox.db"))
    with pytest.raises(StoreUnavailable, match="unable to open database file"):
        database.open()
    database.close()


@pytest.mark.parametrize(
    "password", ["hunter2", "q3/Zk+9sEc=", "abc#def", "a?b=c", "a b", "a'b\"c", "pass%40word"]
)
def test_a_server_out_of_reach_is_said_without_its_password(
    password: str,
    caplog: pytest.LogCaptureFixture,
    webhook_body: Body,
    make_robot: Callable[..., Any],
) -> None:
    """PostgreSQL that does not answer is said in the log with its address, elsewhere without; never the password."""
    storage = f"postgresql+psycopg://bridge:{password}@127.0.0.1:1/alerts?sslpassword={password}"
    settings = Settings.model_validate({"receivers": {"ml": {"robots": [ROBOT]}}})
    box = Outbox(Database(Secret(storage)))
    client = create_app(settings, outbox=box, robots=lambda settings, keyword: make_robot()).test_client()
    ready = client.get("/-/ready")
    refused = client.post("/v1/alerts/ml", data=webhook_body(), content_type="application/json")
    box.close()
    listed = CliRunner().invoke(main, ["outbox", "list", "--storage", storage])

    reason = "the outbox cannot be used now, the log of alertbridge says why"
    assert [ready.status_code, refused.status_code] == [503, 503]
    assert ready.json == refused.json == {"error": reason}
    shown = "the outbox postgresql+psycopg://bridge:***@127.0.0.1:1/alerts cannot be used now: connection"
    assert shown in caplog.text
    assert (listed.exit_code, shown in listed.output) == (1, True)
    for told in (caplog.text, listed.output, box.database.shown_url, ready.text, refused.text):
        assert password not in told
        assert password.replace("%40", "@") not in told
