"""`epochwatch jobs` shows at a glance what ran, how it ended, and what comes next."""

from __future__ import annotations

from datetime import datetime

from epochwatch.supervisor.cron import zone_of
from epochwatch.supervisor.jobtable import table
from epochwatch.supervisor.state import JobState


def at(text: str) -> float:
    return datetime.fromisoformat(f"2026-05-{text}").replace(tzinfo=zone_of("Asia/Shanghai")).timestamp()


def test_each_job_is_a_line() -> None:
    """Good, failed, running, missed, never run and lost: each is told apart, in columns that are straight."""
    nightly = {"schedule": "0 2 * * *", "timezone": "Asia/Shanghai", "grace_seconds": 600.0}
    good = {
        **nightly,
        "last_start": at("05T02:00"),
        "last_end": at("05T04:10"),
        "last_success": at("05T04:10"),
        "last_outcome": "success",
        "last_exit_code": 0,
        "last_duration_seconds": 7800.0,
        "next_start": at("06T02:00"),
    }
    states = {
        "good": JobState(**good),
        "失败的": JobState(**{**good, "last_outcome": "cuda_oom", "last_exit_code": 1, "last_success": None}),
        "running": JobState(**{**good, "last_start": at("05T09:30"), "runs": {"skipped": 2}}),
        "missed": JobState(**{**good, "next_start": at("05T07:00")}),
        "lost": JobState(**{**good, "last_start": at("05T09:30")}),
        "new": JobState(schedule="@weekly", next_start=at("10T00:00"), timezone="UTC"),
    }

    assert table(states, frozenset({"running"}), at("05T10:00"), zone_of).splitlines() == [
        "JOB      SCHEDULE                 LAST START            TOOK        OUTCOME       LAST SUCCESS          "
        "NEXT START            NOTE",
        "good     0 2 * * * Asia/Shanghai  2026-05-05 02:00 CST  2 h 10 min  success       2026-05-05 04:10 CST  "
        "2026-05-06 02:00 CST",
        "失败的   0 2 * * * Asia/Shanghai  2026-05-05 02:00 CST  2 h 10 min  cuda_oom (1)  -                     "
        "2026-05-06 02:00 CST",
        "running  0 2 * * * Asia/Shanghai  2026-05-05 09:30 CST  30 min      running       2026-05-05 04:10 CST  "
        "2026-05-06 02:00 CST  2 left out",
        "missed   0 2 * * * Asia/Shanghai  2026-05-05 02:00 CST  2 h 10 min  success       2026-05-05 04:10 CST  "
        "2026-05-05 07:00 CST  missed its start 3 h ago",
        "lost     0 2 * * * Asia/Shanghai  2026-05-05 09:30 CST  2 h 10 min  success       2026-05-05 04:10 CST  "
        "2026-05-06 02:00 CST  its last run ended unseen",
        "new      @weekly UTC              -                     -           -             -                     "
        "2026-05-09 16:00 UTC",
    ]
