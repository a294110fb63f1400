"""Points in time and lengths of time as people say them, in Chinese and English. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta, tzinfo

from alertbridge.settings import Language

# Go's zero time and broken clocks are not told as dates.
EARLIEST_YEAR = 2000

_UNITS = {"zh": (" 天", " 小时", " 分钟", " 秒"), "en": (" d", " h", " min", " s")}
_SECONDS = (86_400, 3600, 60, 1)


def local_time(moment: datetime, zone: tzinfo, now: datetime) -> str:
    """Takes a moment, gives month, day, hour and minute there; the year too if it is not the present one.

    What cannot be a time of an alert gives "".
    """
    if moment.year < EARLIEST_YEAR:
        return ""
    try:
        local, today = moment.astimezone(zone), now.astimezone(zone)
    except OverflowError:  # the last hours of the year 9999, east of Greenwich
        return ""
    return local.strftime("%m-%d %H:%M" if local.year == today.year else "%Y-%m-%d %H:%M")


def clock_time(moment: datetime, start: datetime, zone: tzinfo, now: datetime) -> str:
    """Takes the end of something, gives only its hour and minute if it began on the same day."""
    end, begin = local_time(moment, zone, now), local_time(start, zone, now)
    day, _, clock = end.rpartition(" ")
    return clock if day and begin.rpartition(" ")[0] == day else end


def length(span: timedelta, language: Language) -> str:
    """Takes a length of time, gives its two largest units, as in `2 h 5 min`; never less than `0 s`.

    From ten minutes on nobody counts seconds.
    """
    left = max(int(span.total_seconds()), 0)
    if left >= 600:
        left -= left % 60
    first = next((at for at, size in enumerate(_SECONDS) if left >= size), len(_SECONDS) - 1)
    parts: list[str] = []
    for size, unit in zip(_SECONDS[first : first + 2], _UNITS[language][first : first + 2], strict=True):
        count, left = divmod(left, size)
        if count or not parts:
            parts.append(f"{count}{unit}")
    return " ".join(parts)


def length_between(start: datetime, end: datetime, language: Language) -> str:
    """Takes two moments, gives how far apart they are, or "" if that is no second, or one of them cannot be."""
    if end - start < timedelta(seconds=1):
        return ""
    if start.year < EARLIEST_YEAR or end.year < EARLIEST_YEAR:
        return ""
    return length(end - start, language)
