"""Duplicates, repeats, stale news: which is which."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from alertbridge.identity import OWN_STALE_SECONDS, STALE_SECONDS, Copy, is_duplicate, is_stale
from alertbridge.webhook import parse

Put = Callable[..., str]


@pytest.mark.parametrize(
    ("copies", "source", "now", "says_repeat", "duplicate"),
    [
        pytest.param([], "am1", 0, False, False, id="never seen"),
        pytest.param([("am1", 0, 0)], "am1", 1, False, True, id="retry after a lost answer"),
        pytest.param([("am1", 0, 0)], "am1", 59, False, True, id="late retry"),
        pytest.param([("am1", 0, 0)], "am1", 61, False, False, id="repeat after repeat_interval"),
        pytest.param([("am1", 0, 0)], "am1", 10, True, False, id="a quick repeat that says so"),
        pytest.param([("am1", 0, 0)], "am1", 1, True, True, id="a retry of a repeat"),
        pytest.param([("am1", 0, 0)], "am2", 1, False, True, id="the pair's other copy"),
        pytest.param([("am1", 0, 0)], "am2", 290, False, True, id="the other copy, late"),
        pytest.param([("am1", 0, 0)], "am2", 310, False, False, id="much too late for a copy"),
        pytest.param([("am1", 60, 60), ("am2", 1, None)], "am2", 61, False, True, id="the other's repeat"),
        pytest.param([("am1", 60, 60), ("am2", 61, None)], "am2", 122, False, False, id="the first one died"),
        pytest.param([("am1", 0, 0), ("am1", 0, 0)], "am3", 2, False, True, id="the third of three"),
    ],
)
def test_copies_and_repeats(
    copies: list[tuple[str, float, float | None]], source: str, now: float, says_repeat: bool, duplicate: bool
) -> None:
    """What another one or a retry brings is a duplicate, what the same one brings later is a repeat."""
    assert is_duplicate([Copy(*copy) for copy in copies], source, now, says_repeat) == duplicate


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


def test_a_group_that_grows_is_told(put: Put) -> None:
    """One more alert in the group is news."""
    put(runs=("r0",))
    assert put(runs=("r0", "r1")) == "stored"


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
