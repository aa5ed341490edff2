"""Moments of the past, as an operator writes them: a revision, a time, so many revisions or so long ago."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, TypeAlias

import click

from graph.cli.errors import Exit, Failure
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


PointInTime: TypeAlias = Revision | RevisionsAgo | Time


def as_of(moment: PointInTime, head: Callable[[], int]) -> Json:
    """The moment as GraphQL's `AsOf`. `head` is asked for the newest revision, if that is needed."""
    match moment:
        case Revision(number):
            return {"revision": str(number)}
        case Time():
            return {"time": str(moment)}
        case RevisionsAgo(count):
            newest = head()
            if count > newest:
                raise Failure(Exit.INVALID, f"-{count} is before the beginning: there are {newest:,} revisions.")
            return {"revision": str(newest - count)}


def read_time(text: str, now: datetime) -> Time:
    """A time with its offset, or an age such as 15m. Raises ValueError with a sentence for anything else."""
    return _read_time(text, now, -1, "for so long ago")


def read_deadline(text: str, now: datetime) -> Time:
    """A time with its offset, or a span such as 15m from now. Raises ValueError as `read_time` does."""
    return _read_time(text, now, 1, "for so long from now")


def _read_time(text: str, now: datetime, direction: int, spans: str) -> Time:
    try:
        if span := _SPAN.fullmatch(text):
            return Time(now + direction * timedelta(**{_UNITS[span[2]]: int(span[1])}))
        time = datetime.fromisoformat(text)
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
    """Raises ValueError with a sentence."""
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


class TimeParameter(click.ParamType[object, object]):
    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> object:
        try:
            return self.read(value) if isinstance(value, str) else value
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)

    def read(self, text: str) -> object:
        return read_time(text, datetime.now(UTC))


class DeadlineParameter(TimeParameter):
    def read(self, text: str) -> object:
        return read_deadline(text, datetime.now(UTC))


class AsOfParameter(TimeParameter):
    name = "moment"

    def read(self, text: str) -> object:
        return read_point_in_time(text, datetime.now(UTC))
