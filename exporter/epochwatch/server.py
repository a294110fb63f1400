"""Serves the endpoint: one daemon thread with one asyncio loop, whatever the number of connections.

HTTP is h11's; the sockets are ours from accept to close, because a forked child (DataLoader worker) must
close every one of them: an inherited socket would keep the port taken, and scrapes hanging, after the
trainer's death.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import selectors
import socket
import threading
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import h11

from .errors import ServeError
from .troubles import LOGGER

FIRST_REQUEST_SECONDS = 10.0
# Longer than the usual scrape intervals, so that Prometheus can keep its connection.
KEEP_ALIVE_SECONDS = 90.0
CONNECTIONS_LIMIT = 256
BACKLOG = 128
# A request of ours is a line and some headers.
REQUEST_SIZE_LIMIT_BYTES = 16 * 1024
STOP_SECONDS = 2.0


@dataclass(frozen=True)
class Request:
    """One HTTP request: the method, the path without its query, and the headers by lower-case name."""

    method: str
    path: str
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Response:
    """One HTTP answer."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "text/plain; charset=utf-8"),)
    sent: Callable[[], None] = field(default=lambda: None, compare=False)


Handler = Callable[[Request], Response]


def listen(addr: str, port: int) -> socket.socket:
    """Gives a listening socket on `addr`, on `port` or, if that cannot be had, on a free one.

    Raises:
        ServeError: If `addr` is none of this machine's addresses.
    """
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(
            addr, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise _no_such_address(addr, error) from error
    try:
        # A restart must not wait for the old connections' TIME_WAIT.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _bind(listener, addr, target)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def _bind(listener: socket.socket, addr: str, target: tuple[object, ...]) -> None:
    port = target[1]
    try:
        listener.bind(target)
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise _no_such_address(addr, error) from error
        listener.bind((target[0], 0, *target[2:]))
        why = "is taken" if error.errno == errno.EADDRINUSE else "needs rights this process has not"
        LOGGER.warning("port %s %s; serving on port %s", port, why, listener.getsockname()[1])


def _no_such_address(addr: str, error: OSError) -> ServeError:
    return ServeError(
        f"cannot serve on addr={addr!r}: {error.strerror or error}; give an address of this machine, "
        '"0.0.0.0" for all (argument addr=, environment EPOCHWATCH_ADDR)'
    )


class Server:
    """Answers requests on `listener` with `handler`, from `start` to `close`."""

    def __init__(
        self,
        listener: socket.socket,
        handler: Handler,
        *,
        first_request_seconds: float = FIRST_REQUEST_SECONDS,
        keep_alive_seconds: float = KEEP_ALIVE_SECONDS,
    ) -> None:
        self._listener = listener
        self._handler = handler
        self._first_request_seconds = first_request_seconds
        self._keep_alive_seconds = keep_alive_seconds
        self._selector = selectors.DefaultSelector()
        self._loop = asyncio.SelectorEventLoop(self._selector)
        self._connections: dict[Connection, socket.socket] = {}
        self._tasks: set[asyncio.Task[object]] = set()
        self._thread = threading.Thread(target=self._serve, name="epochwatch-server", daemon=True)
        self._closed = False
        close_inherited = weakref.WeakMethod(self._close_inherited)
        os.register_at_fork(after_in_child=lambda: (close_inherited() or _nothing)())

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def start(self) -> None:
        """Starts serving on the server's own thread."""
        self._thread.start()

    def close(self) -> None:
        """Stops serving and frees the port; answers under way are sent, for two seconds at most."""
        if self._closed:
            return
        self._closed = True
        if not self._thread.ident:
            self._listener.close()
            self._loop.close()
            return
        with contextlib.suppress(RuntimeError):  # the loop is closed already: the interpreter is going down
            self._loop.call_soon_threadsafe(self._stop)
        # The garbage collector may end a dropped run on any thread, this server's among them.
        if threading.current_thread() is not self._thread:
            self._thread.join(STOP_SECONDS)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.add_reader(self._listener, self._accept)
        try:
            self._loop.run_forever()
        finally:
            self._listener.close()
            self._loop.close()

    def _stop(self) -> None:
        self._loop.remove_reader(self._listener)
        self._listener.close()
        for connection in list(self._connections):
            connection.finish()
        self._stop_when_idle(self._loop.time() + STOP_SECONDS / 2)

    def _stop_when_idle(self, deadline: float) -> None:
        if self._connections and self._loop.time() < deadline:
            self._loop.call_later(0.01, self._stop_when_idle, deadline)
        else:
            for connection in list(self._connections):
                connection.abort()
            self._loop.call_soon(self._loop.stop)

    def _accept(self) -> None:
        try:
            accepted, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError, InterruptedError):
            return
        except OSError:
            # Out of file descriptors, as a rule. Trying again at once would only spin.
            self._loop.remove_reader(self._listener)
            self._loop.call_later(1.0, self._resume_accepting)
            return
        accepted.setblocking(False)
        if len(self._connections) >= CONNECTIONS_LIMIT:
            min(self._connections, key=lambda connection: connection.last_active).abort()
        connection = Connection(self._loop, self._handler, self._forget, self._keep_alive_seconds)
        connection.allow(self._first_request_seconds)
        self._connections[connection] = accepted
        task = self._loop.create_task(self._loop.connect_accepted_socket(lambda: connection, accepted))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _resume_accepting(self) -> None:
        if not self._closed:
            self._loop.add_reader(self._listener, self._accept)

    def _forget(self, connection: Connection) -> None:
        self._connections.pop(connection, None)

    def _close_inherited(self) -> None:
        # Only closed, never unregistered: the epoll set behind the selector is the parent's too.
        for inherited in (self._listener, *self._connections.values()):
            inherited.close()
        self._selector.close()
        for end in ("_ssock", "_csock"):  # the loop's wake-up pair
            pair_end = getattr(self._loop, end, None)
            if pair_end is not None:
                pair_end.close()
        self._closed = True


class Connection(asyncio.Protocol):
    """One client's connection, from its first byte to its last."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        handler: Handler,
        closed: Callable[[Connection], None],
        keep_alive_seconds: float,
    ) -> None:
        self._loop = loop
        self._handler = handler
        self._when_closed = closed
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=REQUEST_SIZE_LIMIT_BYTES)
        self._transport: asyncio.Transport | None = None
        self._request: h11.Request | None = None
        self._stopping = False
        self.last_active = loop.time()
        self._keep_alive_seconds = keep_alive_seconds
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # a stream's transport reads and writes
        if self._stopping:
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.allow(None)
        self._when_closed(self)

    def data_received(self, data: bytes) -> None:
        self.last_active = self._loop.time()
        try:
            self._http.receive_data(data)
            self._answer_requests()
        except h11.RemoteProtocolError as error:
            self._refuse(error)

    def eof_received(self) -> bool | None:
        return False

    def allow(self, seconds: float | None) -> None:
        """Gives the client so long for its next request to be complete; None for no limit."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if seconds is None else self._loop.call_later(seconds, self.abort)

    def finish(self) -> None:
        """Closes the connection once what was answered is sent."""
        self._stopping = True
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Closes the connection at once."""
        self._stopping = True
        if self._transport is not None:
            self._transport.abort()
        else:
            self._when_closed(self)

    def _answer_requests(self) -> None:
        while True:
            event = self._http.next_event()
            if isinstance(event, h11.Request):
                self._request = event
            elif isinstance(event, h11.EndOfMessage) and self._request is not None:
                self._answer(self._request)
                if self._http.our_state is h11.MUST_CLOSE or self._stopping:
                    self.finish()
                    return
                self._http.start_next_cycle()
            elif event is h11.NEED_DATA or event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
                return

    def _answer(self, received: h11.Request) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in received.headers}
        path = received.target.decode("latin-1").partition("?")[0]
        response = self._handler(Request(received.method.decode("ascii"), path, headers))
        self._send(response, with_body=received.method != b"HEAD")
        response.sent()
        self.allow(self._keep_alive_seconds)

    def _send(self, response: Response, with_body: bool = True) -> None:
        headers = [*response.headers, ("Content-Length", str(len(response.body)))]
        head = h11.Response(status_code=response.status, headers=headers)
        parts = [self._http.send(head)]
        if with_body:
            parts.append(self._http.send(h11.Data(data=response.body)))
        parts.append(self._http.send(h11.EndOfMessage()))
        if self._transport is not None:
            self._transport.write(b"".join(part for part in parts if part))

    def _refuse(self, error: h11.RemoteProtocolError) -> None:
        if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            with contextlib.suppress(h11.LocalProtocolError):
                self._send(Response(error.error_status_hint, b"not a request this server understands\n"))
        self.finish()


def _nothing() -> None:
    pass
