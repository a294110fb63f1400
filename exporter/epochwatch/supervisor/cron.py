"""When a job is to start: a five-field cron expression in a time zone, as a pure function of now.

cronsim follows Debian's cron where the clocks change: a job of fixed times in the hour that does not exist starts
right after it, one in the hour that comes twice starts once; one that starts every so many minutes or hours keeps
its beat.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from cronsim import CronSim, CronSimError

from ..errors import ScheduleError

LOCALTIME = Path("/etc/localtime")

_FIELDS = "minute hour day-of-month month day-of-week"
_EXAMPLE = f'five fields are needed, {_FIELDS}, as in "0 2 * * *" for each night at 2'
_RANGES = {
    "minute": "0-59",
    "hour": "0-23",
    "day-of-month": "1-31, or L for the last",
    "month": "1-12 or JAN-DEC",
    "day-of-week": "0-7 or SUN-SAT; both 0 and 7 are Sunday",
}
# As in crontab(5); @reboot is none of them, since it names no time.
_NICKNAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
# Cities that people look for; the database names a zone after another one.
_ZONE_OF_CITY = {"beijing": "Asia/Shanghai", "shenzhen": "Asia/Shanghai", "hangzhou": "Asia/Shanghai"}


@dataclass(frozen=True)
class Cron:
    """A schedule.

    Args:
        expression: Five fields, or a nickname such as @daily.
        timezone: IANA name; empty for this machine's own.

    Raises:
        ScheduleError: If it is no expression, never comes true, or the zone is not known.
    """

    expression: str
    timezone: str = ""
    zone: tzinfo = field(init=False, repr=False, compare=False)
    _fields: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "zone", zone_of(self.timezone))
        object.__setattr__(self, "_fields", _checked(self.expression))

    def next_after(self, now: float) -> float:
        """Takes a Unix time and gives that of the first start after it, in seconds."""
        # Past the repeated hour the library may name its first pass again, which lies before now.
        moments = CronSim(self._fields, datetime.fromtimestamp(now, self.zone))
        return next(at for at in (moment.timestamp() for moment in moments) if at > now)


def zone_of(name: str) -> tzinfo:
    """Takes an IANA name, or "" for this machine's own zone, and gives the zone.

    Raises:
        ScheduleError: If the database has none of that name; with the nearest one that it has.
    """
    if not name:
        return local_zone()
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ScheduleError(f"time zone {name!r} is not known; {_nearest_zone(name)}") from None


def local_zone(environ: Mapping[str, str] = os.environ, localtime: Path = LOCALTIME) -> tzinfo:
    """Gives this machine's zone with its rules: of TZ, else of /etc/localtime, else UTC."""
    name = environ.get("TZ", "").removeprefix(":")
    if name:
        return zone_of(name)
    try:
        with localtime.open("rb") as file:
            return ZoneInfo.from_file(file)
    except (OSError, ValueError):
        return timezone.utc


def _checked(expression: str) -> str:
    fields = _NICKNAMES.get(expression.strip().lower(), expression)
    if len(fields.split()) != 5:
        raise ScheduleError(f"schedule {expression!r}: {_EXAMPLE}{_why_not_five(fields)}")
    try:
        next(CronSim(fields, datetime(2000, 1, 1, tzinfo=timezone.utc)))
    except StopIteration:
        raise _never(expression) from None
    except CronSimError as error:
        name = str(error).removeprefix("Bad ")
        if _is_possible_day(name, fields):
            raise _never(expression) from None
        part = dict(zip(_FIELDS.split(), fields.split(), strict=True)).get(name, "")
        raise ScheduleError(
            f"schedule {expression!r}: {part!r} is no {name}; it takes {_RANGES.get(name, '')}, and of these lists "
            "(1,15), ranges (1-5) and steps (*/10)"
        ) from None
    return fields


def _why_not_five(fields: str) -> str:
    if fields.strip().lower() == "@reboot":
        return "; @reboot names no time"
    given = len(fields.split())
    return f"; this has {given}" + (", and there is none for seconds or years" if given > 5 else "")


def _is_possible_day(name: str, fields: str) -> bool:
    """Tells whether the day by itself is right, so that only no month of the expression has it."""
    if name != "day-of-month":
        return False
    try:
        CronSim(f"0 0 {fields.split()[2]} * *", datetime(2000, 1, 1, tzinfo=timezone.utc))
    except CronSimError:
        return False
    return True


def _never(expression: str) -> ScheduleError:
    return ScheduleError(f"schedule {expression!r} never comes: no month named in it has such a day")


def _nearest_zone(name: str) -> str:
    known = sorted(available_timezones())
    city = name.rpartition("/")[2].lower()
    wanted = _ZONE_OF_CITY.get(city) or next(
        (zone for zone in known if zone.rpartition("/")[2].lower() == city), None
    )
    near = [wanted] if wanted else difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else "names are like Asia/Shanghai or UTC"
