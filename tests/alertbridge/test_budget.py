"""A robot's budget: never overdrawn, told within seconds, some of it kept for critical alerts."""

from __future__ import annotations

import itertools
import random

import pytest

from alertbridge.budget import BURSTS, Budget

DINGTALK = Budget(20, 60)


def spend(budget: Budget, now: float, critical: bool, count: int, calls: list[float]) -> None:
    """Makes `count` calls as soon as each may be made."""
    for _ in range(count):
        now = budget.ready_at(calls, now, critical)
        calls.append(now)


def test_half_of_the_window_goes_out_at_once() -> None:
    """Ten messages need no waiting, the eleventh is paced."""
    calls: list[float] = []
    spend(DINGTALK, 0, False, 10, calls)
    assert calls == [0.0] * 10
    assert DINGTALK.ready_at(calls, 0, False) == pytest.approx(10.2)


def test_ordinary_messages_leave_a_fifth_to_critical_ones() -> None:
    """When ordinary messages have used their share, four critical ones still fit into the window."""
    calls: list[float] = []
    spend(DINGTALK, 0, False, 16, calls)
    assert max(calls) < 62
    assert DINGTALK.free(calls, calls[-1] if calls[-1] < 61 else 61) >= 4
    assert DINGTALK.ready_at(calls, calls[-1], True) == calls[-1]


def test_a_pace_gives_room_every_ten_seconds() -> None:
    """After the burst a message goes out every tenth of a minute or so, instead of none for a minute."""
    calls: list[float] = []
    spend(DINGTALK, 0, False, 14, calls)
    gaps = [round(b - a, 1) for a, b in itertools.pairwise(calls[9:])]
    assert gaps == [10.2] * 4


def test_a_call_counts_a_little_longer_than_the_window() -> None:
    """Room comes 2 % after the robot's own window, for clocks that differ."""
    full = [0.0] * 20
    assert DINGTALK.ready_at(full, 0, True) == pytest.approx(61.2)
    assert DINGTALK.free(full, 61.1) == 0
    assert DINGTALK.free(full, 61.3) == 20


@pytest.mark.parametrize(
    ("messages", "ordinary", "at_once"),
    [(1, 1, 1), (2, 2, 1), (3, 2, 2), (5, 4, 2), (20, 16, 10), (100, 80, 50)],
)
def test_small_limits_leave_room_for_ordinary_messages(messages: int, ordinary: int, at_once: int) -> None:
    """Whatever the limit, at least one ordinary message fits, and never more than the limit."""
    budget = Budget(messages, 60)
    assert budget.share(False) == ordinary
    assert budget.at_once(False) == at_once
    assert budget.share(True) == messages


@pytest.mark.parametrize("messages", [1, 2, 3, 7, 20])
def test_no_window_ever_holds_more_than_the_limit(messages: int) -> None:
    """However critical and ordinary messages come, no 60 s hold more calls than allowed."""
    budget, chance, calls, now = Budget(messages, 60), random.Random(messages), [], 0.0
    for _ in range(400):
        now += chance.expovariate(1.0)
        if budget.ready_at(calls, now, chance.random() < 0.3) <= now:
            calls.append(now)
    busiest = max(sum(1 for call in calls if start <= call < start + 60) for start in calls)
    assert busiest <= messages
    assert len(calls) > messages * 2


FEISHU = Budget(20, 60, BURSTS["feishu"])


def test_a_second_window_spreads_a_burst() -> None:
    """Four go out at once, four more a second later; the long window paces as without it."""
    calls: list[float] = []
    spend(FEISHU, 0, False, 10, calls)
    assert calls == pytest.approx([0.0] * 4 + [1.02] * 4 + [2.04] * 2)
    spend(FEISHU, calls[-1], False, 1, calls)
    assert calls[-1] == pytest.approx(2.04 + 10.2)


@pytest.mark.parametrize("critical", [False, True])
def test_no_second_holds_more_than_the_vendor_allows(critical: bool) -> None:
    """With limits as large as Feishu's own minute there are never more than five calls in any second."""
    budget, chance, calls, now = Budget(100, 60, BURSTS["feishu"]), random.Random(1), [], 0.0
    for _ in range(2000):
        now += chance.expovariate(10.0)
        if budget.ready_at(calls, now, critical) <= now:
            calls.append(now)
    assert max(sum(1 for call in calls if start <= call < start + 1) for start in calls) <= 5
    assert len(calls) > 100


def test_a_second_call_asks_both_windows() -> None:
    """There is room for one more only if both windows have it."""
    assert FEISHU.has_room([0.0] * 3, 0)
    assert not FEISHU.has_room([0.0] * 4, 0.5)
    assert not FEISHU.has_room([0.0] * 20, 30)
    assert FEISHU.has_room([0.0] * 4, 1.1)


def test_a_call_is_remembered_for_the_longer_window() -> None:
    """Limits with a window below a second do not lift the vendor's second."""
    assert Budget(10, 0.1, BURSTS["feishu"]).longest_seconds == pytest.approx(1.02)
    assert Budget(10, 0.1).longest_seconds == pytest.approx(0.102)
