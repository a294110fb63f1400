"""Remembers when a receiver's monitoring was last alive, and whether its silence has been told."""

from __future__ import annotations

from sqlalchemy import Connection, delete, select

from alertbridge.outbox.tables import HEARTBEATS, seen
from alertbridge.outbox.upsert import upsert

_BEAT, _SILENCE = "", "silence"


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


def _note(connection: Connection, receiver: str, what: str, at: float) -> None:
    upsert(
        connection, seen, [{"key": HEARTBEATS + receiver, "source": what, "sent_at": at, "accepted_at": at}]
    )


def _noted(connection: Connection, receiver: str, what: str) -> float | None:
    query = select(seen.c.sent_at).where(seen.c.key == HEARTBEATS + receiver, seen.c.source == what)
    return connection.execute(query).scalar()
