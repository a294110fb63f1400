"""Serves the endpoint: one daemon thread with one asyncio loop, whatever the number of connections.

The sockets are ours from accept to close, because a forked child (DataLoader worker) must close every one of
them: an inherited socket would keep the port taken, and scrapes hanging, after the trainer's death.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import selectors
import socket
import ssl
import threading
import weakref

from .connection import Connection, Handler

FIRST_REQUEST_SECONDS = 10.0
# Longer than the usual scrape intervals, so that Prometheus can keep its connection.
KEEP_ALIVE_SECONDS = 90.0
CONNECTIONS_LIMIT = 256
STOP_SECONDS = 2.0


class Server:
    """Answers requests on `listener` with `handler`, from `start` to `close`."""

    def __init__(
        self,
        listener: socket.socket,
        handler: Handler,
        *,
        first_request_seconds: float = FIRST_REQUEST_SECONDS,
        keep_alive_seconds: float = KEEP_ALIVE_SECONDS,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._listener = listener
        self._handler = handler
        self._tls = tls
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
        task = self._loop.create_task(self._connect(connection, accepted))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, connection: Connection, accepted: socket.socket) -> None:
        handshake_seconds = None if self._tls is None else self._first_request_seconds
        try:
            await self._loop.connect_accepted_socket(
                lambda: connection, accepted, ssl=self._tls, ssl_handshake_timeout=handshake_seconds
            )
        except OSError:  # no TLS, a certificate not trusted, or gone: the client's affair
            connection.connection_lost(None)
            accepted.close()

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


def _nothing() -> None:
    pass
