"""Chooses what is told next and through which robot, and reserves both in one transaction.

Open messages that are due come first; then the waiting notifications of one alert group become a message,
or those of all groups become a digest when they do not fit one by one, or have been held up.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from sqlalchemy import (
    BindParameter,
    Connection,
    LargeBinary,
    Select,
    bindparam,
    cast,
    delete,
    exists,
    func,
    insert,
    select,
    update,
)

from alertbridge.outbox.robotstate import (
    RobotPlan,
    RobotState,
    lock,
    lock_robots,
    robot_states,
    true_robot_states,
)
from alertbridge.outbox.setback import set_messages_right
from alertbridge.outbox.tables import calls, messages, notifications

# A robot may have shown a message it did not answer; after this many attempts another one may try.
FAITHFUL_ATTEMPTS = 3
# Nor is a robot waited for that is left alone for longer: shown twice is better than told late.
FAITHFUL_SECONDS = 30.0
# After so many answers that leave open whether the message is at fault, it goes out as plain text.
RICH_DOUBTS = 3
# What has waited longer than this was held up, and is told as a digest.
HELD_UP_SECONDS = 5.0
# As many as one message names; the rest is told in the next one rather than only counted.
DIGEST_GROUPS = 100
DIGEST_NOTIFICATIONS = 1000
# What one message is made of. If all its alerts differ they take four times as much memory while it is made.
MESSAGE_BYTES = 16 * 1024 * 1024
# How many webhooks are in memory before they are merged.
READ_AT_ONCE = 10


@dataclass(frozen=True)
class Claim:
    """A message that this process may send now, until the lease ends.

    Attributes:
        attempt: 1 for the first; also tells this claim from a later one of the same message.
        received_at: when the webhooks came that it tells, seconds since the epoch, oldest first.
        groups: of how many alert groups they are; more than one make a digest.
        held_up_by: why several are told at once.
        doubts: how many answers have left open whether this message is at fault, or the robot.
    """

    message_id: int
    uuid: str
    receiver: str
    attempt: int
    robot: str
    call_id: int
    received_at: tuple[float, ...]
    groups: int
    held_up_by: Literal["limited", "outage"]
    doubts: int = 0

    @property
    def plain(self) -> bool:
        """Whether it goes out as plain text, which more robots take, and is made without any template."""
        return self.doubts >= RICH_DOUBTS


@dataclass(frozen=True)
class OpenMessage:
    """A message before its next attempt; `attempts` and `robot` tell of those made."""

    id: int
    uuid: str
    receiver: str
    critical: bool
    attempts: int
    robot: str
    refused_by: frozenset[str]
    unanswered: bool
    due_at: float = 0.0
    doubts: int = 0

    @property
    def may_be_regrouped(self) -> bool:
        """Whether it failed, but certainly nobody has seen it and no robot can have refused it for what it says."""
        return self.attempts > 0 and not self.unanswered and not self.refused_by and not self.doubts


@dataclass(frozen=True)
class WaitingGroup:
    """An alert group with waiting notifications; `oldest` is when the first of them came."""

    group_hash: str
    critical: bool
    oldest: float


@dataclass(frozen=True)
class Wait:
    """Nothing can be sent now. `until`: when that may change by itself, if it may."""

    until: float | None


def claim(
    connection: Connection, receiver: str, plans: Sequence[RobotPlan], now: float, lease_seconds: float
) -> Claim | Wait:
    """Takes a receiver and its robots, gives the next message; it and a call of its robot are then taken."""
    lock(connection, receiver, plans)
    states = true_robot_states(connection, plans, now, lease_seconds)
    opened = _open_messages(connection, receiver)
    in_future = any(message.due_at > now + lease_seconds for message in opened)
    if in_future and set_messages_right(connection, receiver, now, lease_seconds):
        opened = _open_messages(connection, receiver)
    due = [message for message in opened if message.due_at <= now]
    if _may_regroup(connection, receiver, due):
        due = _regroup(connection, due)
    doubted = [message for message in due if message.doubts]
    for message in (message for message in due if not message.doubts):
        if ready := _ready_for(message, states, now):
            return _take(connection, message, ready, states, now, lease_seconds)
    groups = _waiting_groups(connection, receiver)
    for critical in (True, False):
        ready = [state for state in states if state.ready_at(now, critical) <= now]
        chosen = _next_groups(groups, states, now, critical)
        if ready and chosen:
            message = _make_message(connection, receiver, chosen, now)
            return _take(connection, message, ready, states, now, lease_seconds)
    # Last, so that what may never be taken holds nobody up.
    for message in doubted:
        if ready := _ready_for(message, states, now):
            return _take(connection, message, ready, states, now, lease_seconds)
    times = [message.due_at for message in opened if message not in due]
    for message in due:
        times += [state.ready_at(now, message.critical) for state in _robots_for(message, states, now)]
    if groups:
        critical = any(group.critical for group in groups)
        times += [state.ready_at(now, critical) for state in states]
    return Wait(min((time for time in times if time > now), default=None))


def reserve(connection: Connection, plan: RobotPlan, now: float, lease_seconds: float) -> int | None:
    """Takes a robot that is being called, gives one more call of it, or None if its window has no room."""
    lock_robots(connection, [plan])
    (state,) = robot_states(connection, [plan], now, lease_seconds)
    free = state.paused_until <= now and plan.budget.has_room(state.calls, now)
    return _new_call(connection, plan.robot, now) if free else None


def _new_call(connection: Connection, robot: str, now: float) -> int:
    query = insert(calls).values(robot=robot, started_at=now).returning(calls.c.id)
    return int(connection.execute(query).scalar_one())


def _next_groups(
    groups: Sequence[WaitingGroup], states: Sequence[RobotState], now: float, critical: bool
) -> Sequence[WaitingGroup]:
    """Gives the one group that is told next, or all if they do not fit one by one, or were held up."""
    wanted = [group for group in groups if group.critical or not critical]
    if not wanted or len(groups) == 1:
        return wanted
    held_up = now - min(group.oldest for group in wanted) > HELD_UP_SECONDS
    fits = len(wanted) <= sum(state.unpaced(now, critical) for state in states)
    return wanted[:1] if fits and not held_up else groups


def _open_messages(connection: Connection, receiver: str) -> list[OpenMessage]:
    """Gives the messages on their way, critical and oldest first."""
    query = (
        select(messages)
        .where(messages.c.receiver == receiver, messages.c.state == "open")
        .order_by(messages.c.critical.desc(), messages.c.id)
    )
    return [
        OpenMessage(
            id=row.id,
            uuid=row.uuid,
            receiver=row.receiver,
            critical=bool(row.critical),
            attempts=row.attempts,
            robot=row.robot,
            refused_by=frozenset(row.refused_by.split()),
            # Whoever let a lease run out did not say how the attempt ended; the robot may have shown it.
            unanswered=row.unanswered or row.lease_until is not None,
            due_at=max(row.lease_until or 0.0, row.not_before or 0.0),
            doubts=row.doubts,
        )
        for row in connection.execute(query)
    ]


def _may_regroup(connection: Connection, receiver: str, due: Sequence[OpenMessage]) -> bool:
    """Whether something waits that could be told together with what no robot has shown."""
    free = [message for message in due if message.may_be_regrouped]
    waiting = exists().where(notifications.c.receiver == receiver, notifications.c.state == "waiting")
    return len(free) > 1 or (len(free) == 1 and bool(connection.execute(select(waiting)).scalar()))


def _regroup(connection: Connection, due: Sequence[OpenMessage]) -> list[OpenMessage]:
    """Lets what no robot has shown wait again, so that it goes into a digest; gives the other messages."""
    free = [message.id for message in due if message.may_be_regrouped]
    connection.execute(
        update(notifications)
        .where(notifications.c.message_id.in_(free))
        .values(state="waiting", message_id=None)
    )
    connection.execute(delete(messages).where(messages.c.id.in_(free)))
    return [message for message in due if message.id not in free]


def _robots_for(message: OpenMessage, states: Sequence[RobotState], now: float) -> list[RobotState]:
    choice = [state for state in states if state.plan.robot not in message.refused_by] or list(states)
    if message.unanswered and message.attempts < FAITHFUL_ATTEMPTS:
        soon = now + FAITHFUL_SECONDS
        mine = [state for state in choice if state.plan.robot == message.robot]
        return [state for state in mine if state.ready_at(now, message.critical) <= soon] or choice
    return choice


def _ready_for(message: OpenMessage, states: Sequence[RobotState], now: float) -> list[RobotState]:
    """Gives the robots that can take a message now; one that did not say what is wrong with it only if no other can."""
    choice = _robots_for(message, states, now)
    ready = [state for state in choice if state.ready_at(now, message.critical) <= now]
    if not message.doubts:
        return ready
    return [state for state in ready if state.plan.robot != message.robot] or ready


def _waiting_groups(connection: Connection, receiver: str) -> list[WaitingGroup]:
    """Gives the groups that wait and have no message on its way, critical and oldest first."""
    rows = connection.execute(_WAITING_GROUPS, {"receiver": receiver})
    return [WaitingGroup(row.group_hash, bool(row.critical), row.oldest) for row in rows]


def _waiting_groups_query() -> Select[Any]:
    receiver: BindParameter[str] = bindparam("receiver")
    other = notifications.alias("other")
    on_their_way = select(other.c.group_hash).where(other.c.receiver == receiver, other.c.state == "sending")
    critical = func.max(notifications.c.critical).label("critical")
    oldest = func.min(notifications.c.received_at).label("oldest")
    return (
        select(notifications.c.group_hash, critical, oldest)
        .where(
            notifications.c.receiver == receiver,
            notifications.c.state == "waiting",
            notifications.c.group_hash.not_in(on_their_way),
        )
        .group_by(notifications.c.group_hash)
        .order_by(critical.desc(), func.min(notifications.c.id))
        .limit(DIGEST_GROUPS)
    )


# Made once: it takes longer to build than to run, and each message waits for it.
_WAITING_GROUPS = _waiting_groups_query()


def _make_message(
    connection: Connection, receiver: str, groups: Sequence[WaitingGroup], now: float
) -> OpenMessage:
    """Makes one message of what waits in these groups; from here on its content is fixed."""
    hashes = [group.group_hash for group in groups]
    waiting = connection.execute(
        select(notifications.c.id)
        .where(
            notifications.c.receiver == receiver,
            notifications.c.state == "waiting",
            notifications.c.group_hash.in_(hashes),
        )
        .order_by(notifications.c.id)
        .limit(DIGEST_NOTIFICATIONS)
    ).scalars()
    critical = any(group.critical for group in groups)
    message = OpenMessage(
        id=0,
        uuid=str(uuid.uuid4()),
        receiver=receiver,
        critical=critical,
        attempts=0,
        robot="",
        refused_by=frozenset(),
        unanswered=False,
    )
    message_id = connection.execute(
        insert(messages)
        .values(
            uuid=message.uuid,
            receiver=receiver,
            critical=int(critical),
            state="open",
            created_at=now,
            attempts=0,
            robot="",
            refused_by="",
            unanswered=False,
            doubts=0,
            errcode="",
            reason="",
        )
        .returning(messages.c.id)
    ).scalar_one()
    connection.execute(
        update(notifications)
        .where(notifications.c.id.in_(_first_of(connection, waiting)))
        .values(
            state="sending",
            message_id=message_id,
            tried_at=func.coalesce(notifications.c.tried_at, now),
        )
    )
    return replace(message, id=message_id)


def _first_of(connection: Connection, ids: Iterable[int]) -> list[int]:
    """Takes waiting notifications, gives the first of them: one, or as many as one message is made of."""
    body = notifications.c.body
    # SQLite has learnt octet_length late; PostgreSQL knows it without reading the body.
    is_sqlite = connection.dialect.name == "sqlite"
    size_bytes = func.length(cast(body, LargeBinary)) if is_sqlite else func.octet_length(body)
    query = (
        select(notifications.c.id, size_bytes.label("size_bytes"))
        .where(notifications.c.id.in_(list(ids)))
        .order_by(notifications.c.id)
    )
    chosen: list[int] = []
    remaining_bytes = MESSAGE_BYTES
    with connection.execute(query) as rows:
        for row in rows:
            remaining_bytes -= row.size_bytes
            if chosen and remaining_bytes < 0:
                break
            chosen.append(row.id)
    return chosen


def bodies(connection: Connection, message_id: int) -> Iterator[str]:
    """Takes a message, gives the webhooks it tells, oldest first; only a few are in memory at a time."""
    query = (
        select(notifications.c.body)
        .where(notifications.c.message_id == message_id)
        .order_by(notifications.c.id)
        .execution_options(yield_per=READ_AT_ONCE)
    )
    with connection.execute(query) as rows:
        yield from rows.scalars()


def _take(
    connection: Connection,
    message: OpenMessage,
    ready: Sequence[RobotState],
    states: Sequence[RobotState],
    now: float,
    lease_seconds: float,
) -> Claim:
    """Leases the message and reserves a call of the robot that has most room."""
    robot = max(ready, key=lambda state: state.plan.budget.free(state.calls, now)).plan.robot
    connection.execute(
        update(messages)
        .where(messages.c.id == message.id)
        .values(
            lease_until=now + lease_seconds,
            attempts=message.attempts + 1,
            robot=robot,
            unanswered=message.unanswered,
        )
    )
    call_id = _new_call(connection, robot, now)
    told = connection.execute(
        select(notifications.c.received_at, notifications.c.group_hash)
        .where(notifications.c.message_id == message.id)
        .order_by(notifications.c.id)
    ).all()
    groups = len({row.group_hash for row in told})
    return Claim(
        message_id=message.id,
        uuid=message.uuid,
        receiver=message.receiver,
        attempt=message.attempts + 1,
        robot=robot,
        call_id=call_id,
        received_at=tuple(row.received_at for row in told),
        groups=groups,
        held_up_by=_held_up_by(states, now, message.critical, groups),
        doubts=message.doubts,
    )


def _held_up_by(
    states: Sequence[RobotState], now: float, critical: bool, groups: int
) -> Literal["limited", "outage"]:
    if any(state.limited for state in states):
        return "limited"
    if any(state.failures for state in states):
        return "outage"
    return "limited" if groups > sum(state.unpaced(now, critical) for state in states) else "outage"
