"""What every filter of the API reads of long tables, alone and with each other one: made of the schema's own types, so
a new field is among them.

`make test` has tables of some ten thousand rows, `make soak` a million shards and five million rows of history.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, islice, product
from statistics import median
from time import perf_counter
from typing import Any, Final

import asyncpg
import pytest
from graphql import (
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLType,
    get_named_type,
)

from graph.http.app import create_app
from persistence.feed.live import live_feed
from persistence.model.paging import COUNTED_AT_MOST, SEARCHED_AT_MOST
from persistence.postgres.store import open_store
from persistence.service.executor import CommandExecutor
from tests.support.databases import Databases
from tests.support.explained import explain, sent_reads
from tests.support.graphql_api import Api, api_of, services_of
from tests.support.length import rounds
from tests.support.long_history import Size, fill
from tests.support.shared_schema import one_schema

SIZE: Final = Size(shards=rounds(1_000_000, 24_000), changes=rounds(1_300_000, 40_000))

PAGE: Final = 50

FEW: Final = 20 * PAGE
"""Rows that a page is read from where an index leads to it: each with its change, and what is merged."""

SEARCHED: Final = COUNTED_AT_MOST + 4 * SEARCHED_AT_MOST
"""Rows of a page and a count that are looked for: each looked at once, in an index and with its change."""

_EARLY, _LATE = "2026-01-01T00:10:00Z", "2026-01-01T06:00:00Z"

VALUES: Final[Mapping[str, Sequence[Any]]] = {
    "namespace": ["busy", "idle", "ns-8", "early"],
    "shardId": ["s5"],
    "shardIds": [["s5", "s6"], ["absent"]],
    "ownerNodeId": ["node-7", "absent", "rare"],
    "ownerNodeIds": [["node-7"], ["rare", "absent"]],
    "leaderIds": [["node-7-r"], ["absent"]],
    "strategies": [["rendezvous"], ["ring"]],
    "actor": ["controller", "absent", "rare"],
    "changeTicket": ["CHG-1", "absent", "rare"],
    "changeId": ["7", "20000"],
    "planId": ["0" * 32],
    "since": [_EARLY, _LATE],
    "until": [_EARLY, _LATE],
    "search": ["5", "absent"],
}
"""That many match, few and none. A field that is not named here is given what its type has."""

VALUES_EACH: Final = rounds(full=9, short=2)
"""Of a field, at most."""

PAIRS_OF: Final = rounds(full=1, short=4)
"""One of so many pairs of values is tried."""

OF_THE_PRESENT: Final = {"orphaned"}
"""Fields of filters that are refused as of a time."""

UNORDERED: Final = {"refusals": "namespace"}
"""Found by an index without an order, where statistics say that few match: all of them are read."""


def _values(name: str, type_: GraphQLType) -> Sequence[Any]:
    if name in VALUES:
        return VALUES[name]
    named, is_list = get_named_type(type_), "[" in str(type_)
    assert named is not None
    if isinstance(named, GraphQLEnumType):
        members = list(named.values)
        return [[members[0]], [members[-1]], members] if is_list else members
    absent = {"DateTime": _EARLY, "Revision": "7", "Int": 7}.get(named.name, "absent")
    if named.name == "Boolean":
        return [True, False]
    return [[absent]] if is_list else [absent]


@dataclass(frozen=True)
class Listed:
    """A list of the API, at a position in the past or now."""

    field: str
    as_of: bool

    def __str__(self) -> str:
        return f"{self.field}, as of" if self.as_of else self.field


def _lists() -> Iterator[Listed]:
    query = one_schema().core.query_type
    assert query is not None
    for name, field in query.fields.items():
        if "filter" in field.args:
            yield Listed(name, as_of=False)
            if "asOf" in field.args:
                yield Listed(name, as_of=True)


def filters(listed: Listed) -> Iterator[dict[str, Any]]:
    """Each field alone with each of its values, and each two fields with each two; where it is to be quick, with one of
    four."""
    type_ = get_named_type(_field(listed).args["filter"].type)
    assert isinstance(type_, GraphQLInputObjectType)
    fields = {
        name: _values(name, field.type)[:VALUES_EACH]
        for name, field in type_.fields.items()
        if not (listed.as_of and name in OF_THE_PRESENT)
    }
    yield {}
    needed = {"shardId": {"namespace": "ns-8"}}
    for number, every in ((1, 1), (2, PAIRS_OF)):
        for turn, names in enumerate(combinations(fields, number)):
            for values in islice(product(*(fields[name] for name in names)), turn % every, None, every):
                chosen = dict(zip(names, values, strict=True))
                if {"since", "until"} == chosen.keys() and chosen["since"] >= chosen["until"]:
                    continue  # refused
                yield {key: value for name in names for key, value in needed.get(name, {}).items()} | chosen


def _field(listed: Listed) -> GraphQLField:
    query = one_schema().core.query_type
    assert query is not None
    field: GraphQLField = query.fields[listed.field]
    return field


def document(listed: Listed, *, counted: bool) -> str:
    """A query of a page of it, with the variables `filter`, `as` and `order`."""
    arguments: Mapping[str, GraphQLArgument] = _field(listed).args
    given = {"filter": "filter"} | ({"asOf": "as"} if listed.as_of else {})
    given |= {"orderBy": "order"} if "orderBy" in arguments else {}
    variables = ", ".join(f"${variable}: {arguments[name].type}" for name, variable in given.items())
    passed = ", ".join(f"{name}: ${variable}" for name, variable in given.items())
    total = "totalCount totalCountIsExact" if counted else ""
    return (
        f"query ({variables}) {{ {listed.field}({passed}, first: {PAGE})"
        f" {{ nodes {{ __typename }} pageInfo {{ endCursor hasNextPage }} {total} }} }}"
    )


@pytest.fixture(scope="module")
def filled(databases: Databases, template_database: str) -> Iterator[str]:
    with databases.temporary(template=template_database) as url:
        asyncio.run(fill(url, SIZE))
        yield url


@pytest.fixture
async def api(filled: str) -> AsyncIterator[Api]:
    """Without a replica, so that everything is read from the database."""
    async with (
        open_store(filled) as store,
        live_feed(store.stream, store.signal) as feed,
        api_of(create_app(services_of(store, CommandExecutor(store.unit_of_work), feed))) as api,
    ):
        yield api


@pytest.mark.parametrize("listed", list(_lists()), ids=str)
async def test_a_page_reads_what_it_shows_or_a_bounded_number_of_rows(
    filled: str, api: Api, listed: Listed, capsys: pytest.CaptureFixture[str]
) -> None:
    connection = await asyncpg.connect(filled)
    report: list[str] = []
    try:
        for number, where in enumerate(filters(listed)):
            report += await _problems(connection, api, listed, where, number)
    finally:
        await connection.close()
    assert report == []
    if rounds(full=1, short=0):
        await _print_times(api, listed, capsys)


async def _problems(
    connection: asyncpg.Connection, api: Api, listed: Listed, where: dict[str, Any], number: int
) -> list[str]:
    """Of the statements that one page takes, without a count and with one; of both orders in turn."""
    variables: dict[str, Any] = {"filter": where, "order": ("REVISION_DESC", "REVISION_ASC")[number % 2]}
    variables |= {"as": {"revision": str(SIZE.rows // 2)}}
    found: list[str] = []
    for counted in (False, True):
        with sent_reads() as sent:
            await api.field(document(listed, counted=counted), **variables)
        for statement in sent:
            for generic in {False, not statement.is_planned_for_parameters}:
                explained = await explain(connection, statement, generic=generic)
                by_many = listed.field in UNORDERED and UNORDERED[listed.field] in where
                most = SEARCHED if statement.is_search or by_many else FEW
                if explained.read_whole or explained.rows > most:
                    kind = "generic" if generic else "custom"
                    whole = f", {explained.read_whole} read whole" if explained.read_whole else ""
                    found.append(
                        f"{listed} {json.dumps(where)} {variables['order']}{' counted' if counted else ''}, {kind}:"
                        f" {explained.rows} rows, {explained.milliseconds:.1f} ms{whole}"
                    )
    return found


async def _print_times(api: Api, listed: Listed, capsys: pytest.CaptureFixture[str]) -> None:
    """The slowest of them; the median of five."""
    times: list[tuple[float, str]] = []
    for where, counted in product(filters(listed), (False, True)):
        variables = {"filter": where, "order": "REVISION_DESC", "as": {"revision": str(SIZE.rows // 2)}}
        taken = []
        for _ in range(5):
            begin = perf_counter()
            await api.field(document(listed, counted=counted), **variables)
            taken.append(1000 * (perf_counter() - begin))
        times.append((median(taken), f"{json.dumps(where)}{' counted' if counted else ''}"))
    times.sort(reverse=True)
    with capsys.disabled():
        print(f"\n{listed}: {len(times)} pages, median {median(time for time, _ in times):.1f} ms, the slowest:")  # noqa: T201 - a report
        for time, name in times[:5]:
            print(f"  {time:.1f} ms {name}")  # noqa: T201 - same
