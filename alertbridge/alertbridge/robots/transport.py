"""Carries one request to a robot's address and gives its answer, or why there is none.

Stands between the robots and the network: no redirect is followed, no cookie kept, no login taken from
~/.netrc; the proxies of the environment are honoured. No address and no foreign exception's text leaves here,
because both hold the token.
"""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http.cookiejar import DefaultCookiePolicy
from typing import Protocol

import requests
import urllib3.exceptions

from alertbridge.robots.connection import BoundedAdapter, keep_tokens_out_of_logs

# Every robot answers with a line of JSON; a gateway's error page may be anything.
MAX_ANSWER_BYTES = 64 * 1024

_HEADERS = {"Content-Type": "application/json; charset=utf-8", "Accept-Encoding": "identity"}


@dataclass(frozen=True)
class Answer:
    """What came back.

    Attributes:
        body: at most `MAX_ANSWER_BYTES` of it.
        date: the answering clock, seconds since the epoch; None if it did not say.
    """

    status: int
    body: bytes
    date: float | None = None


@dataclass(frozen=True)
class NoAnswer:
    """Nothing came back. `sent`: the request may have reached the robot all the same."""

    reason: str
    sent: bool


class Transport(Protocol):
    """Carries requests. Safe to be used from several threads at once."""

    def post(self, url: str, body: bytes) -> Answer | NoAnswer: ...

    def close(self) -> None: ...


class HttpTransport:
    """Carries requests over HTTP and keeps connections open between them.

    Args:
        timeout_seconds: for the whole answer, and again for sending the request.
        connect_seconds: for each address of the host.
    """

    def __init__(self, timeout_seconds: float = 5.0, connect_seconds: float = 3.05) -> None:
        self._timeouts = (min(connect_seconds, timeout_seconds), timeout_seconds)
        # A session serves one request at a time; as many are made as requests ever ran side by side.
        self._idle: deque[requests.Session] = deque()
        keep_tokens_out_of_logs()

    def post(self, url: str, body: bytes) -> Answer | NoAnswer:
        """Takes an address and a JSON body, gives the answer to one POST, or why there is none."""
        with self._session() as session:
            try:
                with session.post(
                    url,
                    data=body,
                    headers=_HEADERS,
                    timeout=self._timeouts,
                    allow_redirects=False,
                    stream=True,
                    auth=_no_login,
                ) as response:
                    content = response.raw.read(MAX_ANSWER_BYTES, decode_content=False)
                    return Answer(response.status_code, content, _date(response.headers.get("Date")))
            except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
                return self._no_answer(error)

    def close(self) -> None:
        """Closes the connections that no request is using."""
        while self._idle:
            self._idle.pop().close()

    @contextmanager
    def _session(self) -> Iterator[requests.Session]:
        try:
            session = self._idle.pop()
        except IndexError:
            session = _new_session()
        try:
            yield session
        finally:
            self._idle.append(session)

    def _no_answer(self, error: Exception) -> NoAnswer:
        causes = list(_causes(error))
        connect_seconds, timeout_seconds = self._timeouts
        if _any(causes, urllib3.exceptions.ProxyError, requests.exceptions.ProxyError):
            return NoAnswer(
                "the proxy of the environment (HTTPS_PROXY, HTTP_PROXY) did not serve", sent=False
            )
        if _any(causes, socket.gaierror):
            return NoAnswer("its name could not be looked up; is the network there?", sent=False)
        if _any(causes, urllib3.exceptions.SSLError, requests.exceptions.SSLError):
            return NoAnswer("its TLS certificate could not be checked", sent=False)
        # urllib3 counts a refused connection among the connect time-outs, so it is asked for first.
        if _any(causes, urllib3.exceptions.NewConnectionError):
            return NoAnswer(f"no connection ({_errno(causes)})", sent=False)
        if _any(causes, urllib3.exceptions.ConnectTimeoutError):
            return NoAnswer(f"no connection within {connect_seconds:g} s", sent=False)
        if _any(causes, urllib3.exceptions.ReadTimeoutError, TimeoutError):
            return NoAnswer(f"no whole answer within {timeout_seconds:g} s", sent=True)
        return NoAnswer("the connection broke before the answer was there", sent=True)


def _new_session() -> requests.Session:
    session = requests.Session()
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    for scheme in ("https://", "http://"):
        session.mount(scheme, BoundedAdapter(max_retries=0))
    return session


def _no_login(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Given as `auth`, keeps requests from looking for the host in ~/.netrc."""
    return request


def _date(header: str | None) -> float | None:
    try:
        return None if header is None else parsedate_to_datetime(header).timestamp()
    except (ValueError, OverflowError):
        return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Gives an exception and everything it was made from; urllib3 hides causes in `reason` and `args`."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if isinstance(one, BaseException) and id(one) not in seen:
            seen.add(id(one))
            yield one
            waiting += [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]


def _any(causes: list[BaseException], *kinds: type[BaseException]) -> bool:
    return any(isinstance(cause, kinds) for cause in causes)


def _errno(causes: list[BaseException]) -> str:
    for cause in causes:
        if isinstance(cause, OSError) and isinstance(cause.errno, int):
            return os.strerror(cause.errno).lower()
    return "refused"
