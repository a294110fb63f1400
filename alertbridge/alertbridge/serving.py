"""Runs the application: waitress in front, signals, an orderly end."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from flask import Flask
from waitress.channel import HTTPChannel
from waitress.server import BaseWSGIServer, create_server

from alertbridge.bridge import Bridge
from alertbridge.errors import AlertbridgeError, ConfigError

log = logging.getLogger(__name__)

# One commit stores what all threads hold, so they also bound how much shares one.
THREADS = 16
CONNECTIONS = 1000
# A connection that is idle or whose request does not end is closed after this; Alertmanager opens a new one.
IDLE_SECONDS = 30
HEADER_BYTES = 65_536
STOP_SECONDS = 10.0


def serve(app: Flask, listen: str, announce: Callable[[str], None]) -> None:
    """Serves until SIGTERM or SIGINT, then ends in order: no new webhooks, sends in progress get their time.

    Args:
        listen: HOST:PORT; port 0 picks a free one.
        announce: called with the address once it can be reached.

    Raises:
        ConfigError: the address cannot be listened on.
    """
    bridge: Bridge = app.extensions["alertbridge"]
    server = listening(app, listen, bridge.settings.max_body_bytes)
    host = listen.rpartition(":")[0]
    bridge.start()
    try:
        _handle_signals(bridge)
        announce(f"http://{host}:{port_of(server)}")
        server.run()
    finally:
        server.close()
        log.info("stopping: messages that are being sent get %g s", STOP_SECONDS)
        bridge.stop(STOP_SECONDS)
        bridge.outbox.close()


class _Channel(HTTPChannel):  # type: ignore[misc]
    """A connection whose request must be whole in time: to send a byte now and then does not keep it open."""

    _unfinished: Any = None
    last_activity: float
    _began_at = 0.0

    def handle_read(self) -> None:
        super().handle_read()
        if self.request is not self._unfinished:
            self._unfinished, self._began_at = self.request, self.last_activity
        if self._unfinished is not None:
            self.last_activity = self._began_at


def listening(app: Flask, listen: str, max_body_bytes: int, idle_seconds: int = IDLE_SECONDS) -> Any:
    """Takes an application and where to listen, gives a server that waits for `run`.

    Args:
        idle_seconds: how long a request may take to arrive, and a connection may be silent.

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
    for dispatcher in dispatchers.values():
        if isinstance(dispatcher, BaseWSGIServer):
            dispatcher.channel_class = _Channel
    return server


def port_of(server: Any) -> int:
    """Takes a server, gives its port; of a host with several addresses, such as `localhost`, the first one's."""
    if isinstance(server, BaseWSGIServer):
        return int(server.effective_port)
    return int(server.effective_listen[0][1])


def _handle_signals(bridge: Bridge) -> None:
    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(0)

    def reload(number: int, frame: FrameType | None) -> None:
        # Reading files and stopping threads does not belong into a signal handler.
        threading.Thread(target=_reload, args=(bridge,), name="alertbridge-reload", daemon=True).start()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGHUP, reload)


def _reload(bridge: Bridge) -> None:
    try:
        bridge.reload()
    except AlertbridgeError:
        # Said and counted where it happened.
        return
