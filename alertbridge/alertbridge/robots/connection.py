"""HTTP connections whose whole answer must have come by a deadline, and whose logs hold no token.

The time-outs of `requests` count from one received piece to the next: a robot that answers one byte a second
keeps its caller for hours. Here the read time-out bounds headers and body together.
"""

from __future__ import annotations

import http.client
import io
import logging
import socket
import time
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

from alertbridge.secret import mask


class _UntilDeadline(io.RawIOBase):
    """A socket's bytes, as long as there is time left."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._socket = sock
        self._bytes = sock.makefile("rb", buffering=0)
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left_seconds = self._deadline - time.monotonic()
        if left_seconds <= 0:
            raise TimeoutError("timed out")
        self._socket.settimeout(left_seconds)
        return self._bytes.readinto(buffer)

    def close(self) -> None:
        self._bytes.close()
        super().close()


class _BoundedResponse(http.client.HTTPResponse):
    """An answer that has the socket's time-out for all of itself."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        seconds = sock.gettimeout()
        if seconds is not None:
            self.fp.close()
            self.fp = io.BufferedReader(_UntilDeadline(sock, time.monotonic() + seconds))


class _BoundedHTTPConnection(HTTPConnection):
    response_class = _BoundedResponse


class _BoundedHTTPSConnection(HTTPSConnection):
    response_class = _BoundedResponse


class _HTTPPool(HTTPConnectionPool):
    ConnectionCls = _BoundedHTTPConnection


class _HTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _BoundedHTTPSConnection


_POOLS = {"http": _HTTPPool, "https": _HTTPSPool}


class BoundedAdapter(HTTPAdapter):
    """Mounted in a `requests` session, makes its connections of the kinds above, through a proxy too."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **proxy_kwargs)
        if not proxy.lower().startswith("socks"):
            manager.pool_classes_by_scheme = _POOLS
        return manager


class _MaskTokens(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = mask(record.getMessage()), ()
        return True


_MASK_TOKENS = _MaskTokens()


def keep_tokens_out_of_logs() -> None:
    """Masks what urllib3 logs: the path of each call at DEBUG, that of an odd answer at WARNING."""
    for name in ("urllib3.connection", "urllib3.connectionpool"):
        # Adding a filter that is there already changes nothing.
        logging.getLogger(name).addFilter(_MASK_TOKENS)
