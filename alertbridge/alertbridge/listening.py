"""The HTTP server in front of the application: waitress, bounded in time, size and connections."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from flask import Flask
from waitress import wasyncore
from waitress.channel import HTTPChannel
from waitress.server import BaseWSGIServer, create_server
from waitress.task import ErrorTask

from alertbridge.errors import ConfigError

# One commit stores what all threads hold, so they also bound how much shares one.
THREADS = 16
CONNECTIONS = 1000
# A connection that is idle or whose request does not end is closed after this; Alertmanager opens a new one.
IDLE_SECONDS = 30
HEADER_BYTES = 65_536
# Between two looks at the connections, so much for each of them.
REST_SECONDS_PER_CONNECTION = 20e-6
LONGEST_REST_SECONDS = 0.005


# Called with the path and the Authorization header of a request whose body was too large to be read.
Oversized = Callable[[str, str | None], None]


class _Refusal(ErrorTask):  # type: ignore[misc]
    """The answer to what waitress refuses by itself; the application would never know."""

    def execute(self) -> None:
        super().execute()
        if self.request.error.code == 413:
            self.channel.oversized(self.request.path, self.request.headers.get("AUTHORIZATION"))


class _Channel(HTTPChannel):  # type: ignore[misc]
    """A connection whose request must be whole in time: to send a byte now and then does not keep it open."""

    error_task_class = _Refusal
    oversized: Oversized
    _unfinished: Any = None
    last_activity: float
    _began_at = 0.0

    def handle_read(self) -> None:
        super().handle_read()
        if self.request is not self._unfinished:
            self._unfinished, self._began_at = self.request, self.last_activity
        if self._unfinished is not None:
            self.last_activity = self._began_at


class _RestingLoop:
    """Waitress's loop, with a rest between two looks at the connections.

    A look costs some microseconds for each connection, quiet ones too, and every answer of every thread causes one:
    without a rest, 64 connections keep the interpreter busier with looking than with webhooks.
    """

    @staticmethod
    def loop(timeout: float, map: dict[int, Any], use_poll: bool) -> None:  # noqa: A002 - waitress names it
        while map:
            wasyncore.poll2(timeout, map)
            time.sleep(min(LONGEST_REST_SECONDS, REST_SECONDS_PER_CONNECTION * len(map)))


def listening(
    app: Flask,
    listen: str,
    max_body_bytes: int,
    idle_seconds: int = IDLE_SECONDS,
    oversized: Oversized = lambda path, authorization: None,
) -> Any:
    """Takes an application and where to listen, gives a server that waits for `run`.

    Args:
        idle_seconds: how long a request may take to arrive, and a connection may be silent.
        oversized: told of requests that are not even read.

    Raises:
        ConfigError: the address cannot be listened on.
    """
    host, _, port = listen.rpartition(":")
    dispatchers: dict[int, Any] = {}
    try:
        server = create_server(
            app,
            dispatchers,
            host=host.strip("[]"),
            port=int(port),
            threads=THREADS,
            connection_limit=CONNECTIONS,
            channel_timeout=idle_seconds,
            cleanup_interval=min(5, idle_seconds),
            max_request_header_size=HEADER_BYTES,
            # The application refuses with a better message; this bounds what is read before it is asked.
            max_request_body_size=2 * max_body_bytes,
            asyncore_use_poll=True,
            ident="alertbridge",
            clear_untrusted_proxy_headers=True,
        )
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {listen}: {error.strerror or error}; choose another --listen"
        ) from None
    server.asyncore = _RestingLoop
    channel_class = type("Channel", (_Channel,), {"oversized": staticmethod(oversized)})
    for dispatcher in dispatchers.values():
        if isinstance(dispatcher, BaseWSGIServer):
            dispatcher.channel_class = channel_class
    return server


def port_of(server: Any) -> int:
    """Takes a server, gives its port; of a host with several addresses, such as `localhost`, the first one's."""
    if isinstance(server, BaseWSGIServer):
        return int(server.effective_port)
    return int(server.effective_listen[0][1])
