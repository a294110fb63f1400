"""The socket the endpoint listens on, and the certificate it shows."""

from __future__ import annotations

import errno
import socket
import ssl
from pathlib import Path

from .errors import ServeError
from .troubles import LOGGER

BACKLOG = 128


def listen(addr: str, port: int, holder: str | None = None) -> socket.socket:
    """Gives a listening socket on `addr`, on `port` or, if that cannot be had, on a free one.

    Args:
        holder: The run of this process that serves on `port`, if one does.

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
        _bind(listener, addr, target, holder)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def tls_context(cert: Path, key: Path | None) -> ssl.SSLContext:
    """Gives what is needed to serve HTTPS with a certificate.

    Raises:
        ServeError: If the certificate and its key cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # Without a password given, OpenSSL would ask for one on the terminal.
        context.load_cert_chain(cert, key, password="")
    except (OSError, ValueError) as error:
        raise ServeError(
            f"cannot serve HTTPS with {cert} and {key or cert}: {error}; give a certificate chain and its "
            "unencrypted key in PEM (arguments tls_cert=, tls_key=, environment EPOCHWATCH_TLS_CERT, "
            "EPOCHWATCH_TLS_KEY)"
        ) from error
    return context


def _bind(listener: socket.socket, addr: str, target: tuple[object, ...], holder: str | None) -> None:
    port = target[1]
    try:
        listener.bind(target)
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise _no_such_address(addr, error) from error
        listener.bind((target[0], 0, *target[2:]))
        why = "is taken" if error.errno == errno.EADDRINUSE else "needs rights this process has not"
        if holder is not None:
            why = f"is held by run {holder!r} of this process, until its finish() is called"
        LOGGER.warning("port %s %s; serving on port %s", port, why, listener.getsockname()[1])


def _no_such_address(addr: str, error: OSError) -> ServeError:
    return ServeError(
        f"cannot serve on addr={addr!r}: {error.strerror or error}; give an address of this machine, "
        '"0.0.0.0" for all (argument addr=, environment EPOCHWATCH_ADDR)'
    )
