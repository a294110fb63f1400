"""HTTP on one connection: h11 reads the requests, a handler answers them, a timer ends the silence."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import h11

# A request of ours is a line and some headers.
REQUEST_SIZE_LIMIT_BYTES = 16 * 1024


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
