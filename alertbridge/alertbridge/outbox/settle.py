"""Writes down how an attempt ended: in the message, in its notifications, in the robot's state."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from sqlalchemy import Connection, func, insert, literal, select, update

from alertbridge.backoff import delay_seconds
from alertbridge.outbox.claim import RICH_DOUBTS, Claim
from alertbridge.outbox.doubt import at_fault, delay_in_doubt_seconds, part, try_again_soon
from alertbridge.outbox.tables import calls, messages, notifications, robots

Kind = Literal["delivered", "later", "limited", "never"]


@dataclass(frozen=True)
class Attempt:
    """How an attempt ended.

    Attributes:
        reason: for people; holds no secret.
        pause_seconds: how long the robot asks to be left alone; 0 leaves it to the back-off.
        month: like 2026-11, in the robot's own time zone; calls are counted per month.
        chance: in [0, 1), spreads the back-off.
        unanswered: whether the robot may have shown the message nevertheless.
        doubtful: whether the message may be at fault, rather than the robot.
        more_calls: calls reserved beyond the claim's own; a message that is refused for its form is sent in
            another one.
    """

    kind: Kind
    errcode: str = ""
    reason: str = ""
    pause_seconds: float = 0.0
    month: str = ""
    chance: float = 0.5
    unanswered: bool = False
    doubtful: bool = False
    more_calls: tuple[int, ...] = ()


@dataclass(frozen=True)
class Settled:
    """What became of the message: it is out, to be tried again, or dead.

    Attributes:
        fallback: the receiver that tells it instead, if there is one.
        month_calls: how many calls the robot has had this month, this one included.
    """

    state: Literal["delivered", "open", "dead"]
    fallback: str = ""
    month_calls: int = 0


def settle(
    connection: Connection,
    claim: Claim,
    attempt: Attempt,
    now: float,
    *,
    others: frozenset[str],
    horizon_seconds: float,
    fallback: str | None,
) -> Settled:
    """Takes a claim and how its attempt ended, writes it down, gives what became of the message.

    Args:
        others: the receiver's robots; one that has not refused the message yet tries it next.
        horizon_seconds: how long after the first attempt one more is made.
        fallback: the receiver that is told what this one's robots refuse.
    """
    made = [claim.call_id, *attempt.more_calls]
    connection.execute(update(calls).where(calls.c.id.in_(made)).values(finished_at=now))
    month_calls = _note_robot(connection, claim, attempt, now)
    settled = _settle_message(connection, claim, attempt, now, others, horizon_seconds, fallback)
    return replace(settled, month_calls=month_calls)


def _settle_message(
    connection: Connection,
    claim: Claim,
    attempt: Attempt,
    now: float,
    others: frozenset[str],
    horizon_seconds: float,
    fallback: str | None,
) -> Settled:
    message = connection.execute(
        select(messages).where(messages.c.id == claim.message_id).with_for_update()
    ).first()
    if message is None or message.state != "open":
        return Settled("dead" if message is not None and message.state == "dead" else "delivered")
    if attempt.kind == "delivered":
        return _delivered(connection, claim, now)
    if message.attempts != claim.attempt:
        # The lease ran out and somebody else tries it now; their answer counts.
        return Settled("open")
    is_at_fault = attempt.doubtful and at_fault(connection, message)
    if is_at_fault and part(connection, message, now):
        return Settled("open")
    if attempt.kind == "never" or (is_at_fault and message.doubts >= RICH_DOUBTS):
        refused = {*message.refused_by.split(), claim.robot}
        if others <= refused:
            return _dead(connection, message, attempt, attempt.reason, now, fallback)
        _again(connection, message, attempt, refused_by=" ".join(sorted(refused)))
        return Settled("open")
    if _expire(connection, message.id, now - horizon_seconds):
        reason = f"gave up after {horizon_seconds / 3600:g} h; last: {attempt.reason}"
        return _dead(connection, message, attempt, reason, now, fallback)
    changes: dict[str, object] = {"unanswered": message.unanswered or attempt.unanswered}
    if attempt.doubtful:
        seconds = delay_in_doubt_seconds(message.doubts + 1, attempt.chance, attempt.pause_seconds)
        changes |= {"doubts": message.doubts + 1, "not_before": now + seconds}
    _again(connection, message, attempt, **changes)
    return Settled("open")


def _expire(connection: Connection, message_id: int, before: float) -> bool:
    """Gives whether some of a message was first tried before that time; what is younger then waits again."""
    mine = notifications.c.message_id == message_id
    oldest = connection.execute(select(func.min(notifications.c.tried_at)).where(mine)).scalar_one()
    if oldest is None or oldest > before:
        return False
    connection.execute(
        update(notifications)
        .where(mine, notifications.c.tried_at > before)
        .values(state="waiting", message_id=None)
    )
    return True


def _note_robot(connection: Connection, claim: Claim, attempt: Attempt, now: float) -> int:
    """Counts the call, and pauses the robot if it could not take the message; gives the month's calls."""
    robot = claim.robot
    row = connection.execute(select(robots).where(robots.c.robot == robot).with_for_update()).one()
    month_calls = int(row.month_messages if row.month == attempt.month else 0) + 1 + len(attempt.more_calls)
    values: dict[str, object] = {
        "month": attempt.month,
        "month_messages": month_calls,
    }
    if attempt.kind == "delivered":
        values |= {"failures": 0, "limited": False}
        if row.failures:
            try_again_soon(connection, claim.receiver, now)
    elif attempt.doubtful and (claim.doubts or not row.failures):
        # One message may be at fault itself. A second one in a row tells that it is the robot.
        values |= {"failures": max(1, row.failures)}
    elif attempt.kind in ("later", "limited"):
        failures = row.failures + 1
        pause_seconds = max(attempt.pause_seconds, delay_seconds(failures, attempt.chance))
        values |= {"failures": failures, "limited": attempt.kind == "limited"}
        values["paused_until"] = max(row.paused_until, now + pause_seconds)
    connection.execute(update(robots).where(robots.c.robot == robot).values(**values))
    return month_calls


def _delivered(connection: Connection, claim: Claim, now: float) -> Settled:
    connection.execute(
        update(messages)
        .where(messages.c.id == claim.message_id)
        .values(state="delivered", lease_until=None, settled_at=now, errcode="0", reason="")
    )
    connection.execute(
        update(notifications)
        .where(notifications.c.message_id == claim.message_id)
        .values(state="delivered", settled_at=now)
    )
    return Settled("delivered")


def _again(connection: Connection, message: Any, attempt: Attempt, **changes: object) -> None:
    # When it may go again is the robot's matter: its pause was noted above.
    connection.execute(
        update(messages)
        .where(messages.c.id == message.id)
        .values(lease_until=None, errcode=attempt.errcode, reason=attempt.reason, **changes)
    )


def _dead(
    connection: Connection,
    message: Any,
    attempt: Attempt,
    reason: str,
    now: float,
    fallback: str | None,
) -> Settled:
    connection.execute(
        update(messages)
        .where(messages.c.id == message.id)
        .values(state="dead", lease_until=None, settled_at=now, errcode=attempt.errcode, reason=reason)
    )
    mine = notifications.c.message_id == message.id
    connection.execute(update(notifications).where(mine).values(state="dead", settled_at=now))
    if fallback is None:
        return Settled("dead")
    columns = ["receiver", "group_hash", "critical", "body", "received_at", "state", "path"]
    path = notifications.c.path + message.receiver + " "
    told_instead = select(
        literal(fallback),
        notifications.c.group_hash,
        notifications.c.critical,
        notifications.c.body,
        notifications.c.received_at,
        literal("waiting"),
        path,
    ).where(mine, ~(" " + notifications.c.path).contains(f" {fallback} ", autoescape=True))
    in_order = told_instead.order_by(notifications.c.id)
    moved = insert(notifications).from_select(columns, in_order).returning(notifications.c.id)
    return Settled("dead", fallback if connection.execute(moved).first() else "")
