"""Sets right what was noted while the clock was ahead, once it has been set back.

Such a time lies further ahead than any that is noted on purpose. It is written anew, rather than only read
differently, so that it ages from now on. A call counts as made now, later than it was: no limit is exceeded.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, func, or_, select, update

from alertbridge.outbox.tables import calls, messages, robots

# How long a doubted message waits at most.
LONGEST_DOUBT_SECONDS = 450.0


def set_robots_right(connection: Connection, names: Sequence[str], now: float, lease_seconds: float) -> None:
    """Takes robots with calls in the future, lets those count as made now, and their pauses begin now."""
    limit = now + lease_seconds
    made_at = func.coalesce(calls.c.finished_at, calls.c.started_at)
    newest = select(calls.c.robot, func.max(made_at)).where(calls.c.robot.in_(names)).group_by(calls.c.robot)
    for robot, at in connection.execute(newest).all():
        if at > limit:
            ahead_seconds = at - now
            mine = update(robots).where(robots.c.robot == robot)
            connection.execute(mine.values(paused_until=robots.c.paused_until - ahead_seconds))
    for column in (calls.c.started_at, calls.c.finished_at):
        in_future = update(calls).where(calls.c.robot.in_(names), column > limit)
        connection.execute(in_future.values({column.name: now}))


def set_messages_right(connection: Connection, receiver: str, now: float, lease_seconds: float) -> bool:
    """Takes a receiver, shortens leases and delays that are longer than any; gives whether there was one."""
    lease_ends, due_at = now + lease_seconds, now + LONGEST_DOUBT_SECONDS
    mine = (messages.c.receiver == receiver, messages.c.state == "open")
    too_long = or_(messages.c.lease_until > lease_ends, messages.c.not_before > due_at)
    if connection.execute(select(messages.c.id).where(*mine, too_long).limit(1)).first() is None:
        return False
    for column, latest in ((messages.c.lease_until, lease_ends), (messages.c.not_before, due_at)):
        connection.execute(update(messages).where(*mine, column > latest).values({column.name: latest}))
    return True
