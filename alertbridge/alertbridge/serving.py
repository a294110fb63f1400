"""Runs the application: threads, signals, an orderly end."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable
from types import FrameType

from flask import Flask

from alertbridge.allocator import share_one_arena
from alertbridge.app import Doorkeeper
from alertbridge.bridge import Bridge
from alertbridge.errors import AlertbridgeError
from alertbridge.listening import listening, port_of

log = logging.getLogger(__name__)

STOP_SECONDS = 10.0


def serve(app: Flask, listen: str, announce: Callable[[str], None]) -> None:
    """Serves until SIGTERM or SIGINT, then ends in order: no new webhooks, sends in progress get their time.

    Args:
        listen: HOST:PORT; port 0 picks a free one.
        announce: called with the address once it can be reached.

    Raises:
        ConfigError: the address cannot be listened on.
    """
    share_one_arena()
    bridge: Bridge = app.extensions["alertbridge"]
    server = listening(app, listen, bridge.settings.max_body_bytes, doorkeeper=Doorkeeper(app))
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
