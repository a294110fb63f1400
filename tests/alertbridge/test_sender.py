"""The sender against robots that count, lock, fail and come back, on a clock that the test owns."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import text

from alertbridge.budget import BURSTS, Budget
from alertbridge.errors import StoreUnavailable
from alertbridge.message import Message
from alertbridge.metrics import Metrics
from alertbridge.outbox.arrival import Arrival
from alertbridge.outbox.database import Database
from alertbridge.outbox.outbox import Outbox
from alertbridge.outbox.robotstate import RobotPlan
from alertbridge.robots.outcome import Again, Delivered, Later, Limited, Never, Outcome, freely
from alertbridge.sender import Member, Sender
from alertbridge.settings import Settings
from alertbridge.telling import Teller
from alertbridge.webhook import parse

Put = Callable[..., str]
LOCK = 600.0


@dataclass
class StrictRobot:
    """A robot with DingTalk's rule: 20 calls in any 60 s, then locked for 600 s. It can be out of reach."""

    clock: Any
    name: str = "robot-a"
    channel: str = "dingtalk"
    limit: int = 20
    down_until: float = 0.0
    seconds: float = 0.05
    calls: list[float] = field(default_factory=list)
    shown: dict[str, Message] = field(default_factory=dict)
    locked_until: float = 0.0
    locks: int = 0

    def fits(self, message: Message) -> bool:
        return True

    def send(self, message: Message, *, again: Again = freely) -> Outcome:
        self.clock.pass_by(self.seconds)
        now = self.clock()
        if now < self.down_until:
            return Later("connection refused")
        self.calls.append(now)
        if now < self.locked_until or sum(call > now - 60 for call in self.calls) > self.limit:
            self.locks += now >= self.locked_until
            self.locked_until = max(self.locked_until, now + LOCK)
            return Limited("too fast", "130101")
        assert message.uuid is not None
        self.shown[message.uuid] = message
        return Delivered()

    @property
    def text(self) -> str:
        return "\n".join(f"{message.title}\n{message.text}" for message in self.shown.values())


@dataclass
class HurriedRobot(StrictRobot):
    """A Feishu robot: 5 calls in any second, beyond that a refusal."""

    channel: str = "feishu"

    def send(self, message: Message, *, again: Again = freely) -> Outcome:
        if sum(call > self.clock() + self.seconds - 1 for call in self.calls) >= 5:
            self.locks += 1
            return Limited("too fast", "11232", 60.0)
        return super().send(message, again=again)


@dataclass
class PickyRobot(StrictRobot):
    """A strict robot that answers some messages with a code that nobody knows."""

    dislikes: Callable[[Message], bool] = lambda message: False
    refused: list[float] = field(default_factory=list)

    def send(self, message: Message, *, again: Again = freely) -> Outcome:
        if self.dislikes(message):
            self.clock.pass_by(self.seconds)
            self.refused.append(self.clock())
            return Later("a code that is not known", "11246", doubtful=True)
        return super().send(message, again=again)


class Driver:
    """Runs one receiver's sender on the test's clock."""

    def __init__(
        self,
        outbox: Outbox,
        clock: Any,
        *robots: Any,
        fallback: str | None = None,
        monthly: int = 5000,
        longest_pause: float = 3600,
    ):
        self.outbox, self.clock = outbox, clock
        self.woken: list[str] = []
        self.metrics = Metrics(CollectorRegistry())
        robot = {"dingtalk": {"webhook": "https://example.com/robot/send?access_token=x"}}
        settings = Settings.model_validate({"language": "en", "receivers": {"ml": {"robots": [robot]}}})
        teller = Teller(settings, lambda: datetime.fromtimestamp(clock(), timezone.utc))
        members = {
            one.name: Member(
                one,
                RobotPlan(one.name, Budget(20, 60, BURSTS.get(one.channel)), monthly),
                LOCK,
                longest_pause,
            )
            for one in robots
        }
        self.sender = Sender(
            "ml",
            members,
            outbox,
            lambda claim, bodies, robot: teller.tell("ml", claim, bodies, robot),
            self.metrics,
            fallback=fallback,
            told=self.woken.append,
            clock=clock,
            chance=lambda: 0.5,
        )

    def run(
        self, seconds: float, puts: Callable[[float], None] = lambda now: None, every: float = 1.0
    ) -> None:
        """Lets so much time pass; `puts` is called each second with the seconds since the beginning."""
        begin = self.clock()
        while (now := self.clock()) < begin + seconds:
            puts(now - begin)
            while self.sender.step(self.clock()) == 0.0:
                pass
            self.clock.now = max(self.clock(), now + every)

    def value(self, outcome: str) -> float:
        labels = {"receiver": "ml", "channel": "dingtalk", "outcome": outcome}
        return self.metrics.registry.get_sample_value("alertbridge_messages_total", labels) or 0.0


def waiting(outbox: Outbox) -> int:
    return sum(count.notifications for count in outbox.counts() if count.state in ("waiting", "sending"))


def test_an_idle_bridge_sends_at_once(outbox: Outbox, put: Put, clock: Any) -> None:
    """A single alert is sent in the first step, without waiting for anything."""
    robot = StrictRobot(clock)
    driver = Driver(outbox, clock, robot)
    put("TrainingFailed")
    assert driver.sender.step(clock()) == 0.0
    assert "TrainingFailed" in robot.text
    assert driver.sender.step(clock()) is None


def test_a_burst_of_forty_groups_is_told_within_two_windows(outbox: Outbox, put: Put, clock: Any) -> None:
    """Forty groups at once, half of them resolving after 20 s: all told in 120 s, the lock never sprung."""
    robot = StrictRobot(clock)
    driver = Driver(outbox, clock, robot)

    def puts(second: float) -> None:
        if second == 0:
            for number in range(40):
                put(f"Alert{number:02}")
        elif 20 <= second < 21:
            for number in range(20):
                put(f"Alert{number:02}", status="resolved")

    driver.run(120, puts)

    assert robot.locks == 0
    assert waiting(outbox) == 0
    assert all(f"Alert{number:02}" in robot.text for number in range(40))
    assert sum(robot.text.count(f"⚪ **Alert{number:02}**") for number in range(20)) == 20
    assert "Too many messages for the robot's limit" in robot.text
    assert len(robot.shown) <= 40


def test_a_steady_flood_never_springs_the_lock(outbox: Outbox, put: Put, clock: Any) -> None:
    """An alert a second for three minutes: every one told, the lock never sprung, critical ones within seconds."""
    robot = StrictRobot(clock)
    driver = Driver(outbox, clock, robot)
    died: list[float] = []

    def puts(second: float) -> None:
        put(f"Flood{int(second):03}")
        if int(second) == 100 and not died:
            put("TrainingFailed", severity="critical")
            died.append(clock())

    driver.run(180, puts)
    driver.run(60)

    assert robot.locks == 0
    assert waiting(outbox) == 0
    critical = min(
        at
        for at, message in zip(robot.calls, robot.shown.values(), strict=True)
        if "TrainingFailed" in message.text
    )
    assert critical - died[0] < 2


def test_an_hour_of_outage_ends_in_one_digest(outbox: Outbox, put: Put, clock: Any) -> None:
    """Thirty groups while the robot is out of reach for an hour: one message tells all, newest state each."""
    robot = StrictRobot(clock, down_until=clock() + 3500)
    driver = Driver(outbox, clock, robot)

    def puts(second: float) -> None:
        if second % 100 == 0 and second < 3000:
            put(f"Out{int(second):04}", started=clock() - 5)
        if second == 3100:
            put("Out0000", started=clock() - 3105, status="resolved")

    driver.run(3700, puts, every=20.0)

    assert waiting(outbox) == 0
    assert len(robot.shown) == 1
    assert all(f"Out{second:04}" in robot.text for second in range(0, 3000, 100))
    assert "Messages could not be delivered for a while. 31 notifications" in robot.text


def test_an_outage_with_more_alerts_than_a_message_names_ends_in_a_few_digests(
    outbox: Outbox, put: Put, clock: Any
) -> None:
    """Of 250 groups that were held up none is only counted: three messages name them all."""
    robot = StrictRobot(clock, down_until=clock() + 60)
    driver = Driver(outbox, clock, robot)
    for number in range(250):
        put("Out", run=f"run-{number:03}", started=clock() - 5)
    driver.run(180)

    assert waiting(outbox) == 0
    assert len(robot.shown) == 3
    assert [number for number in range(250) if f"run-{number:03}" not in robot.text] == []


def test_a_lock_is_waited_out_without_a_call_and_ends_in_one_digest(
    outbox: Outbox, storage: Any, put: Put, clock: Any
) -> None:
    """A robot that somebody else has locked is left alone for its lock, a restart in between included."""
    robot = StrictRobot(clock, locked_until=clock() + 300)
    driver = Driver(outbox, clock, robot)
    put("First")
    driver.run(5)
    assert len(robot.calls) == 1
    for number in range(12):
        put(f"Meanwhile{number}")
    driver.run(200, every=10)

    restarted = Outbox(Database(storage))
    again = Driver(restarted, clock, robot)
    again.run(300, every=10)
    assert len(robot.calls) == 1
    again.run(120, every=10)

    assert len(robot.shown) == 1
    assert all(f"Meanwhile{number}" in robot.text for number in range(12))
    assert "First" in robot.text
    restarted.close()


def test_a_robot_that_is_locked_is_replaced_by_another(outbox: Outbox, put: Put, clock: Any) -> None:
    """While one robot is locked its receiver's other one tells everything at once."""
    locked, free = StrictRobot(clock, locked_until=clock() + 300), StrictRobot(clock, name="robot-b")
    driver = Driver(outbox, clock, locked, free)
    for number in range(4):
        put(f"Alert{number}")
    driver.run(3)

    assert waiting(outbox) == 0
    assert not locked.shown
    assert all(f"Alert{number}" in free.text for number in range(4))


def test_robots_share_the_load(outbox: Outbox, put: Put, clock: Any) -> None:
    """Two robots take turns, so that together they carry twice as much at once."""
    robots = StrictRobot(clock), StrictRobot(clock, name="robot-b")
    driver = Driver(outbox, clock, *robots)
    for number in range(20):
        put(f"Alert{number}")
    driver.run(3)
    assert [len(robot.shown) for robot in robots] == [10, 10]


def test_a_refusal_of_one_robot_is_another_robots_work(
    outbox: Outbox, put: Put, clock: Any, make_robot: Callable[..., Any]
) -> None:
    """A robot whose secret is wrong does not make a dead letter while another one can tell it."""
    wrong = make_robot(otherwise=Never("sign not match", "310000"))
    right = make_robot(name="robot-b")
    driver = Driver(outbox, clock, wrong, right)
    for number in range(3):
        put(f"Alert{number}")
    driver.run(2)
    assert waiting(outbox) == 0
    assert driver.value("delivered") == 3
    assert driver.value("dead") == 0


def test_what_all_robots_refuse_is_told_by_the_fallback(
    outbox: Outbox, put: Put, clock: Any, make_robot: Callable[..., Any]
) -> None:
    """A dead letter wakes the fallback receiver."""
    driver = Driver(outbox, clock, make_robot(Never("no such robot", "300005")), fallback="backup")
    put()
    driver.run(1)
    assert driver.woken == ["backup"]
    assert driver.value("dead") == 1
    assert {(count.receiver, count.state) for count in outbox.counts()} == {
        ("ml", "dead"),
        ("backup", "waiting"),
    }


def test_msg_uuid_is_the_same_on_every_attempt(
    outbox: Outbox, put: Put, clock: Any, make_robot: Callable[..., Any]
) -> None:
    """An attempt whose answer was lost is repeated as the same message, also beside new ones."""
    robot = make_robot(Later("timed out", unanswered=True), Later("timed out", unanswered=True))
    driver = Driver(outbox, clock, robot)
    put("AlertA")
    driver.sender.step(clock())
    put("AlertB")
    driver.run(10)
    uuids = [message.uuid for _, message in robot.calls]
    assert len(uuids) == 4
    assert uuids[0] == uuids[1] == uuids[2] != uuids[3]
    assert "AlertB" not in robot.texts[2]


@pytest.mark.parametrize(("longest_pause", "expected"), [(3600, [0, 300]), (30, [0, 30])])
def test_a_gateways_pause_is_kept_but_no_longer_than_configured(
    outbox: Outbox,
    put: Put,
    clock: Any,
    make_robot: Callable[..., Any],
    longest_pause: float,
    expected: list[float],
) -> None:
    """A robot behind a gateway that bans is left alone for five minutes, or for the longest pause allowed."""
    robot = make_robot(Later("a ban", pause_seconds=300.0))
    driver = Driver(outbox, clock, robot, longest_pause=longest_pause)
    put()
    driver.run(400)
    assert robot.times == expected


def test_a_defect_in_a_robot_does_not_stop_the_receiver(
    outbox: Outbox, put: Put, clock: Any, make_robot: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """An exception in the client is counted and logged, and the message is tried again."""
    robot = make_robot(RuntimeError("access_token=abcdef broke"))
    driver = Driver(outbox, clock, robot)
    put()
    with caplog.at_level(logging.CRITICAL):
        driver.run(3)
    assert driver.value("later") == 1
    assert driver.value("delivered") == 1
    labels = {"receiver": "ml", "errcode": "internal"}
    assert driver.metrics.registry.get_sample_value("alertbridge_errors_total", labels) == 1


def test_the_quota_is_counted_by_month_and_warned_of_once(
    outbox: Outbox, put: Put, clock: Any, make_robot: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """At 80 % of the month's messages there is one warning; a new month begins at nothing."""
    robot = make_robot()
    driver = Driver(outbox, clock, robot, monthly=5)
    for number in range(4):
        put(f"Alert{number}")
    driver.run(1)
    assert [record.message for record in caplog.records] == [
        "receiver ml, robot robot-a: 4 of the month's 5 messages are used"
    ]
    clock.pass_by(31 * 86_400)
    put("Later")
    driver.run(1)
    assert outbox.robot_notes()["robot-a"].month_messages == 1


def test_the_warning_is_not_jumped_over(
    outbox: Outbox, put: Put, clock: Any, make_robot: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """A message that takes two calls may pass the mark of 80 % in one step; it is warned of all the same."""
    driver = Driver(outbox, clock, make_robot(asks=2), monthly=4)
    put("First")
    put("Second")
    driver.run(1)
    assert [record.message for record in caplog.records] == [
        "receiver ml, robot robot-a: 4 of the month's 4 messages are used"
    ]


def test_delivery_time_is_measured_from_the_webhook(
    outbox: Outbox, put: Put, clock: Any, make_robot: Callable[..., Any]
) -> None:
    """delivery_seconds is the time from the webhook to the robot's answer."""
    driver = Driver(outbox, clock, make_robot(seconds=0.25))
    put()
    clock.pass_by(1.0)
    driver.sender.step(clock())
    assert driver.metrics.registry.get_sample_value("alertbridge_delivery_seconds_sum") == 1.25


def test_a_second_call_for_one_message_counts(
    outbox: Outbox, put: Put, clock: Any, make_robot: Callable[..., Any]
) -> None:
    """A message that had to be sent again with less in it uses two of the window's calls."""
    robot = make_robot(Delivered(note="shortened by half"), Delivered(), asks=1)
    driver = Driver(outbox, clock, robot)
    put("A")
    put("B")
    driver.run(1)
    (state,) = outbox.robot_states([RobotPlan(robot.name, Budget(20, 60))], clock())
    assert len(state.calls) == 3
    assert outbox.robot_notes()[robot.name].month_messages == 3


def test_a_second_call_never_overdraws_the_window(
    outbox: Outbox, put: Put, clock: Any, make_robot: Callable[..., Any]
) -> None:
    """With no room for a second call the message waits for it; the window's 20 calls are never 21."""
    robot = make_robot(otherwise=Never("too long", "460101", "content"), asks=1000, refuses_alone=True)
    driver = Driver(outbox, clock, robot)
    for number in range(30):
        put(f"Kind{number}", severity="critical")
    driver.run(600)
    times = [at - clock.now for at, _ in robot.calls] + [at - clock.now for at in robot.second_calls]
    assert max(sum(at - 60 < other <= at for other in times) for at in times) <= 20
    assert len(robot.second_calls) > 0
    assert outbox.robot_notes()[robot.name].month_messages == len(times)


def test_a_flood_in_a_locked_time_costs_few_looks(outbox: Outbox, put: Put, clock: Any) -> None:
    """While no robot can be called, a hundred webhooks within a moment cause one look at the backlog."""
    robot = StrictRobot(clock, locked_until=clock() + 300)
    driver = Driver(outbox, clock, robot)
    put("First")
    while driver.sender.step(clock()) == 0.0:
        pass
    waits = set()
    for number in range(100):
        put(f"Flood{number}")
        waits.add(driver.sender.step(clock()))
    assert waits == {0.25}
    assert len(robot.calls) == 1


def test_a_message_that_a_robot_never_takes_holds_up_no_other(outbox: Outbox, put: Put, clock: Any) -> None:
    """One alert is answered with an unknown code: the others are told at once, and it goes to the fallback."""
    robot = PickyRobot(clock, dislikes=lambda message: "Poison" in message.text)
    driver = Driver(outbox, clock, robot, fallback="backup")
    put("Poison", severity="critical")
    driver.run(1)
    waits = []
    for number in range(20):
        at = clock()
        put(f"Alert{number}", severity="critical")
        driver.run(30, every=3)
        waits.append(robot.calls[-1] - at)

    assert len(robot.shown) == 20
    assert max(waits) < 1
    assert len(robot.refused) <= 6
    assert driver.woken == ["backup"]
    assert {count.state for count in outbox.counts() if count.receiver == "ml"} == {"delivered", "dead"}


def test_a_message_with_an_unknown_code_goes_out_as_plain_text(outbox: Outbox, put: Put, clock: Any) -> None:
    """After three such answers it is said in plain words, with a msgUuid of its own."""
    robot = PickyRobot(clock, dislikes=lambda message: message.kind != "text")
    driver = Driver(outbox, clock, robot)
    put("TrainingFailed", run="digits", severity="critical")
    driver.run(20)

    (message,) = robot.shown.values()
    assert message.text == "CRITICAL · Training failed · TrainingFailed of digits"
    assert (message.uuid or "").endswith("-plain")
    assert len(robot.refused) == 3
    assert waiting(outbox) == 0


def test_what_cannot_be_rendered_goes_out_as_plain_text(
    outbox: Outbox, put: Put, clock: Any, make_robot: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """A defect of ours that lasts costs a message its form, and nobody else anything."""
    robot = make_robot(*[RuntimeError("broke")] * 3)
    driver = Driver(outbox, clock, robot)
    put("TrainingFailed", run="digits")
    with caplog.at_level(logging.CRITICAL):
        driver.run(20)

    assert [message.kind for _, message in robot.calls] == ["markdown", "markdown", "markdown", "text"]
    assert driver.value("delivered") == 1


def test_an_unknown_code_for_everything_gives_nothing_up(outbox: Outbox, put: Put, clock: Any) -> None:
    """While a robot takes nothing at all it is paused like any other that fails; later all are told."""
    until = clock() + 1800
    robot = PickyRobot(clock, dislikes=lambda message: clock() < until)
    driver = Driver(outbox, clock, robot)

    def puts(second: float) -> None:
        if second < 1500 and second % 50 < 5:
            put(f"Alert{int(second) // 50 * 50:04}")

    driver.run(2700, puts, every=5)

    assert waiting(outbox) == 0
    assert driver.value("dead") == 0
    assert all(f"Alert{second:04}" in robot.text for second in range(0, 1500, 50))
    assert len(robot.refused) < 150


def test_a_digest_does_not_suffer_for_one_of_its_groups(outbox: Outbox, put: Put, clock: Any) -> None:
    """Of eight groups that were held up together only the one that the robot never takes is given up."""
    robot = PickyRobot(clock, down_until=clock() + 20, dislikes=lambda message: "Poison" in message.text)
    driver = Driver(outbox, clock, robot)
    for number in range(7):
        put(f"Alert{number}")
    put("Poison")
    driver.run(60, every=2)
    put("Afterwards")
    driver.run(600, every=5)

    assert waiting(outbox) == 0
    assert {count.state: count.notifications for count in outbox.counts()} == {"delivered": 8, "dead": 1}
    assert all(f"Alert{number}" in robot.text for number in range(7))


@dataclass
class BreakingRobot(StrictRobot):
    """A robot during whose calls the store breaks."""

    breakage: Callable[[], None] = lambda: None

    def send(self, message: Message, *, again: Again = freely) -> Outcome:
        outcome = super().send(message, again=again)
        self.breakage()
        return outcome


def statement(outbox: Outbox, sql: str) -> None:
    with outbox.database.write() as connection:
        connection.execute(text(sql))


@pytest.mark.parametrize("outage_seconds", [5, 200])
@pytest.mark.parametrize(("limit", "calls_a_minute_later"), [(20, 2), (0, 1)])
def test_an_answer_is_kept_until_the_store_can_note_it(
    outbox: Outbox, put: Put, clock: Any, limit: int, calls_a_minute_later: int, outage_seconds: int
) -> None:
    """A store that is gone when the robot answers makes nothing told twice, and no locked robot called again."""
    robot = BreakingRobot(clock, limit=limit)
    robot.breakage = lambda: statement(outbox, "ALTER TABLE messages RENAME TO away")
    driver = Driver(outbox, clock, robot)
    put()
    for _ in range(outage_seconds):
        with pytest.raises(StoreUnavailable):
            driver.sender.step(clock())
        clock.pass_by(1)
    robot.breakage = lambda: None
    statement(outbox, "ALTER TABLE away RENAME TO messages")
    put(status="resolved")

    driver.run(60)
    assert len(robot.calls) == calls_a_minute_later
    assert sum(driver.value(outcome) for outcome in ("delivered", "limited")) == calls_a_minute_later


def test_an_answer_that_the_store_never_takes_stops_nothing(
    sqlite_storage: Any, webhook_body: Callable[..., str], clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """What cannot be written down although the store works is given up with the lease, and said."""
    box = Outbox(Database(sqlite_storage))
    box.open(clock())
    statement(box, "CREATE TRIGGER no BEFORE UPDATE ON robots BEGIN SELECT RAISE(ABORT, 'no'); END")
    robot = StrictRobot(clock)
    driver = Driver(box, clock, robot)
    box.put(Arrival.of("ml", "am", parse(webhook_body()), webhook_body(), clock()))
    with pytest.raises(StoreUnavailable):
        driver.sender.step(clock())
    clock.pass_by(box.lease_seconds)
    with pytest.raises(StoreUnavailable):
        driver.sender.step(clock())

    assert len(robot.calls) == 2
    assert "cannot be written down; it may be told twice" in caplog.text
    box.close()


def test_a_burst_keeps_feishus_second(outbox: Outbox, put: Put, clock: Any) -> None:
    """Nine critical alerts at once are told within three seconds, never six of them in one."""
    robot = HurriedRobot(clock, seconds=0.08)
    driver = Driver(outbox, clock, robot)
    begin = clock()
    for number in range(9):
        put(f"Alert{number}", severity="critical")
    driver.run(5, every=0.1)

    assert robot.locks == 0
    assert len(robot.shown) == 9
    assert robot.calls[-1] - begin < 3
