"""Inputs that come by the thousand are coerced by columns, and held against their rules by columns: as one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final, cast

import pytest
from graphql import FieldNode, OperationDefinitionNode, parse
from graphql.execution.values import VariableValues, get_argument_values, get_variable_values
from hypothesis import event, given, settings
from hypothesis import strategies as st
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.arguments import convert_arguments

from graph.execution.context import Context
from graph.execution.operation_plan import Plan
from persistence.commands.command import UNSET, ChangeRequest, Command
from persistence.commands.shards import (
    CreateShards,
    DeleteShards,
    NewShard,
    PinRequest,
    ShardExpectation,
    ShardPatch,
    UpdateShards,
)
from persistence.model.fields import Problems, identifier_problem, name_problem
from persistence.model.records import MAX_COUNTER, ShardKey, ShardStatus
from tests.support.length import rounds
from tests.support.shared_schema import one_schema

CHANGE: Final = ChangeRequest("ops", "because")
UNTIL: Final = datetime(2027, 1, 31, 9, 30, tzinfo=UTC)

IDENTIFIERS: Final = ("a", "b", "node-1.eu:a_b", "a" * 128)
NO_IDENTIFIERS: Final = ("", "a" * 129, "a b", "a\n", "a\0", "é", "\ud800", "-a", "\uff11")
CAPACITIES: Final = (1.0, 0.0, -0.0, 5e-324, 1e308)
NO_CAPACITIES: Final = (float("nan"), float("inf"), float("-inf"), -1.0)
VERSIONS: Final = (0, 1, 7, MAX_COUNTER)
NO_VERSIONS: Final = (-1, MAX_COUNTER + 1)
PINS: Final = (PinRequest("audit"), PinRequest("x" * 1_024, UNTIL))
NO_PINS: Final = (PinRequest(""), PinRequest(" \t"), PinRequest("x" * 1_025), PinRequest("\udc00"), PinRequest("a\0"))


def mostly(sound: Sequence[Any], broken: Sequence[Any]) -> st.SearchStrategy[Any]:
    """One of `sound`, and in one of ten one of `broken`: else no list of some length would be sound."""
    return st.integers(0, 9).flatmap(lambda number: st.sampled_from(sound if number else broken))


def patched(sound: Sequence[Any], broken: Sequence[Any]) -> st.SearchStrategy[Any]:
    return mostly((UNSET, *sound), broken)


identifiers = mostly(IDENTIFIERS, NO_IDENTIFIERS)
clearable = patched((None, *IDENTIFIERS), NO_IDENTIFIERS)
localities = ("eu", "eu/zone-a", "region:eu", None)
no_localities = ("", "eu/", "a b", "\ud800", "a" * 129)
versions = mostly(VERSIONS, NO_VERSIONS)
# Few names would be one shard twice in nearly all lists.
shard_ids = st.integers(0, 200).map("s{}".format) | identifiers
new_shards = st.builds(
    NewShard,
    identifiers,
    shard_ids,
    identifiers,
    mostly((None, *IDENTIFIERS), NO_IDENTIFIERS),
    mostly(CAPACITIES, NO_CAPACITIES),
    mostly(localities, no_localities),
    st.sampled_from(ShardStatus),
    mostly((None, *PINS), NO_PINS),
    mostly((None, *IDENTIFIERS), NO_IDENTIFIERS),
)
patches = st.builds(
    ShardPatch,
    identifiers,
    shard_ids,
    versions,
    patched(IDENTIFIERS, (None, *NO_IDENTIFIERS)),
    clearable,
    patched(CAPACITIES, (None, *NO_CAPACITIES)),
    patched(localities, no_localities),
    patched(tuple(ShardStatus), (None,)),
    patched((None, *PINS), NO_PINS),
    clearable,
)
# `builds` would infer values for the fields that are left out.
unchanging = st.tuples(identifiers, shard_ids, versions).map(lambda values: ShardPatch(*values))
expectations = st.builds(ShardExpectation, identifiers, shard_ids, versions)


def commands(sizes: int) -> st.SearchStrategy[CreateShards | UpdateShards | DeleteShards]:
    change = st.just(CHANGE)
    return (
        st.builds(CreateShards, st.lists(new_shards, max_size=sizes), change)
        | st.builds(
            UpdateShards, st.lists(patches | patches | unchanging, max_size=sizes), change, single=st.just(value=False)
        )
        | st.builds(DeleteShards, st.lists(expectations, max_size=sizes), change)
    )


def problems(command: Command) -> Problems:
    found = Problems()
    command.add_problems(found)
    return found


def breaks_a_rule(command: CreateShards | UpdateShards | DeleteShards) -> bool:
    """Shard by shard."""
    if not command.shards or len({shard.key for shard in command.shards}) < len(command.shards):
        return True
    found = Problems()
    for shard in command.shards:
        found.check([("namespace", name_problem, shard.namespace), ("shardId", identifier_problem, shard.shard_id)])
        found.check(shard.checks(""))
    return bool(found)


@settings(max_examples=rounds(20_000, 1_000))
@given(commands(3))
def test_what_is_found_by_columns_is_what_is_found_shard_by_shard(
    command: CreateShards | UpdateShards | DeleteShards,
) -> None:
    is_broken = breaks_a_rule(command)
    event("broken" if is_broken else "sound")
    assert bool(problems(command)) is is_broken


@pytest.mark.parametrize(
    "command",
    [
        CreateShards([NewShard("a", str(number), "n", pin=PINS[0] if number else None) for number in range(9)], CHANGE),
        UpdateShards([ShardPatch("a", str(number), 1, leader_id=None) for number in range(9)], CHANGE),
        DeleteShards([ShardExpectation("a", str(number), 1) for number in range(9)], CHANGE),
    ],
)
def test_shards_that_break_no_rule_are_not_looked_at_one_by_one(
    command: CreateShards | UpdateShards | DeleteShards, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(command.shards[0]), "checks", None)
    assert not problems(command)


DOCUMENTS: Final = {
    "NewShardInput": "mutation ($i: CreateShardsInput!) { createShards(input: $i) { __typename } }",
    "ShardPatchInput": "mutation ($i: UpdateShardsInput!) { updateShards(input: $i) { __typename } }",
    "ShardVersionInput": "mutation ($i: DeleteShardsInput!) { deleteShards(input: $i) { __typename } }",
    "ShardKeyInput": "query ($i: [ShardKeyInput!]!) { shardsByKey(keys: $i) { revision } }",
}
IN_TEXT: Final = ("a", "", "\ud800", "0")
OF_NO_TYPE: Final[Sequence[Any]] = (
    None,
    True,
    7,
    7.0,
    2**70,
    float("nan"),
    float("inf"),
    [],
    ["a"],
    {},
    {"reason": "a"},
    "",
)
NAMES: Final = {
    "NewShardInput": ("namespace", "shardId", "ownerNodeId"),
    "ShardPatchInput": ("namespace", "shardId", "expectedVersion"),
    "ShardVersionInput": ("namespace", "shardId", "expectedVersion"),
    "ShardKeyInput": ("namespace", "shardId"),
}
"""Of required fields."""
OPTIONAL: Final[Mapping[str, Sequence[Any]]] = {
    "ownerNodeId": IN_TEXT,
    "leaderId": (*IN_TEXT, None),
    "capacityHint": (1.0, 0.0, -2.5, 1e300, 2, 2**53 + 1),
    "localityHint": (*IN_TEXT, None),
    "status": ("ACTIVE", "PAUSED", "PAUSED", "DISABLED"),
    "pin": (None, {"reason": "a"}, {"reason": "a", "until": "2027-01-31T09:30:00Z"}, {"reason": "a", "until": None}),
    "antiAffinityGroup": (*IN_TEXT, None),
}
REQUIRED: Final = {"expectedVersion": ("1", "0", "9223372036854775807", 1, 0, 2**63 - 1)}
OF_NO_KIND: Final = ("active", "007", "-1", " 1", "\uff11", "1_0", "9223372036854775808", *OF_NO_TYPE)


@cache
def plan(type_: str) -> tuple[Plan, OperationDefinitionNode]:
    document = parse(DOCUMENTS[type_])
    return Plan(one_schema().core, document, None), cast("OperationDefinitionNode", document.definitions[0])


def objects(type_: str) -> st.SearchStrategy[Any]:
    """JSON for a list of inputs: most of its objects of the same fields, and of the right types."""
    optional = OPTIONAL if type_ in ("NewShardInput", "ShardPatchInput") else {}

    def values(name: str) -> st.SearchStrategy[Any]:
        return st.sampled_from(OPTIONAL.get(name) or REQUIRED.get(name) or IN_TEXT)

    @st.composite
    def drawn(draw: st.DrawFn) -> list[Any]:
        chosen = draw(st.sets(st.sampled_from(sorted(optional)))) if optional else set()
        objects: list[Any] = []
        for _ in range(draw(st.integers(0, 4))):
            left = {name for name in chosen if draw(st.integers(0, 5))}
            objects.append({name: draw(values(name)) for name in (*NAMES[type_], *sorted(left))})
        fault = draw(st.sampled_from(("value", "name", "missing", "object", *[None] * 4)))
        if objects and fault is not None:
            position = draw(st.integers(0, len(objects) - 1))
            name = draw(st.sampled_from(sorted(objects[position])))
            if fault == "value":
                objects[position][name] = draw(st.sampled_from(OF_NO_KIND))
            elif fault == "name":
                objects[position][draw(st.sampled_from(("none", "change")))] = None
            elif fault == "missing":
                del objects[position][name]
            else:
                objects[position] = draw(st.sampled_from(OF_NO_TYPE))
        return objects

    return drawn()


def reference(type_: str, variables: Mapping[str, Any]) -> str | None:
    """The arguments as graphql-core and Strawberry make them, by `repr`, which shows types; null where they do not."""
    schema = one_schema()
    operation = plan(type_)[1]
    (node,) = operation.selection_set.selections
    assert isinstance(node, FieldNode)
    values = get_variable_values(schema.core, operation.variable_definitions or (), dict(variables))
    if not isinstance(values, VariableValues):
        return None
    parent = schema.core.mutation_type if operation.operation.value == "mutation" else schema.core.query_type
    assert parent is not None
    field = parent.fields[node.name.value]
    arguments = get_argument_values(field, node, values)
    definition = field.extensions[GraphQLCoreConverter.DEFINITION_BACKREF]
    registry = schema.schema_converter.scalar_registry
    return repr(convert_arguments(arguments, definition.arguments, registry, schema.config))


@pytest.mark.parametrize("type_", DOCUMENTS)
def test_lists_of_inputs_are_coerced_by_columns_as_one_by_one(type_: str) -> None:
    compiled, _ = plan(type_)
    coerced = 0

    @settings(max_examples=rounds(10_000, 300))
    @given(objects(type_))
    def are_coerced_alike(given_: list[Any]) -> None:
        nonlocal coerced
        variables = inputs(type_, given_)
        expected = reference(type_, variables)
        try:
            run = compiled.begin(variables, cast("Context", None))
        except Exception:  # noqa: BLE001 - left to graphql-core
            # It may coerce what a plan does not take for granted, but never what is as the schema has it.
            event("left to graphql-core")
            return
        assert repr(run.arguments[0]) == expected
        coerced += bool(given_)

    are_coerced_alike()
    assert coerced


def inputs(type_: str, objects_: Sequence[Any]) -> dict[str, Any]:
    """Variables with a list of them."""
    return {"i": objects_ if type_ == "ShardKeyInput" else {"shards": objects_, "change": {"reason": "because"}}}


def full_and_bare(type_: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """With all fields, and with those that are required."""
    every: dict[str, Sequence[Any]] = {**OPTIONAL, **REQUIRED}
    optional = list(OPTIONAL) if type_ in ("NewShardInput", "ShardPatchInput") else []
    full = {name: every.get(name, IN_TEXT)[0] for name in (*NAMES[type_], *optional)}
    return full, {name: full[name] for name in NAMES[type_]}


@pytest.mark.parametrize("type_", DOCUMENTS)
def test_each_fault_of_each_field_is_left_to_graphql_core_or_coerced_alike(type_: str) -> None:
    full, _ = full_and_bare(type_)
    for name in full:
        faulty = [{**full, name: value} for value in OF_NO_KIND]
        del (missing := dict(full))[name]
        for each in (*faulty, missing, {**full, "none": None}):
            variables = inputs(type_, [full, each])
            expected = reference(type_, variables)
            try:
                run = plan(type_)[0].begin(variables, cast("Context", None))
            except Exception:  # noqa: BLE001, S112 - left to graphql-core
                continue
            assert repr(run.arguments[0]) == expected


@pytest.mark.parametrize("type_", DOCUMENTS)
def test_what_is_as_the_schema_has_it_is_not_left_to_graphql_core(type_: str) -> None:
    full, bare = full_and_bare(type_)
    for objects_ in ([full], [bare], [full, bare], [bare, full, bare]):
        variables = inputs(type_, objects_)
        run = plan(type_)[0].begin(variables, cast("Context", None))
        assert repr(run.arguments[0]) == reference(type_, variables)


def test_inputs_in_bulk_are_what_commands_hold() -> None:
    variables = {"i": [{"namespace": "a", "shardId": "1"}]}
    run = plan("ShardKeyInput")[0].begin(variables, cast("Context", None))
    assert run.arguments == [{"keys": [ShardKey("a", "1")]}]
