"""When recurring freezes begin and end, held against the database of time zones itself."""

from __future__ import annotations

import zoneinfo
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from persistence.errors import StoreUnavailable
from persistence.model import recurring_freezes
from persistence.model.fields import Problems
from persistence.model.policy import FreezeWindow, NamespacePolicy, RecurringFreeze
from persistence.model.policy_rules import add_policy_problems
from persistence.model.recurring_freezes import duration_of, freezes_at, freezes_between, schedule_of

BERLIN = "Europe/Berlin"
MINUTE = timedelta(minutes=1)
# Zones whose clocks change by an hour, by half of one, in the other half of the year, not at all, and a whole day.
ZONES = (BERLIN, "America/New_York", "Australia/Lord_Howe", "America/St_Johns", "Asia/Kolkata", "Pacific/Apia")
# Around which they do, in these zones and others.
CHANGES = tuple(
    datetime(*day, tzinfo=UTC)
    for day in ((2026, 3, 29), (2026, 10, 25), (2026, 3, 8), (2026, 11, 1), (2026, 4, 5), (2026, 10, 4), (2011, 12, 30))
)


def weekly(schedule: str, duration: str, zone: str = BERLIN, **more: Any) -> NamespacePolicy:
    return NamespacePolicy(recurring_freezes=(RecurringFreeze(schedule, duration, zone, "weekend", **more),))


def utc(*time: int) -> datetime:
    return datetime(*time, tzinfo=UTC)  # type: ignore[arg-type,misc]  # from the year on


def first(policy: NamespacePolicy, after: datetime) -> FreezeWindow:
    found = freezes_between(policy, after, after + timedelta(days=40))
    return next(window for window in found if window.begins > after)


@pytest.mark.parametrize(
    ("after", "begins", "ends"),
    [
        (utc(2026, 1, 5), utc(2026, 1, 9, 17), utc(2026, 1, 12, 7)),
        (utc(2026, 6, 1), utc(2026, 6, 5, 16), utc(2026, 6, 8, 6)),
        # 61 and 63 hours: the clocks change on Sunday.
        (utc(2026, 3, 23), utc(2026, 3, 27, 17), utc(2026, 3, 30, 6)),
        (utc(2026, 10, 19), utc(2026, 10, 23, 16), utc(2026, 10, 26, 7)),
    ],
)
def test_a_weekend_is_from_friday_to_monday_whatever_the_clocks_do(
    after: datetime, begins: datetime, ends: datetime
) -> None:
    found = first(weekly("0 18 * * fri", "P2DT14H"), after)
    assert (found.begins, found.ends) == (begins, ends)


@pytest.mark.parametrize(
    ("schedule", "zone", "after", "begins"),
    [
        # Skipped, by an hour and by half of one; and by a day, which was not there at all.
        ("30 2 * * *", BERLIN, utc(2026, 3, 28, 12), utc(2026, 3, 29, 1, 30)),
        ("15 2 * * *", "Australia/Lord_Howe", utc(2026, 10, 3, 12), utc(2026, 10, 3, 15, 45)),
        ("0 10 30 12 *", "Pacific/Apia", utc(2011, 12, 1), utc(2011, 12, 30, 20)),
        # Twice: the first one.
        ("30 2 * * *", BERLIN, utc(2026, 10, 24, 12), utc(2026, 10, 25, 0, 30)),
        ("45 1 * * *", "Australia/Lord_Howe", utc(2026, 4, 4, 0), utc(2026, 4, 4, 14, 45)),
    ],
)
def test_a_local_time_that_is_not_there_or_twice_begins_once(
    schedule: str, zone: str, after: datetime, begins: datetime
) -> None:
    policy = weekly(schedule, "PT1H", zone)
    assert first(policy, after) == FreezeWindow(begins, begins + timedelta(hours=1), "weekend")
    day = freezes_between(policy, begins - timedelta(hours=6), begins + timedelta(hours=6))
    assert [window.begins for window in day] == [begins]


def instant_of(local: datetime, zone: ZoneInfo) -> datetime:
    """By walking through the minutes of two days: the first that is so called, or else as long after the clocks were
    changed as they were before."""
    time = local.replace(tzinfo=UTC) - timedelta(hours=36)
    shown = time.astimezone(zone).replace(tzinfo=None)
    for _ in range(72 * 60):
        before, time = time, time + MINUTE
        was, shown = shown, time.astimezone(zone).replace(tzinfo=None)
        if shown == local:
            return time
        if was < local < shown:
            return before + (local - was)
    raise AssertionError(local)


@settings(max_examples=60, deadline=None)
@given(
    zone=st.sampled_from(ZONES),
    around=st.sampled_from(CHANGES),
    shift=st.integers(-3, 3),
    hour=st.integers(0, 23),
    minute=st.sampled_from((0, 15, 30, 59)),
    days=st.integers(0, 3),
    rest=st.sampled_from((timedelta(), timedelta(minutes=45), timedelta(hours=30))),
)
def test_every_freeze_is_where_the_time_zone_has_it(
    zone: str, around: datetime, shift: int, hour: int, minute: int, days: int, rest: timedelta
) -> None:
    rest = rest or (timedelta() if days else timedelta(minutes=1))
    duration = f"P{days}D" + (f"T{int(rest.total_seconds())}S" if rest else "")
    day = (around + timedelta(days=shift)).replace(tzinfo=None)
    local = day.replace(hour=hour, minute=minute)
    policy = weekly(f"{minute} {hour} {local.day} {local.month} *", duration, zone)
    begins = instant_of(local, ZoneInfo(zone))
    ends = (begins if days == 0 else instant_of(local + timedelta(days=days), ZoneInfo(zone))) + rest
    window = FreezeWindow(begins, ends, "weekend")
    if ends == begins:  # the day that Apia left out
        assert freezes_between(policy, begins - timedelta(days=40), ends + timedelta(days=40)) == []
        return
    assert freezes_between(policy, begins - timedelta(days=40), ends + timedelta(days=40)) == [window]
    tick = timedelta(microseconds=1)
    inside = [begins, ends - tick, begins + (ends - begins) / 2]
    assert [freezes_at(policy, time) for time in inside] == [[window]] * 3
    assert [freezes_at(policy, time) for time in (begins - tick, ends)] == [[], []]
    assert freezes_between(policy, begins - tick, begins) == freezes_between(policy, ends, ends + tick) == []
    assert freezes_between(policy, ends - tick, ends) == freezes_between(policy, begins, begins + tick) == [window]


@settings(max_examples=100, deadline=None)
@given(
    start=st.datetimes(datetime(1990, 1, 1), datetime(2050, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - of `timezones`
    hours=st.integers(1, 400),
    zone=st.sampled_from(ZONES),
    weekdays=st.sets(st.integers(0, 6), min_size=1),
    duration=st.sampled_from(("PT8H", "P2DT14H", "P1W")),
)
def test_the_freezes_of_a_span_are_those_of_its_times(
    start: datetime, hours: int, zone: str, weekdays: set[int], duration: str
) -> None:
    policy = weekly(f"30 1,22 * * {','.join(map(str, sorted(weekdays)))}", duration, zone)
    times = [start + timedelta(minutes=minute) for minute in range(0, hours * 60, 30)]
    found = freezes_between(policy, start, times[-1] + MINUTE)
    assert found == sorted(found, key=lambda window: window.begins)
    at_times = {window for time in times for window in freezes_at(policy, time)}
    assert at_times <= set(found)
    assert all(window.begins < times[-1] + MINUTE and start < window.ends for window in found)
    # Each is longer than what lies between two of the times.
    assert at_times == set(found)


def test_none_begins_from_its_last_moment_on() -> None:
    begins = utc(2026, 1, 9, 17)
    for until, count in ((begins, 0), (begins + timedelta(seconds=1), 1), (begins + timedelta(days=8), 2)):
        policy = weekly("0 18 * * fri", "P2DT14H", until=until)
        assert len(freezes_between(policy, utc(2026, 1, 6), utc(2026, 3, 5))) == count
    assert freezes_at(weekly("0 18 * * fri", "P2DT14H", until=begins + timedelta(seconds=1)), utc(2026, 1, 12, 6))


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0 0 1 * *", ({0}, {0}, {1}, set(range(1, 13)), None)),
        ("0,30 9-17/8 * JAN-MAR,12 mon-FRI", ({0, 30}, {9, 17}, None, {1, 2, 3, 12}, {1, 2, 3, 4, 5})),
        ("*/30 0 */10 2 7", ({0, 30}, {0}, {1, 11, 21, 31}, {2}, {0})),
        ("5/20 0 * * 5-7", ({5, 25, 45}, {0}, None, set(range(1, 13)), {5, 6, 0})),
    ],
)
def test_a_schedule_is_read_as_cron_reads_it(text: str, values: tuple[set[int] | None, ...]) -> None:
    found = schedule_of(text)
    fields = (found.minutes, found.hours, found.days, found.months, found.weekdays)
    assert [None if field is None else set(field) for field in fields] == list(values)


def test_either_kind_of_day_will_do_where_both_are_given() -> None:
    found = freezes_between(weekly("0 0 13 * fri", "PT1H", "UTC"), utc(2026, 2, 1), utc(2026, 3, 1))
    assert [window.begins.day for window in found] == [6, 13, 20, 27]
    found = freezes_between(weekly("0 0 14 * fri", "PT1H", "UTC"), utc(2026, 2, 1), utc(2026, 3, 1))
    assert [window.begins.day for window in found] == [6, 13, 14, 20, 27]


def test_what_comes_every_four_years_comes() -> None:
    policy = weekly("0 0 29 feb *", "P1D", "UTC")
    assert freezes_at(policy, utc(2028, 2, 29, 12))
    assert not freezes_at(policy, utc(2027, 3, 1, 12))


WRONG = [
    ({"schedule": ""}, "schedule", "has 0 fields, not 5"),
    ({"schedule": "@weekly"}, "schedule", "has 1 fields, not 5"),
    ({"schedule": "60 0 * * *"}, "schedule", "has '60' for the minute: write a number from 0 to 59"),
    ({"schedule": "0 24 * * *"}, "schedule", "hour"),
    ({"schedule": "0 0 0 * *"}, "schedule", "day of the month"),
    ({"schedule": "0 0 * xyz *"}, "schedule", "month"),
    ({"schedule": "0 0 * * 8"}, "schedule", "day of the week"),
    ({"schedule": "0 0 * * fri-mon"}, "schedule", "ends before it begins"),
    ({"schedule": "0 */0 * * *"}, "schedule", "hour"),
    ({"schedule": "0 0 ? * *"}, "schedule", "day of the month"),
    ({"schedule": "0 0 * * ,"}, "schedule", "day of the week"),
    ({"schedule": "0 0 \u0661 * *"}, "schedule", "day of the month"),
    ({"schedule": "0 0 31 4,6 *"}, "schedule", "never comes: no month of these has a day 31"),
    ({"schedule": "*/10 * * * *"}, "schedule", "begins 144 times in a day; at most 4 are allowed"),
    *(
        ({"duration": text}, "duration", "is no duration")
        for text in ("", "P", "PT", "P1DT", "8h", "P1Y", "PT-1H", "P1D2W")
    ),
    *(({"duration": text}, "duration", "at most 31 days") for text in ("PT0S", "P32D", "PT9999H", "P5W")),
    ({"time_zone": "Europe/Berln"}, "timeZone", "is no time zone of IANA; did you mean Europe/Berlin?"),
    ({"time_zone": "+01:00"}, "timeZone", "is no time zone"),
    ({"time_zone": "../zoneinfo/UTC"}, "timeZone", "is no time zone"),
    ({"time_zone": "right/Europe/Berlin"}, "timeZone", "is no time zone"),
    ({"time_zone": ""}, "timeZone", "is no time zone"),
    ({"reason": " "}, "reason", ""),
    ({"until": datetime(2026, 1, 1)}, "until", "has no time zone"),  # noqa: DTZ001 - what is wrong with it
]


@pytest.mark.parametrize(("fields", "name", "message"), WRONG)
def test_what_cannot_be_is_named_by_its_field(fields: dict[str, Any], name: str, message: str) -> None:
    given = {"schedule": "0 18 * * fri", "duration": "P2DT14H", "time_zone": BERLIN, "reason": "x", **fields}
    problems = Problems()
    add_policy_problems(problems, NamespacePolicy(recurring_freezes=(RecurringFreeze(**given),)))
    (error,) = problems
    assert error.field == f"policy.recurringFreezes[0].{name}"
    assert message in error.message


def test_there_are_only_so_many() -> None:
    (one,) = weekly("0 18 * * fri", "P2DT14H").recurring_freezes
    problems = Problems()
    add_policy_problems(problems, NamespacePolicy(recurring_freezes=(one,) * 17))
    assert [error.field for error in problems] == ["policy.recurringFreezes"]


@pytest.fixture
def no_time_zones(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    caches = recurring_freezes._known_zones, recurring_freezes._zone, recurring_freezes._on_day  # noqa: SLF001 - what it keeps
    for cache in caches:
        cache.cache_clear()
    monkeypatch.setattr(recurring_freezes, "available_timezones", set)
    yield
    for cache in caches:
        cache.cache_clear()
    assert zoneinfo.available_timezones()


@pytest.mark.usefixtures("no_time_zones")
def test_a_machine_without_time_zones_refuses_what_it_cannot_work_out() -> None:
    """Nothing is changed in the hope that there is no freeze."""
    policy = weekly("0 18 * * fri", "P2DT14H")
    problems = Problems()
    add_policy_problems(problems, policy)
    assert "no database of time zones" in next(iter(problems)).message
    with pytest.raises(StoreUnavailable, match="no database of time zones"):
        freezes_at(policy, utc(2026, 1, 9, 18))


@pytest.mark.parametrize("text", ["PT8H", "P2DT14H", "P1W", "PT90M", "PT3600S", "P31D", "PT744H"])
def test_durations_are_those_of_iso_8601(text: str) -> None:
    days, rest = duration_of(text)
    assert timedelta() < timedelta(days=days) + rest <= timedelta(days=31)
