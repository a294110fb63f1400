"""What people and metrics ask of the outbox, and the forgetting of what is over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, Table, delete, func, select, tuple_, update

from alertbridge.identity import FIRST_SECONDS, PAIR_SECONDS, STALE_SECONDS
from alertbridge.outbox.tables import HEARTBEATS, calls, messages, notifications, resolved, robots, seen

DELIVERED_DAYS = 7
DEAD_DAYS = 30
DAY_SECONDS = 86_400.0
# Longer than every window of `identity`.
SEEN_SECONDS = 2 * max(FIRST_SECONDS, PAIR_SECONDS, STALE_SECONDS)
# Bounds the time for which one sweep holds the store.
SWEEP_ROWS = 1000


@dataclass(frozen=True)
class Count:
    """How many notifications of a receiver are in a state, and when the oldest of them came."""

    receiver: str
    state: str
    notifications: int
    oldest: float


@dataclass(frozen=True)
class RobotNote:
    """What the store knows of a robot, for metrics."""

    paused_until: float
    limited: bool
    month: str
    month_messages: int


@dataclass(frozen=True)
class Entry:
    """One notification as `alertbridge outbox list` shows it."""

    id: int
    receiver: str
    state: str
    received_at: float
    attempts: int
    errcode: str
    reason: str
    body: str


def counts(connection: Connection) -> list[Count]:
    """Gives the number of notifications of each receiver and state."""
    query = select(
        notifications.c.receiver,
        notifications.c.state,
        func.count().label("number"),
        func.min(notifications.c.received_at).label("oldest"),
    ).group_by(notifications.c.receiver, notifications.c.state)
    return [Count(row.receiver, row.state, row.number, row.oldest) for row in connection.execute(query)]


def robot_notes(connection: Connection) -> dict[str, RobotNote]:
    """Gives pause and month of each robot that was ever called."""
    return {
        row.robot: RobotNote(row.paused_until, row.limited, row.month, row.month_messages)
        for row in connection.execute(select(robots))
    }


def entries(
    connection: Connection, states: Sequence[str], receiver: str | None = None, limit: int = 100
) -> list[Entry]:
    """Takes states and perhaps a receiver, gives the notifications in them, newest first."""
    query = (
        select(notifications, messages.c.attempts, messages.c.errcode, messages.c.reason)
        .join(messages, messages.c.id == notifications.c.message_id, isouter=True)
        .where(notifications.c.state.in_(states))
        .order_by(notifications.c.id.desc())
        .limit(limit)
    )
    if receiver is not None:
        query = query.where(notifications.c.receiver == receiver)
    return [
        Entry(
            id=row.id,
            receiver=row.receiver,
            state=row.state,
            received_at=row.received_at,
            attempts=row.attempts or 0,
            errcode=row.errcode or "",
            reason=row.reason or "",
            body=row.body,
        )
        for row in connection.execute(query)
    ]


def has_work(connection: Connection, receiver: str) -> bool:
    """Gives whether anything of this receiver still has to be told."""
    query = (
        select(notifications.c.id)
        .where(notifications.c.receiver == receiver, notifications.c.state.in_(["waiting", "sending"]))
        .limit(1)
    )
    return connection.execute(query).first() is not None


def retry(connection: Connection, ids: Sequence[int] | None) -> int:
    """Takes ids of dead notifications, or none for all of them, lets them wait again; gives how many."""
    query = update(notifications).where(notifications.c.state == "dead")
    if ids is not None:
        query = query.where(notifications.c.id.in_(ids))
    return connection.execute(
        query.values(state="waiting", message_id=None, settled_at=None, tried_at=None)
    ).rowcount


def drop(connection: Connection, ids: Sequence[int] | None) -> int:
    """Takes ids of dead or waiting notifications, or none for all dead ones, deletes them; gives how many."""
    query = delete(notifications)
    if ids is None:
        query = query.where(notifications.c.state == "dead")
    else:
        query = query.where(notifications.c.id.in_(ids), notifications.c.state.in_(["dead", "waiting"]))
    return connection.execute(query).rowcount


def release_leases(connection: Connection, now: float) -> int:
    """Makes every message that was being sent due at once, and ends the calls that were running; gives how many.

    For a start after a crash, when it is sure that nobody else sends.
    """
    connection.execute(update(calls).where(calls.c.finished_at.is_(None)).values(finished_at=now))
    query = update(messages).where(messages.c.state == "open", messages.c.lease_until.is_not(None))
    return connection.execute(query.values(lease_until=None, unanswered=True)).rowcount


def sweep(connection: Connection, now: float, longest_window_seconds: float) -> int:
    """Forgets what is over: told and dead notifications after days, calls and duplicates' traces after hours.

    Never anything that still has to be told. Gives how many rows it deleted; from SWEEP_ROWS on there may be more.
    """
    deleted = 0
    for state, days in (("delivered", DELIVERED_DAYS), ("dead", DEAD_DAYS)):
        before = now - days * DAY_SECONDS
        for table in (notifications, messages):
            deleted += _forget(connection, table, table.c.state == state, table.c.settled_at < before)
    over = calls.c.started_at < now - max(longest_window_seconds * 2, DAY_SECONDS)
    deleted += _forget(connection, calls, over)
    deleted += _forget(
        connection, seen, seen.c.sent_at < now - SEEN_SECONDS, ~seen.c.key.startswith(HEARTBEATS)
    )
    deleted += _forget(connection, resolved, resolved.c.seen_at < now - STALE_SECONDS)
    return deleted


def _forget(connection: Connection, table: Table, *which: ColumnElement[bool]) -> int:
    key = table.primary_key.columns
    some = select(*key).where(*which).limit(SWEEP_ROWS)
    return connection.execute(delete(table).where(tuple_(*key).in_(some))).rowcount
