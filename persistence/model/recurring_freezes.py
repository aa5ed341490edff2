"""Freezes that come again: when they begin and end.

A schedule is five fields of cron (https://pubs.opengroup.org/onlinepubs/9799919799/utilities/crontab.html), with steps
and names as everywhere: minute, hour, day of the month, month, day of the week. Where both kinds of days are given,
either will do. It names local times of an IANA time zone. As in RFC 5545, one that comes twice is the first of the two,
and one that does not come is taken with the offset from before it: 02:30 is 03:30 where the clock skips from 02:00 to
03:00. Of a duration, days are days of the calendar there, and hours, minutes and seconds elapse: from Friday 18:00,
`P2DT14H` is until Monday 08:00, whatever the clocks do on Sunday.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import product
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

from persistence.errors import StoreUnavailable
from persistence.model.fields import did_you_mean, quoted
from persistence.model.policy import FreezeWindow, NamespacePolicy, RecurringFreeze

MAX_BEGINNINGS: Final = 4
"""Of one schedule, in a day."""

MAX_DAYS: Final = 31
"""Of a duration."""

_TICK: Final = timedelta(microseconds=1)

_DAY: Final = timedelta(days=1)

_CACHED: Final = 4_096

_LONGEST_FIELD: Final = 128

_MONTHS: Final = {name.lower(): number for number, name in enumerate(calendar.month_abbr) if number}

_WEEKDAYS: Final = {name: number for number, name in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"))}

_FIELDS: Final[tuple[tuple[str, int, int, Mapping[str, int]], ...]] = (
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of the month", 1, 31, {}),
    ("month", 1, 12, _MONTHS),
    ("day of the week", 0, 7, _WEEKDAYS),
)

_PART: Final = re.compile(r"(?P<all>\*)|(?P<first>[0-9]{1,2}|[a-z]{3})(?:-(?P<last>[0-9]{1,2}|[a-z]{3}))?", re.ASCII)

_STEP: Final = re.compile(r"[1-9][0-9]?", re.ASCII)

_DURATION: Final = re.compile(
    r"P(?:(?P<weeks>[0-9]{1,2})W|(?:(?P<days>[0-9]{1,2})D)?"
    r"(?:T(?=[0-9])(?:(?P<hours>[0-9]{1,4})H)?(?:(?P<minutes>[0-9]{1,6})M)?(?:(?P<seconds>[0-9]{1,8})S)?)?)",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Schedule:
    """`days` or `weekdays` (0 is Sunday) are null where any will do."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int] | None
    months: frozenset[int]
    weekdays: frozenset[int] | None

    def has(self, day: date) -> bool:
        if day.month not in self.months:
            return False
        of_month = self.days is not None and day.day in self.days
        of_week = self.weekdays is not None and day.isoweekday() % 7 in self.weekdays
        return of_month or of_week or (self.days is None and self.weekdays is None)


@lru_cache(_CACHED)
def schedule_of(text: str) -> Schedule:
    """Raises ValueError for what is none, and for one that never comes, or too often in a day."""
    parts = text.split()
    if len(parts) != len(_FIELDS):
        raise ValueError(
            f"has {len(parts)} fields, not 5: minute, hour, day of the month, month and day of the week, "
            "such as 0 18 * * fri"
        )
    minutes, hours, days, months, weekdays = (
        _values(part.lower(), *field) for part, field in zip(parts, _FIELDS, strict=True)
    )
    beginnings = len(minutes) * len(hours)
    if beginnings > MAX_BEGINNINGS:
        raise ValueError(f"begins {beginnings} times in a day; at most {MAX_BEGINNINGS} are allowed")
    found = Schedule(
        minutes,
        hours,
        None if parts[2] == "*" else days,
        months,
        None if parts[4] == "*" else frozenset(day % 7 for day in weekdays),
    )
    longest = max(calendar.monthrange(2000, month)[1] for month in months)
    if found.days is not None and found.weekdays is None and min(found.days) > longest:
        raise ValueError(f"never comes: no month of these has a day {min(found.days)}")
    return found


def _values(text: str, name: str, least: int, most: int, names: Mapping[str, int]) -> frozenset[int]:
    found: set[int] = set()
    for part in text[:_LONGEST_FIELD].split(","):
        span, slash, step = part.partition("/")
        match = _PART.fullmatch(span)
        if match is None or (slash and not (step.isascii() and step.isdecimal() and len(step) < 3 and int(step))):  # noqa: PLR2004 - digits
            raise ValueError(
                f"has {quoted(part)} for the {name}: write a number from {least} to {most}, a-b, a,b or */n"
            )
        first, last = match["first"], match["last"]
        begin = least if match["all"] else _number(first, name, least, most, names)
        end = _number(last, name, least, most, names) if last else most if match["all"] or slash else begin
        if end < begin:
            raise ValueError(f"has {quoted(part)} for the {name}, which ends before it begins")
        found.update(range(begin, end + 1, int(step) if slash else 1))
    return frozenset(found)


def _number(text: str, name: str, least: int, most: int, names: Mapping[str, int]) -> int:
    number = names.get(text)
    if number is None and text.isdecimal():
        number = int(text)
    if number is None or not least <= number <= most:
        raise ValueError(f"has {quoted(text)} for the {name}: write a number from {least} to {most}")
    return number


@lru_cache(_CACHED)
def duration_of(text: str) -> tuple[int, timedelta]:
    """Days of the calendar, and time that elapses after them. Raises ValueError."""
    match = _DURATION.fullmatch(text)
    if match is None or not any(match.groups()):
        raise ValueError(f"{quoted(text)} is no duration: write for example P2DT14H, PT90M or P1W")
    weeks, days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    rest = timedelta(hours=hours, minutes=minutes, seconds=seconds)
    if not timedelta() < timedelta(weeks=weeks, days=days) + rest <= timedelta(days=MAX_DAYS):
        raise ValueError(f"must be longer than nothing and at most {MAX_DAYS} days")
    return 7 * weeks + days, rest


@lru_cache(1)
def _known_zones() -> frozenset[str]:
    return frozenset(available_timezones())


@lru_cache(_CACHED)
def _zone(name: str) -> ZoneInfo:
    """Raises ValueError for one that this machine does not know."""
    known = _known_zones()
    if not known:
        raise ValueError("cannot be looked up: this server has no database of time zones (install tzdata)")
    if name not in known:  # files beside them may mean something else on another machine
        raise ValueError(f"{quoted(name)} is no time zone of IANA{did_you_mean(name, known)}")
    return ZoneInfo(name)


def freeze_problems(freeze: RecurringFreeze) -> Iterator[tuple[str, str]]:
    """By field, but for its reason."""
    for name, value, read in (
        ("schedule", freeze.schedule, schedule_of),
        ("duration", freeze.duration, duration_of),
        ("timeZone", freeze.time_zone, _zone),
    ):
        try:
            read(value)
        except ValueError as problem:
            yield name, str(problem)
    if freeze.until is not None and freeze.until.tzinfo is None:
        yield "until", f"{quoted(freeze.until.isoformat())} has no time zone: write for example 2026-01-31T09:30:00Z"


def freezes_between(policy: NamespacePolicy, start: datetime, end: datetime) -> list[FreezeWindow]:
    """The freezes of both kinds that are in force at some time from `start` until before `end`, as they begin.

    Raises StoreUnavailable where the database of time zones lacks one.
    """
    found = [freeze for freeze in policy.freezes if freeze.begins < end and start < freeze.ends]
    for freeze in policy.recurring_freezes:
        found += _occurrences(freeze, start, end)
    return sorted(found, key=lambda window: (window.begins, window.ends))


def freezes_at(policy: NamespacePolicy, time: datetime) -> list[FreezeWindow]:
    """Those in force then. Raises as `freezes_between`."""
    found = [freeze for freeze in policy.freezes if freeze.begins <= time < freeze.ends]
    for freeze in policy.recurring_freezes:
        day = time.astimezone(UTC).toordinal()
        found += [window for window in _on_day(freeze, day) if window.begins <= time < window.ends]
    return found


@lru_cache(_CACHED)
def _on_day(freeze: RecurringFreeze, day: int) -> tuple[FreezeWindow, ...]:
    """On a day in UTC, by its ordinal."""
    start = datetime.combine(date.fromordinal(day), datetime.min.time(), UTC)
    return tuple(_occurrences(freeze, start, start + _DAY))


def _occurrences(freeze: RecurringFreeze, start: datetime, end: datetime) -> Iterator[FreezeWindow]:
    """Those that are in force at some time from `start` until before `end`."""
    try:
        schedule, (days, rest), zone = (
            schedule_of(freeze.schedule),
            duration_of(freeze.duration),
            _zone(freeze.time_zone),
        )
    except ValueError as error:
        # It was valid where it was configured: by another machine, with another database of time zones.
        raise StoreUnavailable(f"a recurring freeze ({freeze.reason}) cannot be worked out: {error}") from error
    # No offset changes by more than a day.
    first = start.astimezone(zone).toordinal() - days - rest // _DAY - 2
    last = end.astimezone(zone).toordinal() + 1
    times = sorted(product(schedule.hours, schedule.minutes))
    for ordinal in range(max(first, date.min.toordinal()), last + 1):
        day = date.fromordinal(ordinal)
        if not schedule.has(day):
            continue
        for hour, minute in times:
            local = datetime(day.year, day.month, day.day, hour, minute)  # noqa: DTZ001 - of the zone
            begins = local.replace(tzinfo=zone).astimezone(UTC)
            ends = (local + timedelta(days=days)).replace(tzinfo=zone).astimezone(UTC) + rest
            if begins < end and start < ends and (freeze.until is None or begins < freeze.until):
                yield FreezeWindow(begins, ends, freeze.reason)
