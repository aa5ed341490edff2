"""Points in time as they are typed: a revision, a time, so many revisions or so long ago."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeAlias, TypeVar

import click

from graph.cli.errors import Exit, Failure
from graph.cli.options import Parsed
from graph.client.records import Json
from persistence.model.fields import quoted
from persistence.model.records import COUNTER_PATTERN, MAX_COUNTER

_REVISION: Final = re.compile(COUNTER_PATTERN)

_REVISIONS_AGO: Final = re.compile(r"-([1-9][0-9]{0,18})")

_SPAN: Final = re.compile(r"([1-9][0-9]{0,5})([smhd])")

_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@dataclass(frozen=True, slots=True)
class Revision:
    number: int


@dataclass(frozen=True, slots=True)
class RevisionsAgo:
    count: int


@dataclass(frozen=True, slots=True)
class Time:
    """`at` is aware; written for the API in UTC."""

    at: datetime

    def __str__(self) -> str:
        return self.at.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"


F = TypeVar("F", bound=Callable[..., Any])

PointInTime: TypeAlias = Revision | RevisionsAgo | Time


def as_of(point: PointInTime, head: Callable[[], int]) -> Json:
    """GraphQL's `AsOf`. `head` returns the newest revision; it is called if that is needed. Raises Failure."""
    match point:
        case Revision(number):
            return {"revision": str(number)}
        case Time():
            return {"time": str(point)}
        case RevisionsAgo(count):
            newest = head()
            if count > newest:
                raise Failure(Exit.INVALID, f"-{count} is before the beginning: there are {newest:,} revisions.")
            return {"revision": str(newest - count)}


def read_time(text: str, now: datetime) -> Time:
    """A time with its offset, or an age such as 15m. Raises ValueError for anything else."""
    return _read_time(text, now, -1, "for so long ago")


def read_past(text: str, now: datetime) -> Time:
    """As `read_time`, and not yet to come, where everything from then on is to be shown. Raises ValueError."""
    time = read_time(text, now)
    if time.at > now:
        raise ValueError(f"{quoted(text)} is yet to come: nothing can have happened since")
    return time


def require_order(since: Time | None, until: Time | None) -> None:
    """Raises Failure for a range that ends before it begins, in which nothing can have happened."""
    if since is not None and until is not None and until.at <= since.at:
        raise Failure(Exit.INVALID, f"--until {until} is not after --since {since}: nothing lies between them.")


def read_deadline(text: str, now: datetime) -> Time:
    """A time with its offset, or a span such as 15m from now. Raises ValueError as `read_time` does."""
    return _read_time(text, now, 1, "for so long from now")


def _read_time(text: str, now: datetime, direction: int, spans: str) -> Time:
    try:
        if span := _SPAN.fullmatch(text):
            return Time(now + direction * timedelta(**{_UNITS[span[2]]: int(span[1])}))
        time = datetime.fromisoformat(text)
        if time.tzinfo is not None:
            time.astimezone(UTC)  # of the first day of all times there may be none
    except (ValueError, OverflowError):
        raise ValueError(
            f"{quoted(text)} is not a time: write for example 2026-01-31T09:30:00Z, or 15m, 2h, 3d {spans}"
        ) from None
    if time.tzinfo is None:
        raise ValueError(
            f"{quoted(text)} has no time zone: write {time.isoformat()}Z for UTC, or an offset such as +01:00"
        )
    return Time(time)


def read_point_in_time(text: str, now: datetime) -> PointInTime:
    """Raises ValueError for what is none of the three."""
    if _REVISION.fullmatch(text):
        if int(text) > MAX_COUNTER:
            raise ValueError(f"{text} is no revision: they end at {MAX_COUNTER}")
        return Revision(int(text))
    if ago := _REVISIONS_AGO.fullmatch(text):
        return RevisionsAgo(int(ago[1]))
    try:
        return read_time(text, now)
    except ValueError as error:
        raise ValueError(f"{error}; or give a revision, or -N for N revisions ago") from None


TIME: Final = Parsed("time", lambda text: read_time(text, datetime.now(UTC)))

PAST_TIME: Final = Parsed("time", lambda text: read_past(text, datetime.now(UTC)))

DEADLINE: Final = Parsed("time", lambda text: read_deadline(text, datetime.now(UTC)))

POINT_IN_TIME: Final = Parsed("moment", lambda text: read_point_in_time(text, datetime.now(UTC)))


def as_of_option(command: F) -> F:
    """--as-of, as `point`: for every command that reads shards."""
    return click.option(
        "--as-of", "point", type=POINT_IN_TIME, help="As it was: after a revision, -N revisions ago, or at a time."
    )(command)
