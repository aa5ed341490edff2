"""Pages of history read what their selection needs, and answer it as if they had read everything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import pytest
from graphql import GraphQLObjectType, get_named_type, is_leaf_type

from persistence.commands.shards import PinRequest
from persistence.ports.store import Store
from tests.support.graphql_api import ON_EVERY_STORE, Api
from tests.support.mesh import SEARCH, because, patch
from tests.support.planned_mesh import PlannedMesh
from tests.support.shared_schema import one_schema
from tests.support.statements import statements


@pytest.fixture
async def mesh(store: Store) -> PlannedMesh:
    """A past with moves of a plan, a pin, metadata and a deletion."""
    mesh = PlannedMesh(store)
    await mesh.configure()
    await mesh.configure(SEARCH)
    await mesh.apply((await mesh.plan_to_rescue(3)).plan)
    shard = await mesh.created("pinned", capacity_hint=2.5, locality_hint="eu/eu-1", anti_affinity_group="twins")
    noted = because("pin", change_ticket="CHG-1", metadata={"of": ["é", 1, 2.5, None]})
    (shard,) = (
        await mesh.update(patch(shard, pin=PinRequest("stays", datetime(2200, 1, 1, tzinfo=UTC))), change=noted)
    ).shards
    await mesh.delete(shard)
    return mesh


def _paths(type_: GraphQLObjectType) -> Iterator[tuple[str, ...]]:
    """To every leaf below a type."""
    for name, field in type_.fields.items():
        named = get_named_type(field.type)
        if is_leaf_type(named):
            yield (name,)
        elif isinstance(named, GraphQLObjectType):
            yield from ((name, *path) for path in _paths(named))


def _selection(path: tuple[str, ...]) -> str:
    return path[0] if len(path) == 1 else f"{path[0]} {{ {_selection(path[1:])} }}"


def _picked(value: Any, path: tuple[str, ...]) -> Any:
    if value is None or not path:
        return value
    return {path[0]: _picked(value[path[0]], path[1:])}


def _merged(paths: list[tuple[str, ...]]) -> str:
    """A selection of all of them."""
    tree: dict[str, Any] = {}
    for path in paths:
        branch = tree
        for name in path:
            branch = branch.setdefault(name, {})
    return _written(tree)


def _written(tree: Mapping[str, Any]) -> str:
    return " ".join(f"{name} {{ {_written(inner)} }}" if inner else name for name, inner in tree.items())


_ROW: Final = one_schema().core.type_map["ShardDiff"]


@ON_EVERY_STORE
@pytest.mark.parametrize("counted", ["", "totalCount "])
@pytest.mark.usefixtures("mesh")
async def test_each_field_alone_is_answered_as_among_all(api: Api, counted: str) -> None:
    assert isinstance(_ROW, GraphQLObjectType)
    paths = list(_paths(_ROW))
    whole = (await api.field(f"{{ shardHistory {{ {counted}nodes {{ {_merged(paths)} }} }} }}"))["nodes"]
    assert len(whole) == 9
    assert any(row["change"]["rebalance"] for row in whole)
    assert any(row["current"] and row["current"]["pinned"] for row in whole)
    for path in paths:
        for _ in range(3):  # read, read again, and kept
            page = await api.field(f"{{ shardHistory {{ {counted}nodes {{ {_selection(path)} }} }} }}")
            assert page["nodes"] == [_picked(row, path) for row in whole], path
    edges = (await api.field(f"{{ shardHistory {{ edges {{ cursor node {{ {_merged(paths)} }} }} }} }}"))["edges"]
    assert [edge["node"] for edge in edges] == whole


@ON_EVERY_STORE
async def test_rows_that_are_kept_are_those_of_their_page(api: Api, mesh: PlannedMesh) -> None:
    document = "query ($after: String) { shardHistory(first: 4, after: $after) { %s pageInfo { endCursor } } }"
    wide = document % "nodes { revision kind shardId version changedFields change { id reason committedAt } }"
    narrow = document % "edges { cursor node { revision kind shardId version previous { ownerNodeId } } }"
    for text in (wide, narrow):
        first = [await api.field(text) for _ in range(4)]
        assert all(page == first[0] for page in first)
        following = [await api.field(text, after=first[0]["pageInfo"]["endCursor"]) for _ in range(4)]
        assert all(page == following[0] for page in following)
        assert first[0] != following[0]
    await mesh.created("newest")
    (newest, *_) = (await api.field(wide))["nodes"]
    assert (newest["shardId"], newest["kind"]) == ("newest", "CREATED")


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)
@pytest.mark.usefixtures("mesh")
async def test_a_page_reads_the_columns_that_it_shows_by_one_statement(api: Api) -> None:
    images, change = "AS TEXT) AS previous", "changes.hash"
    rows = "{ shardHistory { nodes { ...r } } } fragment r on ShardDiff { previous { updatedAt } change { ...c } } "
    for document, has in {
        "{ shardHistory { nodes { revision change { actor } } } }": (False, False),
        "{ shardHistory { edges { node { current { status } } } } }": (True, False),
        "{ shardHistory { totalCount nodes { change { hash } } } }": (False, True),
        rows + "fragment c on Change { ... { metadata } }": (True, True),
    }.items():
        with statements() as sent:
            await api.field(document)
        others = "WITH head", "SELECT stream_head"  # the feed's, and whether a page of before still holds
        (statement,) = (one for one in sent if not one.startswith(others))
        assert (images in statement, change in statement) == has, statement
