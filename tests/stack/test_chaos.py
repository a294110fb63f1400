"""Nothing is lost and nothing is told twice, whatever dies or fails: real Alertmanager, bridge, robot, and kill -9.

`make chaos` kills a hundred times; `make test` a few times. CHAOS_KILLS says how often, CHAOS_SEED how.
"""

from __future__ import annotations

import logging
import os
import random
import time
from collections.abc import Iterator

import pytest
from tests.stack.chaos import (
    Alerts,
    assert_lock_never_sprung,
    assert_nothing_lost_or_doubled,
    chaos_config,
    chaos_group,
    wait_for_all,
)
from tests.stack.chaos_network import Killer, Wire

from demo.group import Group
from demo.stack import Service, Stack, wait_until

pytestmark = [pytest.mark.stack, pytest.mark.timeout(1800)]

log = logging.getLogger(__name__)

KILLS = int(os.environ.get("CHAOS_KILLS", "4"))
SEED = int(os.environ.get("CHAOS_SEED", "0")) or random.SystemRandom().randrange(1, 1_000_000)

# Pauses that would be minutes.
PAUSES = {"lock_seconds": 2.0, "longest_pause_seconds": 1.0}
FAILURES = (
    "busy",
    "limited",
    "ban",
    "ban_page",
    "bad_gateway",
    "redirect",
    "empty",
    "no_errcode",
    "string_zero",
    "drip",
    "hang",
    "reset",
    "answer_lost",
    "answer_hangs",
)


@pytest.fixture
def group(stack: Stack) -> Group:
    """A robot with DingTalk's limit, ten times as fast."""
    return chaos_group(stack)


@pytest.fixture
def bridge(stack: Stack, group: Group) -> Service:
    """A bridge that does not wait for minutes after a failure."""
    return stack.bridge(chaos_config(group, **PAUSES))


@pytest.fixture
def wire(bridge: Service) -> Iterator[Wire]:
    """The network between Alertmanager and the bridge."""
    with Wire(bridge) as between:
        yield between


def test_no_alert_is_lost_or_told_twice_under_kill_9(
    stack: Stack, group: Group, bridge: Service, wire: Wire
) -> None:
    """Alerts come while the bridge is killed again and again, answers get lost and the robot fails in every way."""
    chance = random.Random(SEED)
    wire.loses = lambda: chance.random() < 0.1
    alerts = Alerts(stack.alertmanager(wire.url, group_interval="1s"))
    began = time.monotonic()
    bridge.kill()
    bridge.start()
    start_seconds = time.monotonic() - began
    # Some are killed in the middle of their start, most while they accept and send.
    killer = Killer(bridge, KILLS, random.Random(SEED), longest_life_seconds=3 * start_seconds)
    killer.start()
    next_mode = 0.0
    while killer.is_alive():
        alerts.fire(critical=chance.random() < 0.2)
        _end_some(alerts, wire, chance)
        if time.monotonic() > next_mode:
            failing = chance.random() < 0.5
            group.mode(chance.choice(FAILURES) if failing else "ok", count=1 if failing else None)
            next_mode = time.monotonic() + chance.uniform(1, 3)
        time.sleep(chance.uniform(0.2, 0.8))
    killer.join()
    bridge.start()

    group.mode("ok")
    wire.loses = lambda: False
    _wait_for_answers(wire, alerts, "firing")
    alerts.resolve(alerts.started)
    _wait_for_answers(wire, alerts, "resolved")
    wait_for_all(bridge, group, alerts.ended, "resolved")
    assert_nothing_lost_or_doubled(bridge, group, alerts.ended)
    assert_lock_never_sprung(group)
    _say_what_happened(stack, group, wire, alerts, time.monotonic() - began)


def _end_some(alerts: Alerts, wire: Wire, chance: random.Random) -> None:
    taken = [run for run in alerts.started if (run, "firing") in wire.answered and run not in alerts.ended]
    alerts.resolve(run for run in taken if chance.random() < 0.05)


def _wait_for_answers(wire: Wire, alerts: Alerts, state: str) -> None:
    wanted = {(run, state) for run in alerts.started}
    wait_until(lambda: wanted <= wire.answered, 90, f"Alertmanager to get rid of what is {state}")


def _say_what_happened(stack: Stack, group: Group, wire: Wire, alerts: Alerts, seconds: float) -> None:
    attempts = group.attempts()
    log.info(
        "seed %d: %d kills in %.0f s, %d alerts, %d answers to Alertmanager lost, %d messages shown, %d calls of "
        "the robot, of which %d in a failure and %d repeats that it recognised; %d starts found a message half sent",
        SEED,
        KILLS + 1,
        seconds,
        len(alerts.started),
        wire.lost,
        len(group.messages()),
        len(attempts),
        sum(attempt["mode"] != "ok" for attempt in attempts),
        sum(attempt["duplicate_of"] is not None for attempt in attempts),
        stack.log("alertbridge").read_text().count("were being sent when the last run ended"),
    )
