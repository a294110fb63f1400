"""What the store knows of a robot: its calls within the window, its pause, its month."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from sqlalchemy import Connection, func, select

from alertbridge.budget import Budget
from alertbridge.outbox.setback import set_robots_right
from alertbridge.outbox.tables import calls, receivers, robots
from alertbridge.outbox.upsert import insert_new

# Where the vendors count months.
_CHINA = timezone(timedelta(hours=8))


@dataclass(frozen=True)
class RobotPlan:
    """A receiver's robot as the outbox knows it.

    Attributes:
        robot: a name that holds no secret, the same in every receiver that uses this robot.
        monthly: how many calls a month may have.
    """

    robot: str
    budget: Budget
    monthly: int = 5000

    def month(self, now: float) -> str:
        """Gives the calendar month in which the robot's quota counts a call made now, like 2026-11."""
        return datetime.fromtimestamp(now, _CHINA).strftime("%Y-%m")


@dataclass(frozen=True)
class RobotState:
    """A robot's plan with its calls within the window and the end of its pause, seconds since the epoch.

    `limited` and `failures` tell of its last calls; `ahead` says that some lie too far in the future to be true.
    """

    plan: RobotPlan
    calls: tuple[float, ...]
    paused_until: float = 0.0
    limited: bool = False
    failures: int = 0
    ahead: bool = False

    def ready_at(self, now: float, critical: bool) -> float:
        """Gives when it may be called for a message of this class, `now` or later."""
        return max(self.paused_until, self.plan.budget.ready_at(self.calls, now, critical))

    def unpaced(self, now: float, critical: bool) -> int:
        """Gives how many messages of this class it can take one after the other right now."""
        if self.paused_until > now:
            return 0
        used = self.plan.budget.messages - self.plan.budget.free(self.calls, now)
        return max(0, self.plan.budget.at_once(critical) - used)


def robot_states(
    connection: Connection, plans: Sequence[RobotPlan], now: float, lease_seconds: float
) -> list[RobotState]:
    """Takes robots' plans, gives their states now."""
    names = [plan.robot for plan in plans]
    longest = max(plan.budget.longest_seconds for plan in plans)
    rows = connection.execute(select(robots).where(robots.c.robot.in_(names)))
    notes = {row.robot: (row.paused_until, row.limited, row.failures) for row in rows}
    # A running call may reach the robot until its lease ends; a finished one could not later than its answer.
    reached_at = func.coalesce(calls.c.finished_at, calls.c.started_at + lease_seconds).label("reached_at")
    recent = select(calls.c.robot, reached_at).where(calls.c.robot.in_(names), reached_at > now - longest)
    made: dict[str, list[float]] = {name: [] for name in names}
    for row in connection.execute(recent):
        made[row.robot].append(row.reached_at)
    return [
        RobotState(
            plan,
            tuple(min(at, now) for at in made[plan.robot]),
            *notes.get(plan.robot, (0.0, False, 0)),
            ahead=any(at > now + 2 * lease_seconds for at in made[plan.robot]),
        )
        for plan in plans
    ]


def true_robot_states(
    connection: Connection, plans: Sequence[RobotPlan], now: float, lease_seconds: float
) -> list[RobotState]:
    """Gives the states of locked robots, after setting right what was noted while the clock was ahead."""
    states = robot_states(connection, plans, now, lease_seconds)
    ahead = [state.plan.robot for state in states if state.ahead]
    if not ahead:
        return states
    set_robots_right(connection, ahead, now, lease_seconds)
    return robot_states(connection, plans, now, lease_seconds)


def lock(connection: Connection, receiver: str, plans: Sequence[RobotPlan]) -> None:
    """Makes replicas choose one after the other, until the transaction ends.

    On SQLite the transaction itself does that.
    """
    known = select(receivers.c.receiver).where(receivers.c.receiver == receiver).with_for_update()
    if connection.execute(known).first() is None:
        insert_new(connection, receivers, [{"receiver": receiver}])
        connection.execute(known)
    lock_robots(connection, plans)


def lock_robots(connection: Connection, plans: Sequence[RobotPlan]) -> None:
    """Makes those who count these robots' calls do so one after the other, until the transaction ends."""
    names = sorted({plan.robot for plan in plans})
    fresh = {"paused_until": 0.0, "limited": False, "failures": 0, "month": "", "month_messages": 0}
    # In one order everywhere: two replicas that lock rows crosswise would wait for each other.
    called = (
        select(robots.c.robot).where(robots.c.robot.in_(names)).order_by(robots.c.robot).with_for_update()
    )
    if len(connection.execute(called).all()) < len(names):
        insert_new(connection, robots, [{"robot": name, **fresh} for name in names])
        connection.execute(called)
