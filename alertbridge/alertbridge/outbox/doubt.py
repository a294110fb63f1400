"""What to do with a message when an answer leaves open whether it is at fault, or the robot.

It waits by itself while others go, and goes out as plain text after a few such answers. Once the robot has meanwhile
taken something else it is not the robot: a digest is then parted to find the culprit, and what was refused as plain
text too is given up. Until then nothing is.
"""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import Connection, delete, exists, func, insert, select, update

from alertbridge.backoff import delay_seconds
from alertbridge.outbox.claim import RICH_DOUBTS
from alertbridge.outbox.setback import LONGEST_DOUBT_SECONDS
from alertbridge.outbox.tables import messages, notifications

# Its chance spreads the back-off to one and a half of this.
LONGEST_DELAY_SECONDS = LONGEST_DOUBT_SECONDS / 1.5
# How soon a doubted message is tried again once its robot has taken another one.
SOON_SECONDS = 10.0


def delay_in_doubt_seconds(doubts: int, chance: float, asked_seconds: float) -> float:
    """Takes how many answers left it open and how long the robot asks for, gives how long this message waits."""
    own_seconds = delay_seconds(doubts, chance, LONGEST_DELAY_SECONDS)
    return min(max(own_seconds, asked_seconds), LONGEST_DOUBT_SECONDS)


def at_fault(connection: Connection, message: Any) -> bool:
    """Takes a message whose answer left it open, gives whether it is at fault.

    It is if that has happened often enough, and the robot has taken another one since it was made.
    """
    if message.doubts + 1 < RICH_DOUBTS:
        return False
    taken = exists().where(
        messages.c.receiver == message.receiver,
        messages.c.state == "delivered",
        messages.c.robot == message.robot,
        messages.c.settled_at > message.created_at,
    )
    return bool(connection.execute(select(taken)).scalar())


def try_again_soon(connection: Connection, receiver: str, now: float) -> None:
    """Takes a receiver whose robot takes messages again, lets none that was doubted wait for its whole delay."""
    soon = now + SOON_SECONDS
    doubted = (messages.c.receiver == receiver, messages.c.state == "open", messages.c.not_before > soon)
    connection.execute(update(messages).where(*doubted).values(not_before=soon))


def part(connection: Connection, message: Any, now: float) -> bool:
    """Makes a message of each half of a digest, lest all its groups suffer for one; gives whether it is a digest."""
    mine = notifications.c.message_id == message.id
    groups = connection.execute(
        select(notifications.c.group_hash, func.max(notifications.c.critical).label("critical"))
        .where(mine)
        .group_by(notifications.c.group_hash)
        .order_by(func.min(notifications.c.id))
    ).all()
    if len(groups) < 2:
        return False
    middle = len(groups) // 2
    for half in (groups[:middle], groups[middle:]):
        made = _new_message(connection, message, max(group.critical for group in half), now)
        of_half = notifications.c.group_hash.in_([group.group_hash for group in half])
        connection.execute(update(notifications).where(mine, of_half).values(message_id=made))
    connection.execute(delete(messages).where(messages.c.id == message.id))
    return True


def _new_message(connection: Connection, message: Any, critical: int, now: float) -> int:
    made = insert(messages).values(
        uuid=str(uuid.uuid4()),
        receiver=message.receiver,
        critical=critical,
        state="open",
        created_at=now,
        attempts=0,
        robot="",
        refused_by="",
        unanswered=False,
        doubts=0,
        errcode=message.errcode,
        reason=message.reason,
    )
    return int(connection.execute(made.returning(messages.c.id)).scalar_one())
