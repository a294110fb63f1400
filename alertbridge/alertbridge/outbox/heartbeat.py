"""Remembers when a receiver's monitoring, or the bridge itself, was last alive, and whether a silence has been told."""

from __future__ import annotations

from sqlalchemy import Connection, delete, select

from alertbridge.outbox.tables import HEARTBEATS, seen
from alertbridge.outbox.upsert import upsert

_BEAT, _SILENCE, _BRIDGE = "", "silence", "the bridge"
# No receiver is called so.
_NOBODY = ""


def beat(connection: Connection, receiver: str, now: float) -> None:
    """Notes that the monitoring behind a receiver was alive at this time."""
    _note(connection, receiver, _BEAT, now)


def last_beat(connection: Connection, receiver: str) -> float | None:
    """Gives when a receiver's monitoring was last known to be alive."""
    return _noted(connection, receiver, _BEAT)


def note_silence(connection: Connection, receiver: str, since: float | None) -> None:
    """Notes that people were told of a silence, and since when it lasts; or, by None, that it is over."""
    if since is not None:
        _note(connection, receiver, _SILENCE, since)
        return
    mine = (seen.c.key == HEARTBEATS + receiver, seen.c.source == _SILENCE)
    connection.execute(delete(seen).where(*mine))


def silent_since(connection: Connection, receiver: str) -> float | None:
    """Gives since when the silence lasts that people were told of; None if they were told of none."""
    return _noted(connection, receiver, _SILENCE)


def note_alive(connection: Connection, now: float) -> None:
    """Notes that a bridge, this one or another on the same store, is alive."""
    _note(connection, _NOBODY, _BRIDGE, now)


def last_alive(connection: Connection) -> float | None:
    """Gives when a bridge was last known to be alive."""
    return _noted(connection, _NOBODY, _BRIDGE)


def _note(connection: Connection, receiver: str, what: str, at: float) -> None:
    row = {"key": HEARTBEATS + receiver, "source": what, "sent_at": at, "accepted_at": at}
    upsert(connection, seen, [{**row, "group_key": "", "repeated": False}])


def _noted(connection: Connection, receiver: str, what: str) -> float | None:
    query = select(seen.c.sent_at).where(seen.c.key == HEARTBEATS + receiver, seen.c.source == what)
    return connection.execute(query).scalar()
