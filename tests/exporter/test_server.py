"""The endpoint as any client may treat it, good or bad."""

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from epochwatch.connection import Request, Response
from epochwatch.listening import listen
from epochwatch.pages import Scrapes
from epochwatch.server import CONNECTIONS_LIMIT, Server

from .conftest import wait_until


def answer(request: Request) -> Response:
    return Response(200, f"{request.method} {request.path}".encode())


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server(listen("127.0.0.1", 0), answer)
    running.start()
    yield running
    running.close()


@pytest.fixture
def connect(server: Server) -> Iterator[Callable[[], socket.socket]]:
    """Opens connections to the server and closes them after the test."""
    opened: list[socket.socket] = []

    def opener() -> socket.socket:
        opened.append(socket.create_connection(("127.0.0.1", server.port), timeout=10))
        return opened[-1]

    yield opener
    for connection in opened:
        connection.close()


def exchange(connection: socket.socket, request: bytes) -> bytes:
    """Sends a request and gives the answer, up to the end of its body or of the connection."""
    connection.sendall(request)
    received = bytearray()
    while not is_whole(received):
        more = connection.recv(1 << 20)
        if not more:
            break
        received += more
    return bytes(received)


def is_whole(received: bytearray) -> bool:
    """Tells whether an answer is there up to the end of its body."""
    head_bytes = received.find(b"\r\n\r\n")
    if head_bytes < 0:
        return False
    length = re.search(rb"content-length: (\d+)", received[:head_bytes], re.IGNORECASE)
    return length is not None and len(received) >= head_bytes + 4 + int(length[1])


def test_a_connection_is_kept_for_the_next_request(connect: Callable[[], socket.socket]) -> None:
    """Two requests on one connection, then two at once, are answered in order."""
    connection = connect()
    for path in (b"/a", b"/b?query=1"):
        received = exchange(connection, b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        assert received.startswith(b"HTTP/1.1 200 ")
        assert received.endswith(b"GET " + path.partition(b"?")[0])
    connection.sendall(
        b"GET /c HTTP/1.1\r\nHost: x\r\n\r\nGET /d HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    received = b""
    while more := connection.recv(65536):
        received += more
    assert received.index(b"GET /c") < received.index(b"GET /d")


def test_a_request_in_single_bytes_is_answered(connect: Callable[[], socket.socket]) -> None:
    """A client may send as slowly as it likes, within the time-out."""
    connection = connect()
    for byte in b"GET /slow HTTP/1.0\r\n\r":
        connection.sendall(bytes([byte]))
        time.sleep(0.001)
    assert exchange(connection, b"\n").endswith(b"GET /slow")


def test_head_has_no_body(connect: Callable[[], socket.socket]) -> None:
    """HEAD gets the headers of GET alone."""
    connection = connect()
    connection.sendall(b"HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    received = b""
    while more := connection.recv(65536):
        received += more
    assert received.startswith(b"HTTP/1.1 200 ")
    assert received.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/9.9 nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nBig: " + b"x" * 17_000,
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
    ],
    ids=["TLS", "no host", "bad line", "endless header", "negative length"],
)
def test_garbage_is_refused_and_closed(
    garbage: bytes, connect: Callable[[], socket.socket], server: Server
) -> None:
    """What is no HTTP gets a 4xx and the door; the next client is served."""
    connection = connect()
    received = exchange(connection, garbage)
    assert received.startswith(b"HTTP/1.1 4")
    assert exchange(connect(), b"GET /next HTTP/1.0\r\n\r\n").endswith(b"GET /next")


def test_a_reset_connection_is_forgotten(connect: Callable[[], socket.socket], server: Server) -> None:
    """A client that vanishes in the middle of a request leaves nothing behind."""
    connection = connect()
    connection.sendall(b"GET / HT")
    wait_until(lambda: server._connections)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    connection.close()
    wait_until(lambda: not server._connections)


def test_idle_connections_cost_no_threads_and_hinder_nobody(
    connect: Callable[[], socket.socket], server: Server
) -> None:
    """Two hundred silent clients are one thread, and a scrape gets through."""
    before = threading.active_count()
    for _ in range(200):
        connect()
    assert exchange(connect(), b"GET / HTTP/1.0\r\n\r\n").endswith(b"GET /")
    assert threading.active_count() == before


def test_too_many_connections_close_the_longest_idle(
    connect: Callable[[], socket.socket], server: Server
) -> None:
    """At the limit the client that was silent longest has to go, not the newcomer."""
    first = connect()
    for _ in range(CONNECTIONS_LIMIT + 20):
        connect()
    assert exchange(connect(), b"GET / HTTP/1.0\r\n\r\n").endswith(b"GET /")
    assert first.recv(1) == b""
    assert len(server._connections) <= CONNECTIONS_LIMIT


def test_a_silent_client_is_disconnected() -> None:
    """A client that asks nothing within the time-out loses its connection."""
    server = Server(listen("127.0.0.1", 0), answer, first_request_seconds=0.1, keep_alive_seconds=0.1)
    server.start()
    try:
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as silent:
            assert silent.recv(1) == b""
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as once:
            exchange(once, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert once.recv(1) == b""
    finally:
        server.close()


def test_a_client_that_never_reads_does_not_stop_the_others() -> None:
    """A huge answer nobody takes away waits in its own connection."""
    server = Server(listen("127.0.0.1", 0), lambda request: Response(200, b"x" * 4_000_000))
    server.start()
    try:
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as lazy:
            lazy.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            with socket.create_connection(("127.0.0.1", server.port), timeout=10) as eager:
                assert len(exchange(eager, b"GET / HTTP/1.0\r\n\r\n")) > 4_000_000
    finally:
        server.close()


def test_a_server_that_was_never_started_closes() -> None:
    """Closing without having started frees the port, and closing twice is harmless."""
    server = Server(listen("127.0.0.1", 0), answer)
    port = server.port
    server.close()
    server.close()
    listen("127.0.0.1", port).close()


def test_ipv6_is_served() -> None:
    """An IPv6 address is an address."""
    server = Server(listen("::1", 0), answer)
    server.start()
    try:
        with socket.create_connection(("::1", server.port), timeout=10) as connection:
            assert exchange(connection, b"GET /six HTTP/1.0\r\n\r\n").endswith(b"GET /six")
    finally:
        server.close()


class Seconds:
    """A clock that only moves when told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("scraped_at", "asked_at", "seconds"),
    [
        ([], 100.0, 0.0),
        ([95.0], 100.0, 30.0),
        ([40.0, 100.0], 105.0, 75.0),
        ([70.0, 85.0, 100.0], 105.0, 30.0),
        ([90.0, 95.0, 100.0], 105.0, 10.0),
        ([99.9, 99.95, 100.0], 100.0, 2.0),
        ([50.0, 55.0], 71.0, 0.0),
    ],
    ids=[
        "never scraped",
        "scraped once",
        "the longest at most",
        "usual",
        "twice the interval",
        "read twice by hand",
        "scraper gone",
    ],
)
def test_the_wait_for_a_scrape_is_bounded(scraped_at: list[float], asked_at: float, seconds: float) -> None:
    """It lasts twice the interval seen, half a minute if none was seen, and nothing without a scraper."""
    clock = Seconds()
    scrapes = Scrapes(clock)
    for clock.now in scraped_at:
        scrapes.begin()()
    clock.now = asked_at
    assert scrapes.longest_wait_seconds(75.0) == seconds


def test_a_wait_without_a_scrape_ends() -> None:
    """When the time is over the run ends unseen."""
    scrapes = Scrapes()
    scrapes.begin()()
    began = time.monotonic()
    assert scrapes.wait_for_next(0.1) is False
    assert 0.1 <= time.monotonic() - began < 5


def test_only_a_scrape_that_began_later_has_seen_the_end() -> None:
    """An answer that was already being written does not count."""
    clock = Seconds()
    scrapes = Scrapes(clock)
    under_way = scrapes.begin()
    clock.now = 1.0
    waiting = threading.Thread(target=scrapes.wait_for_next, args=(20.0,))
    waiting.start()
    time.sleep(0.05)
    under_way()
    waiting.join(0.1)
    assert waiting.is_alive()
    scrapes.begin()()
    waiting.join(5)
    assert not waiting.is_alive()
