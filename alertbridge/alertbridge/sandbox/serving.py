"""Serves the sandbox with waitress."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

from flask import Flask
from waitress import wasyncore
from waitress.server import create_server

from alertbridge.errors import ConfigError

# Each call that hangs in a failure mode holds one.
THREADS = 24
CLOSE_SECONDS = 2.0


class SandboxServer:
    """The sandbox on a port, reachable from the moment it is made.

    Args:
        listen: HOST:PORT; port 0 picks a free one.

    Raises:
        ConfigError: the address cannot be listened on.
    """

    def __init__(self, app: Flask, listen: str) -> None:
        listener = _listener(listen)
        self._thread: threading.Thread | None = None
        self._sockets: dict[int, Any] = {}
        self._left: dict[int, Any] = {}
        self._let_go: Callable[[], None] = app.extensions["sandbox"].switch.let_go
        self._ended = threading.Event()
        self._ended.set()
        self._server: Any = create_server(
            app,
            map=self._sockets,
            sockets=[listener],
            threads=THREADS,
            # Lets a hanging call see that its caller has gone.
            channel_request_lookahead=1,
            asyncore_use_poll=True,
            ident="sandbox",
            clear_untrusted_proxy_headers=True,
        )
        self.url = f"http://{listen.rpartition(':')[0]}:{listener.getsockname()[1]}"

    def __enter__(self) -> SandboxServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Serves in a thread of its own until `close`."""
        self._thread = threading.Thread(target=self.run, name="sandbox", daemon=True)
        self._ended.clear()
        self._thread.start()

    def run(self) -> None:
        """Serves until SystemExit or KeyboardInterrupt is raised in this thread, or `close` called in another."""
        self._ended.clear()
        try:
            self._server.run()
        finally:
            self._ended.set()

    def close(self) -> None:
        """Stops listening, lets calls in progress end, hangs up."""
        self._let_go()
        if not self._ended.is_set():
            trigger = next(one for one in self._sockets.values() if hasattr(one, "pull_trigger"))
            trigger.pull_trigger(self._leave_the_loop)
            self._ended.wait(CLOSE_SECONDS)
        if self._thread is not None:
            self._thread.join(CLOSE_SECONDS)
        self._leave_the_loop()
        # The threads write to the loop's pipe when they are done, so they end before it is closed.
        self._server.task_dispatcher.shutdown(timeout=CLOSE_SECONDS)
        wasyncore.close_all(self._left, ignore_all=True)

    def _leave_the_loop(self) -> None:
        """Ends waitress's loop, which goes on for as long as it has sockets to watch."""
        self._left.update(self._sockets)
        self._sockets.clear()


def _listener(listen: str) -> socket.socket:
    """Listens before waitress is made, which leaves threads and sockets behind when it cannot."""
    host, _, port = listen.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise ConfigError(f"--listen {listen}: write HOST:PORT, for example 127.0.0.1:8070")
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    try:
        return socket.create_server((host.strip("[]"), int(port)), family=family, backlog=128)
    except (OSError, UnicodeError) as error:
        # create_server adds the address to the system's words; a failed look-up has negative numbers.
        number = getattr(error, "errno", None) or 0
        said = os.strerror(number) if number > 0 else getattr(error, "strerror", None) or error
        raise ConfigError(f"cannot listen on {listen}: {said}; choose another --listen") from None
