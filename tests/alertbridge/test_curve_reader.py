"""Asking Prometheus for the curve: never longer than the deadline, never an exception."""

from __future__ import annotations

import json
import logging
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone

import pytest

from alertbridge.curve import LARGEST_ANSWER_BYTES, MOST_AT_ONCE, Curve, CurveReader
from alertbridge.webhook import Notification

DEADLINE_SECONDS = 0.4
LABELS = {"run": "r0"}
NOTIFICATION = Notification.model_validate(
    {
        "version": "4",
        "status": "firing",
        "group_key": "g",
        "common_labels": LABELS,
        "alerts": [
            {"status": "firing", "labels": LABELS, "starts_at": datetime(2026, 11, 22, tzinfo=timezone.utc)}
        ],
    }
)
GOOD = json.dumps(
    {"data": {"result": [{"metric": {"phase": "validation"}, "values": [[1, "3"], [2, "2"]]}]}}
).encode()

Behaviour = Callable[[socket.socket, threading.Event], None]


class Server:
    """A TCP server that does to every connection what a test wants, and keeps what it was sent."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.requests: list[bytes] = []
        self._behaviour = behaviour
        self._over = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listening.getsockname()[1]}"

    def close(self) -> None:
        if self._over.is_set():
            return
        self._over.set()
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        while not self._over.is_set():
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self._threads.append(threading.Thread(target=self._serve, args=(connection,)))
            self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            self.requests.append(_whole_request(connection))
            try:
                self._behaviour(connection, self._over)
            except OSError:
                return


def _whole_request(connection: socket.socket) -> bytes:
    """Gives what was sent, body included, which may come in a segment of its own."""
    request = b""
    while not (length := re.search(rb"Content-Length: (\d+)\r\n", request)) or len(request) < (
        request.index(b"\r\n\r\n") + 4 + int(length[1])
    ):
        piece = connection.recv(65536)
        if not piece:
            break
        request += piece
    return request


def responds(body: bytes, status: str = "200 OK", *headers: str) -> Behaviour:
    """Gives an answer whole."""
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers])
    return lambda connection, _over: connection.sendall(head.encode() + b"\r\n\r\n" + body)


def hangs(connection: socket.socket, over: threading.Event) -> None:
    over.wait()


def drips_headers(connection: socket.socket, over: threading.Event) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while not over.wait(0.02):
        connection.sendall(b"X-Drip: 1\r\n")


def drips_body(connection: socket.socket, over: threading.Event) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while not over.wait(0.02):
        connection.sendall(b" ")


def floods(connection: socket.socket, over: threading.Event) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while not over.is_set():
        connection.sendall(b" " * 65536)


def resets(connection: socket.socket, over: threading.Event) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")


@pytest.fixture
def serve() -> Iterator[Callable[[Behaviour], Server]]:
    """Starts servers and closes them, with every connection and thread, at the end."""
    servers: list[Server] = []

    def start(behaviour: Behaviour) -> Server:
        servers.append(Server(behaviour))
        return servers[-1]

    yield start
    for server in servers:
        server.close()
    for thread in threading.enumerate():
        if thread.name == "curve":
            thread.join(5)


def test_a_curve_is_read_with_one_request(serve: Callable[[Behaviour], Server]) -> None:
    """One query for the run's raw samples gives the curve."""
    server = serve(responds(GOOD))

    curve = CurveReader(f"{server.url}/prometheus/").read(NOTIFICATION)

    assert curve == Curve("validation", (3.0, 2.0))
    (request,) = server.requests
    assert request.startswith(b"POST /prometheus/api/v1/query HTTP/1.1\r\n")
    assert b"query=training_loss%7Brun%3D%22r0%22" in request


@pytest.mark.parametrize(
    "behaviour",
    [
        responds(b"<html>", "502 Bad Gateway"),
        responds(b'{"status":"error"}', "422 Unprocessable Entity"),
        responds(GOOD, "302 Found", "Location: http://127.0.0.1:1/"),
        responds(b"\xff\xfe"),
        responds(b"\x1f\x8bnot gzip", "200 OK", "Content-Encoding: gzip"),
        hangs,
        drips_headers,
        drips_body,
        floods,
        resets,
    ],
    ids=[
        "502",
        "422",
        "redirect",
        "no-text",
        "broken-gzip",
        "hang",
        "slow-head",
        "slow-body",
        "flood",
        "reset",
    ],
)
def test_a_broken_prometheus_costs_the_curve_and_no_more_than_the_deadline(
    serve: Callable[[Behaviour], Server], behaviour: Behaviour
) -> None:
    """Whatever Prometheus does, the message goes out without a curve, in time."""
    reader = CurveReader(serve(behaviour).url, deadline_seconds=DEADLINE_SECONDS)
    began = time.monotonic()

    curve = reader.read(NOTIFICATION)

    assert curve is None
    assert time.monotonic() - began < DEADLINE_SECONDS + 0.5


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:1", "http://no-such-host.invalid", "http://[::1", "http://\udcff"],
    ids=["refused", "unknown", "unclosed", "surrogate"],
)
def test_an_unreachable_prometheus_costs_only_the_curve(url: str) -> None:
    """A refused connection, an unknown host and an address that is none give no curve."""
    assert CurveReader(url, deadline_seconds=DEADLINE_SECONDS).read(NOTIFICATION) is None


def test_a_flood_is_not_kept_in_memory(serve: Callable[[Behaviour], Server]) -> None:
    """An answer larger than the bound is given up, though there would be time to read on."""
    answer = responds(b" " * (LARGEST_ANSWER_BYTES + 1) + GOOD)

    assert CurveReader(serve(answer).url, deadline_seconds=20).read(NOTIFICATION) is None


def test_hanging_queries_are_bounded(serve: Callable[[Behaviour], Server]) -> None:
    """While several queries hang, further messages do not wait at all and start no more threads."""
    server = serve(hangs)
    reader = CurveReader(server.url, deadline_seconds=5)
    waiting = [
        threading.Thread(target=reader.read, args=(NOTIFICATION,), daemon=True) for _ in range(MOST_AT_ONCE)
    ]
    for thread in waiting:
        thread.start()
    while len(server.requests) < MOST_AT_ONCE:
        time.sleep(0.01)
    began = time.monotonic()

    assert reader.read(NOTIFICATION) is None

    assert time.monotonic() - began < 1
    assert len(server.requests) == MOST_AT_ONCE
    server.close()
    for thread in waiting:
        thread.join(10)


def test_a_trouble_is_logged_once_and_without_the_password(caplog: pytest.LogCaptureFixture) -> None:
    """The same trouble with every message is one line in the log, and the address in it is masked."""
    reader = CurveReader("http://monitor:hunter2@127.0.0.1:1", deadline_seconds=5)

    with caplog.at_level(logging.WARNING):
        reader.read(NOTIFICATION)
        reader.read(NOTIFICATION)

    (line,) = caplog.messages
    assert line.startswith("messages go out without a curve, Prometheus did not give one: ConnectionError")
    assert "hunter2" not in line
