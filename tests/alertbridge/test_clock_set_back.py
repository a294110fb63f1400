"""A clock that was ahead for a while and is set back: nobody waits for the difference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from alertbridge.budget import Budget
from alertbridge.identity import Copy, Sending, is_duplicate, is_stale
from alertbridge.message import Message
from alertbridge.metrics import Metrics
from alertbridge.outbox.claim import Claim
from alertbridge.outbox.database import Database
from alertbridge.outbox.outbox import Outbox
from alertbridge.outbox.robotstate import RobotPlan
from alertbridge.outbox.settle import Attempt
from alertbridge.refusal import Refusals
from alertbridge.robots.dingtalk import CODES
from alertbridge.robots.outcome import Later, Limited, Never, Outcome
from alertbridge.robots.transport import Answer
from alertbridge.robots.verdict import judge
from alertbridge.sender import Member, Sender
from alertbridge.watchdog import Watchdog

HOUR = 3600.0
PLAN = RobotPlan("robot-a", Budget(20, 60))
Put = Callable[..., str]


def sender(outbox: Outbox, clock: Any, robot: Any) -> Sender:
    return Sender(
        "ml",
        {PLAN.robot: Member(robot, PLAN, lock_seconds=600)},
        outbox,
        lambda claim, bodies, robot: Message("title", "text"),
        Metrics(CollectorRegistry()),
        fallback=None,
        told=lambda receiver: None,
        clock=clock,
        chance=lambda: 0.5,
    )


def seconds_until_called(sender: Sender, clock: Any, robot: Any, longest: float) -> float:
    begin, before = clock(), len(robot.calls)
    while len(robot.calls) == before and clock() < begin + longest:
        if sender.step(clock()) != 0.0:
            clock.pass_by(5.0)
    return float(clock() - begin)


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize(
    ("answers", "messages", "longest"),
    [
        ([], 1, 0),
        ([], 20, 31),
        ([Later("no connection")], 1, 2),
        ([Later("a gateway", pause_seconds=300)], 1, 301),
        ([Limited("too fast", "130101")], 1, 601),
    ],
    ids=["delivered", "paced", "failed", "gateway", "locked"],
)
def test_a_new_alert_waits_as_long_as_without_it(
    outbox: Outbox,
    storage: Any,
    put: Put,
    clock: Any,
    make_robot: Callable[..., Any],
    restart: bool,
    answers: list[Outcome],
    messages: int,
    longest: float,
) -> None:
    """What was called six hours ahead counts as called now: a pause begins anew, no longer, also after a restart."""
    robot = make_robot(*answers, name=PLAN.robot)
    before = sender(outbox, clock, robot)
    clock.pass_by(6 * HOUR)
    for number in range(messages):
        put(run=f"ahead{number}", severity="critical")
        before.step(clock())
    clock.pass_by(-6 * HOUR)
    opened = Outbox(Database(storage)) if restart else outbox
    put(run="new", severity="critical")
    after = sender(opened, clock, robot) if restart else before

    assert seconds_until_called(after, clock, robot, HOUR) <= longest + 5
    if restart:
        opened.close()


def test_the_robots_window_is_not_overdrawn(
    outbox: Outbox, put: Put, clock: Any, make_robot: Callable[..., Any]
) -> None:
    """The robot knows nothing of our clock: within a minute of real time it sees no 21st call."""
    robot = make_robot(name=PLAN.robot)
    loop = sender(outbox, clock, robot)
    clock.pass_by(6 * HOUR)
    for number in range(30):
        put(run=f"r{number}", severity="critical")
        loop.step(clock())
    ahead = len(robot.calls)
    assert ahead == 18
    clock.pass_by(-6 * HOUR)
    for number in range(59):
        put(run=f"later{number}", severity="critical")
        loop.step(clock())
        clock.pass_by(1)
    assert ahead < len(robot.calls) <= 20


def test_a_lease_of_the_future_is_over_after_a_lease(outbox: Outbox, put: Put, clock: Any) -> None:
    """What a sender had taken while the clock was ahead, and died, is taken over a lease later."""
    put()
    clock.pass_by(6 * HOUR)
    assert isinstance(outbox.claim("ml", [PLAN], clock()), Claim)
    clock.pass_by(-6 * HOUR)
    outbox.claim("ml", [PLAN], clock())
    clock.pass_by(outbox.lease_seconds + 1)
    assert isinstance(outbox.claim("ml", [PLAN], clock()), Claim)


def test_a_doubted_message_does_not_wait_for_the_difference(outbox: Outbox, put: Put, clock: Any) -> None:
    """A message whose own delay was noted ahead is tried again within its longest delay."""
    put()
    clock.pass_by(6 * HOUR)
    claim = outbox.claim("ml", [PLAN], clock())
    assert isinstance(claim, Claim)
    doubted = Attempt("later", "77", month="2026-11", doubtful=True)
    outbox.settle(claim, doubted, clock(), others=frozenset({PLAN.robot}), fallback=None)
    clock.pass_by(-6 * HOUR)
    outbox.claim("ml", [PLAN], clock())
    clock.pass_by(451)
    assert isinstance(outbox.claim("ml", [PLAN], clock()), Claim)


def test_a_clock_a_second_ahead_is_left_alone(outbox: Outbox, put: Put, clock: Any) -> None:
    """A replica whose clock differs by a second does not change what the other one noted."""
    put("A")
    claim = outbox.claim("ml", [PLAN], clock() + 1)
    assert isinstance(claim, Claim)
    locked = Attempt("limited", "130101", month="2026-11", pause_seconds=600.0)
    outbox.settle(claim, locked, clock() + 1, others=frozenset({PLAN.robot}), fallback=None)
    outbox.claim("ml", [PLAN], clock())
    (state,) = outbox.robot_states([PLAN], clock())
    assert state.paused_until == clock() + 601


@pytest.mark.parametrize(("ahead", "verdict"), [(0.0, "duplicate"), (6 * HOUR, "stored")])
def test_what_was_told_in_the_future_proves_no_duplicate(
    put: Put, clock: Any, ahead: float, verdict: str
) -> None:
    """The same webhook after the clock is set back is told once more, rather than dropped for hours; then as always."""
    clock.pass_by(ahead)
    assert put("A") == "stored"
    clock.pass_by(-ahead)
    assert put("A") == verdict
    clock.pass_by(1)
    assert put("A") == "duplicate"


def test_an_end_told_in_the_future_makes_nothing_stale() -> None:
    """An alert that fires again is told though its end was noted while the clock was ahead."""
    assert is_stale({"am1": 100.0}, "am2", 110.0)
    assert not is_stale({"am1": 100.0 + HOUR}, "am2", 110.0)
    assert not is_stale({"am1": 100.0 + HOUR}, "am1", 110.0)


@pytest.mark.parametrize(("accepted_at", "expected"), [(12.0, True), (10.0 + HOUR, False)])
def test_clocks_of_replicas_may_differ_a_little(accepted_at: float, expected: bool) -> None:
    """A pair's copy is known though the other replica's clock is two seconds ahead."""
    copy = Copy("t", "am1", sent_at=accepted_at, accepted_at=accepted_at)
    assert is_duplicate([copy], Sending("t", "am2", 10.0)) == expected


def test_the_watchdog_barks_in_time(outbox: Outbox, clock: Any) -> None:
    """A beat, or a start, of the future counts as one of now: a silence is told after the configured time."""
    told: list[str] = []
    start = clock()
    clock.pass_by(6 * HOUR)
    watchdog = Watchdog("ml", 60, outbox, lambda receiver, said: told.append(said.status), clock())
    outbox.beat("ml", clock())
    watchdog.step(clock())
    clock.now = start
    watchdog.step(clock())
    for _ in range(70):
        clock.pass_by(1)
        watchdog.step(clock())
    assert told == ["firing"]


def test_the_end_of_a_silence_told_in_the_future_is_told(outbox: Outbox, clock: Any) -> None:
    """A silence that was told while the clock was ahead ends with the next beat."""
    told: list[str] = []
    start = clock()
    watchdog = Watchdog("ml", 60, outbox, lambda receiver, said: told.append(said.status), start)
    outbox.note_silence("ml", start + 6 * HOUR)
    watchdog.step(clock())
    clock.pass_by(30)
    outbox.beat("ml", clock())
    watchdog.step(clock())
    assert told == ["resolved"]


def test_a_refused_webhook_is_news_again() -> None:
    """That a webhook was too large is told although it was last told in the future."""
    refusals = Refusals()
    assert refusals.is_news("ml", 6 * HOUR)
    assert refusals.is_news("ml", 0.0)
    assert not refusals.is_news("ml", 10.0)


@pytest.mark.parametrize(("off", "kind"), [(0.0, Never), (3599.0, Never), (3600.0, Later), (-7200.0, Later)])
def test_a_signature_refused_for_our_clock_is_tried_again(off: float, kind: type[Outcome]) -> None:
    """Before NTP has set the clock nothing becomes a dead letter for it; the reason names the clock."""
    answer = Answer(200, b'{"errcode":310000,"errmsg":"invalid timestamp"}', date=1_000_000.0 + off)
    outcome = judge(answer, CODES, 1_000_000.0)
    assert isinstance(outcome, kind)
    assert not isinstance(outcome, Later) or "set it right" in outcome.reason
