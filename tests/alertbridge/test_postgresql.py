"""PostgreSQL, the network to it and another bridge on it may hang, and the bridge does not."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from alertbridge.budget import Budget
from alertbridge.errors import StoreUnavailable
from alertbridge.outbox.arrival import Arrival
from alertbridge.outbox.claim import Claim
from alertbridge.outbox.database import Database
from alertbridge.outbox.outbox import Outbox
from alertbridge.outbox.postgresql import connect_options
from alertbridge.outbox.robotstate import RobotPlan, lock
from alertbridge.secret import Secret
from alertbridge.webhook import parse

PLAN = RobotPlan("robot", Budget(20, 60))
Body = Callable[..., str]


@pytest.fixture
def address(postgresql: object) -> str:
    """The address of an empty PostgreSQL database."""
    return str(postgresql.empty_database())  # type: ignore[attr-defined]


def arrival(body: str) -> Arrival:
    return Arrival.of("ml", "am", parse(body), body, time.time())


def limits(database: Database) -> list[str]:
    with database.read() as connection:
        names = ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout")
        return [connection.execute(text(f"SHOW {name}")).scalar_one() for name in names]


def test_every_wait_has_an_end(address: str) -> None:
    """The server ends what waits too long; who has set other limits in the address keeps them."""
    ours = Database(Secret(address))
    own = Database(Secret(f"{address}?options=-c statement_timeout=5s"))
    assert limits(ours) == ["10s", "30s", "30s"]
    assert limits(own) == ["10s", "5s", "30s"]
    ours.close()
    own.close()
    given = connect_options(make_url(f"{address}?connect_timeout=1&keepalives_idle=99"))
    assert given == {"keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 20_000}


def test_a_frozen_bridge_holds_the_others_up_for_a_while_only(address: str, webhook_body: Body) -> None:
    """What one bridge has locked when it freezes is free again after the limit, and the others go on."""
    hasty = "-c lock_timeout=200ms -c idle_in_transaction_session_timeout=600ms"
    frozen, other = (Outbox(Database(Secret(f"{address}?options={hasty}"))) for _ in range(2))
    other.open()
    other.put(arrival(webhook_body()))
    holding, over = threading.Event(), threading.Event()
    ends: list[str] = []

    def freeze() -> None:
        try:
            with frozen.database.write() as connection:
                lock(connection, "ml", [PLAN])
                holding.set()
                over.wait(10)
                lock(connection, "ml", [PLAN])
        except StoreUnavailable as error:
            ends.append(str(error))

    thread = threading.Thread(target=freeze)
    thread.start()
    assert holding.wait(10)
    with pytest.raises(StoreUnavailable, match="lock timeout"):
        other.claim("ml", [PLAN], time.time())
    time.sleep(0.6)
    assert isinstance(other.claim("ml", [PLAN], time.time()), Claim)
    over.set()
    thread.join()
    assert "idle-in-transaction timeout" in ends[0]
    assert frozen.put(arrival(webhook_body("Next"))) == "stored"
    frozen.close()
    other.close()


def test_a_migration_takes_the_time_it_needs(address: str) -> None:
    """The limits are lifted for a patient transaction, and hold again for the next one."""
    database = Database(Secret(f"{address}?options=-c statement_timeout=100ms"), answer_seconds=0.1)
    slow = text("SELECT pg_sleep(0.5)")
    with database.write(patient=True) as connection:
        connection.execute(slow)
    with pytest.raises(StoreUnavailable), database.write() as connection:
        connection.execute(slow)
    database.close()


class Proxy:
    """A proxy in front of PostgreSQL that can fall silent: connections stay open, and nothing comes through."""

    def __init__(self, port: int) -> None:
        self._behind = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []
        self._silent: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def fall_silent(self) -> None:
        """Lets nothing through any more on the connections that there are; new ones work."""
        self._silent.update(self._sockets)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for one in self._sockets:
            one.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                pair = [self._listener.accept()[0], socket.create_connection(("127.0.0.1", self._behind))]
                self._sockets += pair
                for source, sink in (pair, pair[::-1]):
                    self._threads.append(threading.Thread(target=self._pass_on, args=(source, sink)))
                    self._threads[-1].start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                if source not in self._silent:
                    sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)


@pytest.fixture
def proxy(address: str) -> Iterator[Proxy]:
    """A proxy in front of the empty database."""
    made = Proxy(make_url(address).port or 0)
    yield made
    made.close()


def test_a_network_that_falls_silent_is_left_for_a_new_connection(
    address: str, proxy: Proxy, webhook_body: Body
) -> None:
    """The first webhook finds it out and is stored after a while, those behind it are answered soon to come again."""
    storage = make_url(address).set(port=proxy.port).render_as_string(hide_password=False)
    box = Outbox(Database(Secret(storage), answer_seconds=1.5), turn_seconds=0.3)
    box.open()
    assert box.put(arrival(webhook_body("Before"))) == "stored"
    proxy.fall_silent()
    answers: list[str] = []

    def send(name: str) -> None:
        try:
            answers.append(box.put(arrival(webhook_body(name))))
        except StoreUnavailable as error:
            answers.append(str(error))

    threads = [threading.Thread(target=send, args=(name,)) for name in "ABC"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert answers == [*2 * ["the outbox has not stored the webhooks of 0.3 s ago yet"], "stored"]
    assert sorted(box.put(arrival(webhook_body(name))) for name in "ABC") == ["duplicate", "stored", "stored"]
    box.close()
