"""The HTTP server in front of the application: waitress, bounded in time, size and connections."""

from __future__ import annotations

import time
from typing import Any, Protocol

from flask import Flask
from waitress import wasyncore
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.server import BaseWSGIServer, create_server
from waitress.task import ErrorTask
from waitress.utilities import BadRequest

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
# A body up to this size is read before the application is asked who sends it.
STRANGERS_BYTES = 65_536
TOO_LARGE = 413


class Doorkeeper(Protocol):
    """What the application says about requests that it does not get to see."""

    def admits(self, authorization: str | None) -> bool:
        """Takes a request's Authorization header, gives whether it may send something large."""

    def oversized(self, path: str) -> None:
        """Takes the address of a request whose body is too large to be read."""


class OpenDoor:
    """Lets everybody in."""

    def admits(self, authorization: str | None) -> bool:
        return True

    def oversized(self, path: str) -> None:
        """Tells nobody."""


class _Stranger(BadRequest):  # type: ignore[misc]
    code = 403
    reason = "Forbidden"


class _Parser(HTTPRequestParser):  # type: ignore[misc]
    """Refuses, before its body is read, what is ambiguous, and what is large and comes from a stranger.

    A body is kept in a file until it is whole, so strangers could fill the disk.
    """

    doorkeeper: Doorkeeper
    error: BadRequest | None
    completed: bool

    def received(self, data: bytes) -> int:
        begun = self.headers_finished
        consumed = int(super().received(data))
        if self.headers_finished and not begun and (self.error is None or self.error.code == TOO_LARGE):
            self.error = self._refusal() or self.error
            self.completed = self.completed or self.error is not None
        return consumed

    def _refusal(self) -> BadRequest | None:
        # A proxy that goes by the one and a server that goes by the other see different requests.
        # Source: RFC 9112, section 6.3.
        if self.chunked and "CONTENT_LENGTH" in self.headers:
            return BadRequest("both Content-Length and Transfer-Encoding are given")
        large = self.chunked or self.content_length > STRANGERS_BYTES
        if large and not self.doorkeeper.admits(self.headers.get("AUTHORIZATION")):
            return _Stranger("a credential is needed; see Alertmanager's http_config")
        return None


class _Refusal(ErrorTask):  # type: ignore[misc]
    """The answer to what waitress refuses by itself; the application would never know."""

    def execute(self) -> None:
        super().execute()
        if self.request.error.code == TOO_LARGE:
            self.request.doorkeeper.oversized(self.request.path)


class _Channel(HTTPChannel):  # type: ignore[misc]
    """A connection whose request must be whole in time: to send a byte now and then does not keep it open."""

    error_task_class = _Refusal
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
    doorkeeper: Doorkeeper | None = None,
) -> Any:
    """Takes an application and where to listen, gives a server that waits for `run`.

    Args:
        idle_seconds: how long a request may take to arrive, and a connection may be silent.
        doorkeeper: asked about large requests; absent: everybody may send them.

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
    # Waitress makes parsers and connections of classes, and gives them nothing of ours.
    parser_class = type("Parser", (_Parser,), {"doorkeeper": doorkeeper or OpenDoor()})
    channel_class = type("Channel", (_Channel,), {"parser_class": parser_class})
    for dispatcher in dispatchers.values():
        if isinstance(dispatcher, BaseWSGIServer):
            dispatcher.channel_class = channel_class
    return server


def port_of(server: Any) -> int:
    """Takes a server, gives its port; of a host with several addresses, such as `localhost`, the first one's."""
    if isinstance(server, BaseWSGIServer):
        return int(server.effective_port)
    return int(server.effective_listen[0][1])
