"""When a job is to start, also where the clocks change."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from importlib import resources
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from epochwatch.errors import ScheduleError
from epochwatch.supervisor.cron import Cron, local_zone, zone_of

BERLIN = "Europe/Berlin"


def starts(cron: Cron, after: str, count: int) -> list[str]:
    """Gives the next starts as the zone's wall clock and UTC show them, from a local time on."""
    now = datetime.fromisoformat(after).replace(tzinfo=cron.zone).timestamp()
    found = []
    for _ in range(count):
        now = cron.next_after(now)
        found.append(datetime.fromtimestamp(now, cron.zone).strftime("%m-%d %H:%M %z"))
    return found


@pytest.mark.parametrize(
    ("expression", "after", "expected"),
    [
        ("0 2 * * *", "2026-01-05T12:00", ["01-06 02:00 +0100", "01-07 02:00 +0100"]),
        ("@daily", "2026-01-05T12:00", ["01-06 00:00 +0100", "01-07 00:00 +0100"]),
        ("*/20 9-10 * * MON-FRI", "2026-01-09T10:30", ["01-09 10:40 +0100", "01-12 09:00 +0100"]),
        ("0 6 1,15 * *", "2026-01-02T00:00", ["01-15 06:00 +0100", "02-01 06:00 +0100"]),
        ("0 6 1 * MON", "2026-01-02T00:00", ["01-05 06:00 +0100", "01-12 06:00 +0100"]),
        ("0 0 29 2 *", "2026-01-02T00:00", ["02-29 00:00 +0100", "02-29 00:00 +0100"]),
        ("30 4 L * *", "2026-02-02T00:00", ["02-28 04:30 +0100", "03-31 04:30 +0200"]),
    ],
)
def test_next_starts(expression: str, after: str, expected: list[str]) -> None:
    """An expression's starts follow each other as crontab(5) has it."""
    assert starts(Cron(expression, BERLIN), after, 2) == expected


@pytest.mark.parametrize(
    ("expression", "after", "expected"),
    [
        # 02:00 to 03:00 does not exist on March 29.
        ("30 2 * * *", "2026-03-28T12:00", ["03-29 03:00 +0200", "03-30 02:30 +0200"]),
        ("0 3 * * *", "2026-03-28T12:00", ["03-29 03:00 +0200", "03-30 03:00 +0200"]),
        ("*/30 * * * *", "2026-03-29T01:00", ["03-29 01:30 +0100", "03-29 03:00 +0200"]),
        # 02:00 to 03:00 comes twice on October 25.
        ("30 2 * * *", "2026-10-24T12:00", ["10-25 02:30 +0200", "10-26 02:30 +0100"]),
        ("0 * * * *", "2026-10-25T01:30", ["10-25 02:00 +0200", "10-25 02:00 +0100"]),
    ],
)
def test_clock_change(expression: str, after: str, expected: list[str]) -> None:
    """A fixed time is neither lost in spring nor doubled in autumn, and an interval keeps its beat."""
    assert starts(Cron(expression, BERLIN), after, 2) == expected


def test_the_second_pass_of_an_hour_leads_to_the_next_day() -> None:
    """Asked within the hour's second pass, a start of its first pass is over."""
    now = datetime(2026, 10, 25, 2, 10, tzinfo=ZoneInfo(BERLIN), fold=1).timestamp()

    assert starts(Cron("50 2 * * *", BERLIN), "2026-10-24T12:00", 1) == ["10-25 02:50 +0200"]
    assert Cron("50 2 * * *", BERLIN).next_after(now) - now > 86_400


@given(
    expression=st.sampled_from(
        ["30 2 * * *", "*/15 * * * *", "0 */3 * * *", "5,35 1-3 * * *", "0 0 * * SUN"]
    ),
    zone=st.sampled_from(["Asia/Shanghai", BERLIN, "America/New_York", "Australia/Lord_Howe", "UTC"]),
    now=st.floats(1_700_000_000, 1_900_000_000),
)
@settings(max_examples=200, deadline=None)
def test_a_start_lies_ahead_and_none_lies_before_it(expression: str, zone: str, now: float) -> None:
    """The next start is later than now, on a whole minute, and the same a second before it."""
    cron = Cron(expression, zone)
    at = cron.next_after(now)

    assert at > now
    assert at % 60 == 0
    assert cron.next_after(max(now, at - 1)) == at


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("0 0 30 2 *", "schedule '0 0 30 2 *' never comes: no month named in it has such a day"),
        (
            "0 0 31 4,6,9,11 *",
            "schedule '0 0 31 4,6,9,11 *' never comes: no month named in it has such a day",
        ),
        ("60 2 * * *", "schedule '60 2 * * *': '60' is no minute; it takes 0-59, and of these lists"),
        ("0 24 * * *", "'24' is no hour; it takes 0-23"),
        ("0 0 0 * *", "'0' is no day-of-month; it takes 1-31"),
        ("0 0 1 13 *", "'13' is no month; it takes 1-12 or JAN-DEC"),
        ("0 0 * * 8", "'8' is no day-of-week; it takes 0-7 or SUN-SAT"),
        ("*/0 * * * *", "'*/0' is no minute"),
        ("H 2 * * *", "'H' is no minute"),
        ("", 'five fields are needed, minute hour day-of-month month day-of-week, as in "0 2 * * *"'),
        ("0 2 * *", "this has 4"),
        ("0 0 2 * * *", "this has 6, and there is none for seconds or years"),
        ("@reboot", "@reboot names no time"),
        ("nightly", "this has 1"),
    ],
)
def test_wrong_expressions(expression: str, message: str) -> None:
    """What is no schedule, or one that never comes, is refused with what is wrong about it."""
    with pytest.raises(ScheduleError) as refused:
        Cron(expression, "UTC")

    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("Asia/Shangai", "did you mean 'Asia/Shanghai'?"),
        ("asia/shanghai", "did you mean 'Asia/Shanghai'?"),
        ("Shanghai", "did you mean 'Asia/Shanghai'?"),
        ("Asia/Beijing", "did you mean 'Asia/Shanghai'?"),
        ("xyzzy", "names are like Asia/Shanghai or UTC"),
        ("../../etc/passwd", "names are like Asia/Shanghai or UTC"),
        ("Asia", "is not known"),
        ("\0", "is not known"),
    ],
)
def test_wrong_zones(name: str, hint: str) -> None:
    """An unknown zone is refused with the nearest known name."""
    with pytest.raises(ScheduleError) as refused:
        zone_of(name)

    assert hint in str(refused.value)
    assert repr(name) in str(refused.value)


def test_the_machines_own_zone(tmp_path: Path) -> None:
    """TZ wins over /etc/localtime, which keeps its rules; a machine with neither has UTC."""
    localtime = tmp_path / "localtime"
    summer = datetime(2026, 7, 1, tzinfo=timezone.utc)
    localtime.write_bytes(resources.files("tzdata.zoneinfo.Europe").joinpath("Berlin").read_bytes())

    assert summer.astimezone(local_zone({}, localtime)).utcoffset() == timedelta(hours=2)
    assert local_zone({"TZ": ":Asia/Shanghai"}, localtime) == ZoneInfo("Asia/Shanghai")
    assert local_zone({}, tmp_path / "none") is timezone.utc
