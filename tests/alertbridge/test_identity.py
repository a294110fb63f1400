"""Duplicates, repeats, stale news: which is which."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from alertbridge.identity import (
    OWN_STALE_SECONDS,
    STALE_SECONDS,
    Absence,
    Copy,
    Sending,
    is_duplicate,
    is_stale,
)
from alertbridge.outbox.arrival import Arrival
from alertbridge.outbox.database import Database
from alertbridge.outbox.outbox import Outbox
from alertbridge.secret import Secret
from alertbridge.webhook import parse

Put = Callable[..., str]


ONCE = [("k1", "am1", 0, 0)]


@pytest.mark.parametrize(
    ("copies", "source", "now", "says_repeat", "duplicate"),
    [
        pytest.param([], "am1", 0, None, False, id="never seen"),
        pytest.param(ONCE, "am1", 1, None, True, id="retry after a lost answer"),
        pytest.param(ONCE, "am1", 59, None, True, id="late retry"),
        pytest.param(ONCE, "am1", 61, None, False, id="repeat after repeat_interval"),
        pytest.param([("k1", "am1", 50, 0)], "am1", 100, None, True, id="retry of a retry"),
        pytest.param(
            [("k1", "am1", 150, 0)], "am1", 200, None, False, id="answers lost for minutes: told again"
        ),
        pytest.param(ONCE, "am1", 600, False, True, id="a late retry that says that it is no repeat"),
        pytest.param(ONCE, "am1", 3700, False, False, id="as if for the first time, after more than an hour"),
        pytest.param(ONCE, "am1", 1, True, False, id="a quick repeat that says so"),
        pytest.param([("k1", "am1", 0, 0, True)], "am1", 1, True, True, id="a retry of a repeat"),
        pytest.param([("k1", "am1", 0, 0, True)], "am1", 61, True, False, id="a repeat after a repeat"),
        pytest.param(ONCE, "am2", 1, None, True, id="the pair's other copy"),
        pytest.param(ONCE, "am2", 1, False, True, id="the pair's other copy, with its reason"),
        pytest.param(ONCE, "am2", 290, None, True, id="the other copy, late"),
        pytest.param(ONCE, "am2", 340, None, False, id="much too late for a copy"),
        pytest.param(ONCE, "am2", 120, True, False, id="a repeat by the other, which knows of the first"),
        pytest.param(
            [("k1", "am1", 60, 60, True), ("k1", "am2", 1, None)], "am2", 61, True, True, id="both repeat"
        ),
        pytest.param(
            [("k1", "am1", 60, 60), ("k1", "am2", 1, None)], "am2", 61, None, True, id="the other's repeat"
        ),
        pytest.param(
            [("k1", "am1", 60, 60), ("k1", "am2", 61, None)], "am2", 122, None, False, id="the first one died"
        ),
        pytest.param([*ONCE, ("k1", "am2", 0, None)], "am3", 2, None, True, id="the third of three"),
        pytest.param([*ONCE, ("k2", "am1", 20, 20)], "am1", 40, None, False, id="another telling in between"),
        pytest.param([*ONCE, ("k2", "am1", 20, 20)], "am1", 40, False, False, id="the same, with its reason"),
        pytest.param([*ONCE, ("k2", "am1", 20, 20)], "am2", 21, None, True, id="the other lags behind"),
        pytest.param(
            [*ONCE, ("k1", "am2", 1, None), ("k2", "am1", 20, 20), ("k1", "am1", 40, 40)],
            "am2",
            41,
            None,
            True,
            id="both flap",
        ),
        pytest.param([("k1", "am1", 0, None)], "am1", 1, None, False, id="what was stale was never told"),
    ],
)
def test_copies_and_repeats(
    copies: list[Any], source: str, now: float, says_repeat: bool | None, duplicate: bool
) -> None:
    """What another one or a retry brings is a duplicate, what the same one brings later is a repeat."""
    sending = Sending("k1", source, now, says_repeat)
    assert is_duplicate([Copy(*copy) for copy in copies], sending) == duplicate


@pytest.mark.parametrize(
    ("told_at", "last_sent_at", "now", "duplicate"),
    [
        pytest.param(100, 100, 1000, True, id="killed before the answer, retried as soon as it is back"),
        pytest.param(100, 100, 1090, True, id="retried after Alertmanager's longest pause"),
        pytest.param(100, 100, 1100, False, id="later than any retry"),
        pytest.param(98, 98, 1000, True, id="just before the last sign of life"),
        pytest.param(80, 80, 1000, False, id="answered before the bridge was away: a repeat"),
        pytest.param(100, 1000, 1050, True, id="that answer was lost as well"),
        pytest.param(100, 1000, 1070, False, id="a repeat after the retry"),
        pytest.param(1001, 1001, 1070, False, id="told after the bridge was back"),
    ],
)
def test_the_time_without_a_bridge_does_not_count(
    told_at: float, last_sent_at: float, now: float, duplicate: bool
) -> None:
    """What was told when the bridge died may have lost its answer, and is retried once the bridge is back."""
    copies = [Copy("k1", "am1", last_sent_at, told_at)]
    assert is_duplicate(copies, Sending("k1", "am1", now), Absence(100, 999)) == duplicate


def test_a_pair_is_told_once(put: Put) -> None:
    """The same alerts from two Alertmanagers are stored once."""
    assert put(source="am1") == "stored"
    assert put(source="am2") == "duplicate"


def test_a_lost_answer_is_told_once(put: Put) -> None:
    """An Alertmanager that sends again because it missed our answer adds nothing."""
    assert [put(), put(), put()] == ["stored", "duplicate", "duplicate"]


def test_a_repeat_is_told(put: Put, clock: Callable[[], float]) -> None:
    """After repeat_interval the same alerts are told once more, by one of the pair."""
    put(source="am1"), put(source="am2")
    clock.pass_by(4 * 3600)  # type: ignore[attr-defined]
    assert put(source="am1") == "stored"
    assert put(source="am2") == "duplicate"


def test_firing_anew_is_told(put: Put, clock: Callable[[], float]) -> None:
    """The same alert that fires again a moment later is news: it has another start."""
    put(started=clock() - 60), put(started=clock() - 60, status="resolved")
    assert put(started=clock() - 1) == "stored"


def test_flapping_with_one_start_is_told(put: Put, clock: Any) -> None:
    """An alert that Alertmanager took for over and that fires on is told each time, by a pair once."""
    for _ in range(2):
        assert put() == "stored"
        assert put(source="am2") == "duplicate"
        clock.pass_by(OWN_STALE_SECONDS)
        assert put(status="resolved") == "stored"
        assert put(status="resolved", source="am2") == "duplicate"
        clock.pass_by(OWN_STALE_SECONDS)


def test_a_group_that_shrinks_again_is_told(put: Put, clock: Any) -> None:
    """A group that is as it was a moment ago has changed twice."""
    put(runs=("r0",))
    clock.pass_by(10)
    put(runs=("r0", "r1"))
    clock.pass_by(10)
    assert put(runs=("r0",)) == "stored"


def test_an_answer_that_died_with_the_bridge_is_told_once(
    storage: Secret, clock: Any, webhook_body: Callable[..., str]
) -> None:
    """Ten minutes after a kill -9 before the answer, what Alertmanager still retries is known."""
    first = Outbox(Database(storage))
    first.open(clock())
    first.sweep(clock(), 60.0)
    text = webhook_body()
    assert first.put(Arrival.of("ml", "am1", parse(text), text, clock())) == "stored"
    first.close()
    clock.pass_by(600)
    second = Outbox(Database(storage))
    second.open(clock())
    clock.pass_by(80)
    assert second.put(Arrival.of("ml", "am1", parse(text), text, clock())) == "duplicate"
    clock.pass_by(3600)
    assert second.put(Arrival.of("ml", "am1", parse(text), text, clock())) == "stored"
    second.close()


def test_a_group_that_grows_is_told(put: Put) -> None:
    """One more alert in the group is news."""
    put(runs=("r0",))
    assert put(runs=("r0", "r1")) == "stored"


def test_a_group_that_grows_beyond_what_is_listed_is_told(put: Put) -> None:
    """With max_alerts the same alerts stay listed; that more are left out is news, the same again is not."""
    verdicts = [put(runs=("r0", "r1"), truncatedAlerts=left_out) for left_out in (10, 10, 250, 0)]
    assert verdicts == ["stored", "duplicate", "stored", "stored"]


def test_receivers_are_told_each(put: Put) -> None:
    """The same webhook for two receivers is not a duplicate."""
    put(receiver="ml")
    assert put(receiver="ops") == "stored"


def test_a_stale_firing_is_dropped(put: Put) -> None:
    """A firing that a pair sends after its resolved was seen is not told."""
    put()
    put(status="resolved")
    assert put(source="am2", externalURL="http://other") in ("stale", "duplicate")
    assert put(source="am2", runs=("r0",), groupKey="another view of it") == "stale"


def test_only_the_stale_part_of_a_group_is_dropped(put: Put, outbox: object) -> None:
    """Of a group of which one alert was seen resolved, the others are told."""
    put(runs=("r0", "r1"))
    put(runs=("r0",), status="resolved")
    assert put(source="am2", runs=("r0", "r2")) == "stored"
    newest = outbox.entries(["waiting"])[0]  # type: ignore[attr-defined]
    assert [alert.labels["run"] for alert in parse(newest.body).alerts] == ["r2"]


def test_an_alert_that_fires_on_after_a_false_resolved_is_told(put: Put, clock: Callable[[], float]) -> None:
    """Alertmanager resolves what Prometheus stops sending; if it comes back with the same start it is told."""
    put(), put(status="resolved")
    clock.pass_by(600)  # type: ignore[attr-defined]
    assert put() == "stored"


def test_alertmanagers_own_word_for_a_repeat_counts(put: Put, clock: Callable[[], float]) -> None:
    """From 0.32 on the webhook says that it is a repeat, so that one within a minute is told."""
    put()
    clock.pass_by(20)  # type: ignore[attr-defined]
    assert put(notification_reason="repeat interval elapsed") == "stored"


def test_an_alert_that_was_taken_for_over_is_told_again(put: Put, clock: Any) -> None:
    """An Alertmanager that had lost sight of Prometheus says that it fires after all, with the same startsAt."""
    put()
    clock.pass_by(600)
    put(status="resolved")
    put(status="resolved", source="am2")
    clock.pass_by(OWN_STALE_SECONDS)
    assert put() == "stored"
    assert put(source="am2") == "duplicate"


@pytest.mark.parametrize(
    ("ends", "after", "expected"),
    [
        ({}, 0, False),
        ({"am1": 100}, 1, True),
        ({"am1": 100}, OWN_STALE_SECONDS, False),
        ({"am2": 100}, OWN_STALE_SECONDS, True),
        ({"am2": 100}, STALE_SECONDS, False),
        ({"am1": 100, "am2": 129}, OWN_STALE_SECONDS, False),
    ],
)
def test_only_who_has_not_told_the_end_is_long_out_of_date(
    ends: dict[str, float], after: float, expected: bool
) -> None:
    """A firing after the end is stale for minutes from another Alertmanager, for seconds from the same one."""
    assert is_stale(ends, "am1", 100 + after) is expected
