"""What one configuration makes: each receiver's robots, and a thread that sends for it.

A reload makes a new one and lets the old one end.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from alertbridge.budget import BURSTS, Budget
from alertbridge.errors import ConfigError, RobotError
from alertbridge.metrics import Metrics, RobotLabel
from alertbridge.outbox.outbox import Outbox
from alertbridge.outbox.robotstate import RobotPlan
from alertbridge.robots.dingtalk import DingTalk
from alertbridge.robots.feishu import Feishu
from alertbridge.robots.outcome import Robot
from alertbridge.robots.wecom import WeCom
from alertbridge.sender import Member, Sender
from alertbridge.settings import RobotSettings, Settings
from alertbridge.telling import Teller
from alertbridge.watchdog import Accept, Watchdog
from alertbridge.worker import Worker

MakeRobot = Callable[[RobotSettings, str], Robot]
MakeTeller = Callable[[Settings], Teller]


@dataclass(frozen=True)
class Wiring:
    """The settings with everything that was made of them, not yet running."""

    settings: Settings
    members: Mapping[str, Mapping[str, Member]]
    workers: Mapping[str, Worker]
    watchdogs: Sequence[Worker]

    @property
    def all_workers(self) -> list[Worker]:
        return [*self.workers.values(), *self.watchdogs]

    @property
    def labels(self) -> list[RobotLabel]:
        return [
            RobotLabel(receiver, member.robot.name, member.robot.channel, member.plan)
            for receiver, members in self.members.items()
            for member in members.values()
        ]

    @property
    def longest_window_seconds(self) -> float:
        return max(label.plan.budget.longest_seconds for label in self.labels)

    def start(self) -> None:
        for worker in self.all_workers:
            worker.start()

    def ask_to_stop(self) -> None:
        for worker in self.all_workers:
            worker.ask_to_stop()


def wire(
    settings: Settings,
    outbox: Outbox,
    metrics: Metrics,
    *,
    make_robot: MakeRobot,
    teller: Teller,
    told: Callable[[str], None],
    accept: Accept,
    clock: Callable[[], float],
    chance: Callable[[], float],
) -> Wiring:
    """Takes settings, gives robots and senders for all receivers.

    Raises:
        ConfigError: a robot's address or secret cannot be right.
    """
    members = all_members(settings, make_robot)
    workers = {}
    for name, receiver in settings.receivers.items():
        sender = Sender(
            name,
            members[name],
            outbox,
            functools.partial(teller.tell, name),
            metrics,
            fallback=receiver.fallback,
            told=told,
            clock=clock,
            chance=chance,
        )
        workers[name] = Worker(f"sender-{name}", sender.step, clock)
    watchdogs = [
        Worker(
            f"watchdog-{name}",
            Watchdog(name, receiver.watchdog_seconds, outbox, accept, clock()).step,
            clock,
            poll_seconds=receiver.watchdog_seconds,
        )
        for name, receiver in settings.receivers.items()
        if receiver.watchdog_seconds is not None
    ]
    return Wiring(settings, members, workers, watchdogs)


def make_robot(robot: RobotSettings, keyword: str) -> Robot:
    """Takes a robot's settings and its receiver's keyword, gives its client.

    Raises:
        RobotError: the address or the secret cannot be right.
    """
    options: Any = {"keyword": keyword}
    if robot.dingtalk is not None:
        options["timeout_seconds"] = robot.dingtalk.timeout_seconds
        return DingTalk(robot.dingtalk.webhook, robot.dingtalk.secret, **options)
    if robot.feishu is not None:
        options["timeout_seconds"] = robot.feishu.timeout_seconds
        return Feishu(robot.feishu.webhook, robot.feishu.secret, **options)
    if robot.wecom is not None:
        options["timeout_seconds"] = robot.wecom.timeout_seconds
        return WeCom(robot.wecom.webhook, **options)
    raise AssertionError("RobotSettings holds exactly one channel")


def members_of(settings: Settings, receiver: str, make_robot: MakeRobot = make_robot) -> dict[str, Member]:
    """Takes settings and a receiver's name, gives its robots by the outbox's name of each.

    Raises:
        ConfigError: an address or a secret cannot be right.
    """
    members: dict[str, Member] = {}
    configured = settings.receivers[receiver]
    for number, robot in enumerate(configured.robots):
        place = f"receivers.{receiver}.robots.{number}"
        try:
            client = make_robot(robot, configured.keyword)
        except RobotError as error:
            raise ConfigError(f"{place}: {error}") from None
        if client.name in members:
            raise ConfigError(f"{place}: the same robot stands here twice")
        limits = robot.limits
        budget = Budget(limits.messages, limits.per_seconds, BURSTS.get(client.channel))
        plan = RobotPlan(client.name, budget, limits.monthly)
        members[client.name] = Member(client, plan, limits.lock_seconds, limits.longest_pause_seconds)
    return members


def all_members(settings: Settings, make_robot: MakeRobot = make_robot) -> dict[str, dict[str, Member]]:
    """Gives each receiver's robots.

    Raises:
        ConfigError: with a line for each receiver that has one that cannot be right.
    """
    members, problems = {}, []
    for name in settings.receivers:
        try:
            members[name] = members_of(settings, name, make_robot)
        except ConfigError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError("\n".join(problems))
    return members
