"""Times and lengths of time as people say them."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from alertbridge.moments import clock_time, length, length_between, local_time
from alertbridge.webhook import ZERO_TIME

UTC = timezone.utc
NOW = datetime(2026, 11, 22, 19, 20, tzinfo=UTC)
SHANGHAI = ZoneInfo("Asia/Shanghai")


@pytest.mark.parametrize(
    ("moment", "zone", "shown"),
    [
        (datetime(2026, 11, 22, 19, 15, 17, tzinfo=UTC), "Asia/Shanghai", "11-23 03:15"),
        (datetime(2026, 11, 22, 19, 15, 17, tzinfo=UTC), "America/New_York", "11-22 14:15"),
        (datetime(2025, 12, 31, 23, 0, tzinfo=UTC), "UTC", "2025-12-31 23:00"),
        (datetime(2025, 12, 31, 23, 0, tzinfo=UTC), "Asia/Shanghai", "01-01 07:00"),
        (datetime(9999, 12, 31, 23, 0, tzinfo=UTC), "UTC", "9999-12-31 23:00"),
        (datetime(9999, 12, 31, 23, 0, tzinfo=UTC), "Asia/Shanghai", ""),
        (ZERO_TIME, "Asia/Shanghai", ""),
        (ZERO_TIME, "America/New_York", ""),
    ],
)
def test_a_moment_is_shown_in_local_time(moment: datetime, zone: str, shown: str) -> None:
    """Day and clock of the group's zone, the year only if it is another one; impossible times not at all."""
    assert local_time(moment, ZoneInfo(zone), NOW) == shown


def test_an_end_on_the_same_day_is_only_a_clock_time() -> None:
    """From 03:15 to 05:20 needs the day once; over midnight it needs both."""
    start = datetime(2026, 11, 22, 19, 15, tzinfo=UTC)

    assert clock_time(start + timedelta(hours=2), start, SHANGHAI, NOW) == "05:15"
    assert clock_time(start + timedelta(hours=22), start, SHANGHAI, NOW) == "11-24 01:15"
    assert clock_time(ZERO_TIME, start, SHANGHAI, NOW) == ""


@pytest.mark.parametrize(
    ("seconds", "zh", "en"),
    [
        (-5, "0 秒", "0 s"),
        (0.9, "0 秒", "0 s"),
        (59, "59 秒", "59 s"),
        (60, "1 分钟", "1 min"),
        (313, "5 分钟 13 秒", "5 min 13 s"),
        (630, "10 分钟", "10 min"),
        (3600, "1 小时", "1 h"),
        (7500, "2 小时 5 分钟", "2 h 5 min"),
        (86_400 + 59, "1 天", "1 d"),
        (90_000, "1 天 1 小时", "1 d 1 h"),
        (8_640_000, "100 天", "100 d"),
    ],
)
def test_a_length_has_its_two_largest_units(seconds: float, zh: str, en: str) -> None:
    """Two units at most, and no seconds from ten minutes on."""
    assert length(timedelta(seconds=seconds), "zh") == zh
    assert length(timedelta(seconds=seconds), "en") == en


def test_a_length_from_an_impossible_time_is_not_told() -> None:
    """Two thousand years of firing is no news."""
    assert length_between(ZERO_TIME, NOW, "en") == ""
    assert length_between(NOW, ZERO_TIME, "en") == ""
    assert length_between(NOW, datetime(9999, 1, 1, tzinfo=UTC), "en") == "2911752 d 4 h"
