"""What clients get wrong: each a typed result or a coded error that names the field, nothing written, server alive."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from persistence.codec import cursors
from persistence.codec.cursors import DiffScope
from persistence.model.records import ChangeMark, ShardKey, StreamPosition
from tests.support.graphql_api import Api
from tests.support.graphql_documents import (
    BY_ALICE,
    CHANGES,
    CONFIGURE,
    CREATE,
    DELETE,
    DIFF,
    HISTORY,
    SHARDS,
    SHARDS_BY_KEY,
    UPDATE,
    UPDATE_MANY,
    one_shard,
    shard_keys,
    shard_query,
)
from tests.support.mesh import Mesh

NUL, SURROGATE, LONG = "a\0b", "a\ud800b", "x" * 129
MALFORMED = ["", ":x", "a b", "ä", NUL, SURROGATE, LONG, "a,b", "\N{ARABIC-INDIC DIGIT ONE}"]
SHARD_1 = {"namespace": "billing", "shardId": "1", "ownerNodeId": "node-a"}


@pytest.fixture(autouse=True)
async def nothing_is_written(api: Api, mesh: Mesh) -> AsyncIterator[None]:
    """Every test of this module begins with one shard and must end with it, on a server that still answers."""
    await mesh.created("1")
    before = await mesh.changes(), await mesh.table()
    yield
    assert (await mesh.changes(), await mesh.table()) == before
    assert await api.field(shard_query("version"), id="1") == {"version": "1"}


async def refused(api: Api, mutation: str, given: Any) -> dict[str, str]:
    """Field and message of everything an InvalidInput lists; the message begins with the first."""
    answer = await api.field(mutation, input=given)
    assert answer["__typename"] == "InvalidInput", answer
    errors = {error["field"]: error["message"] for error in answer["errors"]}
    field, message = next(iter(errors.items()))
    assert answer["message"].startswith(f"{field} {message}")
    return errors


@pytest.mark.parametrize("bad", MALFORMED)
async def test_a_malformed_identifier_is_refused_by_name(api: Api, bad: str) -> None:
    for name in ("namespace", "shardId", "ownerNodeId"):
        assert list(await refused(api, CREATE, {"shards": [SHARD_1 | {name: bad}], "change": BY_ALICE})) == [
            f"shards[0].{name}"
        ]
    for name in ("namespace", "shardId", "ownerNodeId", "leaderId", "localityHint"):
        given = one_shard("1", 1, ownerNodeId="node-b", change=BY_ALICE) | {name: bad}
        assert list(await refused(api, UPDATE, given)) == [name]
    assert list(await refused(api, CONFIGURE, {"name": bad, "strategy": "ring", "change": BY_ALICE})) == ["name"]
    error = await api.error("query ($it: String!) { shard(namespace: $it, shardId: $it) { version } }", it=bad)
    assert (error["code"], [field["field"] for field in error["fields"]]) == (
        "INVALID_ARGUMENT",
        ["namespace", "shardId"],
    )
    error = await api.error("query ($it: String!) { namespace(name: $it) { version } }", it=bad)
    assert (error["code"], error["fields"][0]["field"]) == ("INVALID_ARGUMENT", "name")
    error = await api.error(SHARDS, filter={"shardIds": ["ok", bad]})
    assert error["fields"][0]["field"] == "filter.shardIds[1]"
    error = await api.error(HISTORY, filter={"ownerNodeId": bad})
    assert error["fields"][0]["field"] == "filter.ownerNodeId"
    error = await api.error(DIFF, namespace=bad, **{"from": 0})
    assert error["fields"][0]["field"] == "namespace"


@pytest.mark.parametrize("bad", ["", "  ", NUL, SURROGATE, "x" * 1_025])
async def test_a_malformed_text_is_refused_by_name(api: Api, bad: str) -> None:
    for name in ("actor", "reason", "changeTicket", "idempotencyKey"):
        given = one_shard("1", 1, ownerNodeId="node-b", change=BY_ALICE | {name: bad})
        assert list(await refused(api, UPDATE, given)) == [f"change.{name}"]
    error = await api.error(CHANGES, filter={"actor": bad})
    assert error["fields"][0]["field"] == "filter.actor"


@pytest.mark.parametrize("hidden", ["\x1b[2J", "\r", "\u202e", "\u2066"])
async def test_what_a_terminal_would_obey_is_refused_by_name(api: Api, hidden: str) -> None:
    for name in ("actor", "reason", "changeTicket"):
        given = one_shard("1", 1, ownerNodeId="node-b", change=BY_ALICE | {name: f"CHG-1{hidden}"})
        assert list(await refused(api, UPDATE, given)) == [f"change.{name}"]


async def test_metadata_that_cannot_be_kept_is_refused(api: Api) -> None:
    deep: Any = "end"
    for _ in range(40):
        deep = [deep]
    for bad in (deep, {"a": NUL}, {SURROGATE: 1}, "x" * 2_000, 2**70):
        given = one_shard("1", 1, ownerNodeId="node-b", change=BY_ALICE | {"metadata": bad})
        assert list(await refused(api, UPDATE, given)) == ["change.metadata"]


async def test_a_change_needs_an_actor_without_authentication(api: Api) -> None:
    for given in ({"reason": "why not"}, {"reason": "why not", "actor": None}):
        problems = await refused(api, UPDATE, one_shard("1", 1, ownerNodeId="node-b", change=given))
        assert problems == {"change.actor": "is required: without authentication the request must say who makes it"}


async def test_a_capacity_is_finite_and_not_negative(api: Api) -> None:
    assert await refused(api, UPDATE, one_shard("1", 1, capacityHint=-0.5, change=BY_ALICE)) == {
        "capacityHint": "must be 0 or more, not -0.5"
    }
    for bad in (float("nan"), float("inf"), float("-inf")):
        given = one_shard("1", 1, capacityHint=bad, change=BY_ALICE)
        error = await api.error(UPDATE, input=given)
        assert error["code"] == "BAD_USER_INPUT"
        assert "at .capacityHint: " in error["message"]


async def test_null_is_no_value_for_what_a_shard_must_have(api: Api) -> None:
    for name in ("ownerNodeId", "capacityHint", "status"):
        assert list(await refused(api, UPDATE, one_shard("1", 1, **{name: None}, change=BY_ALICE))) == [name]
    assert list(await refused(api, UPDATE, one_shard("1", 1, change=BY_ALICE))) == ["shardId"]


async def test_a_shard_may_stand_in_a_bulk_once(api: Api) -> None:
    twice = [SHARD_1 | {"shardId": name} for name in ("8", "9", "8")]
    assert await refused(api, CREATE, {"shards": twice, "change": BY_ALICE}) == {
        "shards[2].shardId": "names the same shard as shards[0].shardId"
    }
    assert list(await refused(api, DELETE, {"shards": [one_shard("1", 1)] * 2, "change": BY_ALICE})) == [
        "shards[1].shardId"
    ]
    assert list(await refused(api, UPDATE_MANY, {"shards": [], "change": BY_ALICE})) == ["shards"]


async def test_one_change_takes_ten_thousand_shards_at_most(api: Api) -> None:
    many = [SHARD_1 | {"shardId": f"s{number}"} for number in range(10_001)]
    assert await refused(api, CREATE, {"shards": many, "change": BY_ALICE}) == {
        "shards": "holds 10,001 shards; one change takes at most 10,000"
    }


async def test_a_hundred_problems_are_enough(api: Api) -> None:
    many = [SHARD_1 | {"shardId": "-"} for _ in range(1_000)]
    answer = await api.field(CREATE, input={"shards": many, "change": BY_ALICE})
    assert len(answer["errors"]) == 100


async def test_a_strategy_and_its_parameters_are_checked(api: Api) -> None:
    base = {"name": "new", "change": BY_ALICE}
    assert "did you mean ring?" in (await refused(api, CONFIGURE, base | {"strategy": "rings"}))["strategy"]
    for parameters, field in (
        ({"virtualNodes": 0}, "strategyParameters.virtualNodes"),
        ({"virtualNodes": True}, "strategyParameters.virtualNodes"),
        ({"nodes": 1}, "strategyParameters.nodes"),
        ({SURROGATE: 1}, "strategyParameters"),
        ([1], "strategyParameters"),
        ("ring", "strategyParameters"),
        (7, "strategyParameters"),
    ):
        assert list(await refused(api, CONFIGURE, base | {"strategy": "ring", "strategyParameters": parameters})) == [
            field
        ]


@pytest.mark.parametrize(
    "version", [-1, 1.5, True, "x", "-1", "1.0", "01", " 1", "", 2**63, "9" * 40, [1], "\N{ARABIC-INDIC DIGIT ONE}"]
)
async def test_a_version_that_is_no_counter_is_refused_by_name(api: Api, version: Any) -> None:
    given = one_shard("1", 1, ownerNodeId="node-b", change=BY_ALICE) | {"expectedVersion": version}
    error = await api.error(UPDATE, input=given)
    assert error["code"] == "BAD_USER_INPUT"
    assert "at .expectedVersion: Revision must be" in error["message"]
    assert "whole number from 0 to 9223372036854775807 (2^63-1)" in error["message"]


async def test_a_missing_or_null_version_is_refused_by_name(api: Api) -> None:
    given = one_shard("1", 1, ownerNodeId="node-b", change=BY_ALICE)
    assert "expectedVersion" in (await api.error(UPDATE, input=given | {"expectedVersion": None}))["message"]
    del given["expectedVersion"]
    error = await api.error(UPDATE, input=given)
    assert (error["code"], "expectedVersion" in error["message"]) == ("BAD_USER_INPUT", True)


async def test_an_unknown_value_of_an_enum_is_refused_by_name(api: Api) -> None:
    error = await api.error(UPDATE, input=one_shard("1", 1, status="ASLEEP", change=BY_ALICE))
    assert (error["code"], "at .status: " in error["message"]) == ("BAD_USER_INPUT", True)
    error = await api.error("{ shards(filter: { statuses: [ASLEEP] }) { totalCount } }")
    assert error["code"] == "GRAPHQL_VALIDATION_FAILED"


async def test_an_unknown_field_of_an_input_is_refused_by_name(api: Api) -> None:
    error = await api.error(UPDATE, input=one_shard("1", 1, owner="node-b", change=BY_ALICE))
    assert (error["code"], "owner" in error["message"]) == ("BAD_USER_INPUT", True)


@pytest.mark.parametrize(
    "time",
    [
        "2026-01-01",
        "2026-01-01T00:00:00",
        "yesterday",
        "2026-13-01T00:00:00Z",
        5,
        "0001-01-01T00:00:00+23:59",
        SURROGATE,
    ],
)
async def test_a_time_without_an_offset_is_refused_by_name(api: Api, time: Any) -> None:
    error = await api.error(HISTORY, filter={"since": time})
    assert error["code"] == "BAD_USER_INPUT"
    assert "at .since: DateTime cannot read" in error["message"]
    assert "2026-01-31T09:30:00Z" in error["message"]


@pytest.mark.parametrize(
    "as_of", [{}, {"revision": 1, "time": "2026-01-01T00:00:00Z"}, {"revision": None}, {"time": None}]
)
async def test_a_point_in_time_is_a_revision_or_a_time(api: Api, as_of: Any) -> None:
    error = await api.error(shard_query("version"), id="1", asOf=as_of)
    assert error["code"] == "BAD_USER_INPUT"


async def test_a_revision_that_does_not_exist_yet_is_a_future_one(api: Api) -> None:
    error = await api.error(shard_query("version"), id="1", asOf={"revision": 99})
    assert (error["code"], error["requested"], error["head"]) == ("FUTURE_CURSOR", "99", "1")
    error = await api.error(SHARDS, asOf={"revision": str(2**63 - 1)})
    assert error["code"] == "FUTURE_CURSOR"
    error = await api.error(DIFF, **{"from": 0}, to=2)
    assert (error["code"], error["requested"], error["head"]) == ("FUTURE_CURSOR", "2", "1")


@pytest.mark.parametrize(
    "query", [SHARDS, "query ($first: Int, $last: Int) { shardHistory(first: $first, last: $last) { totalCount } }"]
)
async def test_a_page_has_one_end_and_a_bounded_size(api: Api, query: str) -> None:
    both = await api.error(query, first=1, last=1)
    assert (both["code"], both["fields"][0]["field"]) == ("INVALID_ARGUMENT", "last")
    for name in ("first", "last"):
        for size in (0, -1, 501, 2**31 - 1):
            error = await api.error(query, **{name: size})
            assert (error["code"], error["fields"]) == (
                "INVALID_ARGUMENT",
                [{"field": name, "message": f"must be between 1 and 500, not {size}"}],
            )
    error = await api.error(query, first=2**31)
    assert error["code"] == "BAD_USER_INPUT"


NOW = "2026-01-31T09:30:00Z"
KEY = ShardKey("billing", "1")
ALL_CURSORS: dict[str, str] = {
    "shards": cursors.SHARDS.write(KEY),
    "shardHistory": cursors.HISTORY.write(1),
    "shardDiff": cursors.DIFF.write((DiffScope(None, 0, 1), KEY)),
    "changes": cursors.CHANGES.write(1),
    "namespaces": cursors.NAMESPACES.write("billing"),
    "stream": cursors.STREAM.write(StreamPosition("epoch", 1, ChangeMark(1, b"the hash"))),
}


@pytest.mark.parametrize("connection", [name for name in ALL_CURSORS if name != "stream"])
async def test_a_cursor_that_is_not_this_lists_own_is_refused(api: Api, connection: str) -> None:
    scope = "from: 0, " if connection == "shardDiff" else ""
    query = "query ($at: String!) { %s(%s%s: $at) { totalCount } }"
    own = ALL_CURSORS[connection]
    await api.data(query % (connection, scope, "after"), at=own)
    bad = [cursor for name, cursor in ALL_CURSORS.items() if name != connection]
    bad += [
        "",
        "x",
        "not a cursor",
        own[:-1],
        own[1:],
        own + "A",
        own + "=",
        own.swapcase(),
        NUL,
        SURROGATE,
        "A" * 10_000,
    ]
    for field in ("after", "before"):
        for cursor in bad:
            error = await api.error(query % (connection, scope, field), at=cursor)
            assert (error["code"], error["fields"][0]["field"]) == ("BAD_CURSOR", field), cursor


async def test_a_foreign_cursor_says_where_it_comes_from(api: Api) -> None:
    error = await api.error(SHARDS, after=ALL_CURSORS["shardHistory"])
    assert error["message"] == "after: this cursor comes from the history; here one from the list of shards is needed"


async def test_a_cursor_of_another_difference_is_refused(api: Api) -> None:
    for scope in ({"from": 1}, {"from": 0, "to": 0}, {"from": 0, "namespace": "billing"}):
        error = await api.error(DIFF, **scope, after=ALL_CURSORS["shardDiff"])
        assert (error["code"], error["fields"][0]["field"]) == ("INVALID_ARGUMENT", "after")


@pytest.mark.parametrize(
    ("ends", "field", "message"),
    [
        ({}, "from", "is needed: the revision to compare, or fromTime instead"),
        ({"from": 0, "fromTime": NOW}, "fromTime", "cannot be given together with from"),
        ({"from": 0, "to": 1, "toTime": NOW}, "toTime", "cannot be given together with to"),
    ],
)
async def test_each_end_of_a_difference_is_named_once(api: Api, ends: dict[str, Any], field: str, message: str) -> None:
    error = await api.error(DIFF, **ends)
    assert (error["code"], error["fields"]) == ("INVALID_ARGUMENT", [{"field": field, "message": message}])


async def test_a_list_of_a_filter_is_bounded(api: Api) -> None:
    error = await api.error(SHARDS, filter={"ownerNodeIds": ["n"] * 1_001})
    assert error["fields"] == [
        {"field": "filter.ownerNodeIds", "message": "holds 1,001 values; at most 1,000 are allowed"}
    ]


@pytest.mark.parametrize("change_id", ["", "x", "-1", "1" * 30, "\N{SUPERSCRIPT TWO}", SURROGATE])
async def test_a_change_is_named_by_a_number(api: Api, change_id: str) -> None:
    error = await api.error(HISTORY, filter={"changeId": change_id})
    assert (error["code"], error["fields"][0]["field"]) == ("INVALID_ARGUMENT", "filter.changeId")


async def test_a_malformed_key_is_refused_by_its_place(api: Api) -> None:
    keys = [*shard_keys("1", "a b"), {"namespace": "", "shardId": "1"}, {"namespace": LONG, "shardId": NUL}]
    error = await api.error(SHARDS_BY_KEY, keys=keys)
    assert error["code"] == "INVALID_ARGUMENT"
    assert [problem["field"] for problem in error["fields"]] == [
        "keys[1].shardId",
        "keys[2].namespace",
        "keys[3].namespace",
        "keys[3].shardId",
    ]


@pytest.mark.parametrize("count", [0, 501])
async def test_shards_by_key_are_1_to_500(api: Api, count: int) -> None:
    error = await api.error(SHARDS_BY_KEY, keys=shard_keys(*(str(number) for number in range(count))))
    assert error["code"] == "INVALID_ARGUMENT"
    assert error["fields"] == [{"field": "keys", "message": f"must hold 1 to 500 keys, not {count}"}]
