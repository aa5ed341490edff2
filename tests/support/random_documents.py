"""Random operations over the whole schema, with random variables: most of them valid, most of their values sensible.

A document is made by a seeded generator: drawing each choice by itself would take longer than executing it. Names of
what is there come from `THERE`; one value in twenty is of another type, left out, or null where that is not allowed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, NamedTuple, cast

import graphql
from graphql import (
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLSchema,
    GraphQLUnionType,
    OperationDefinitionNode,
    Undefined,
    is_leaf_type,
)

from tests.support.cursors import CURSORS

THERE: Final[dict[str, Sequence[Any]]] = {
    "namespace": ["billing", "billing", "search", "none"],
    "name": ["billing", "billing", "search", "new"],
    "shardId": ["0", "1", "2", "3", "new"],
    "ownerNodeId": ["node-a", "node-b"],
    "nodeId": ["node-a", "node-b", "node-c"],
    "leaderId": ["node-a"],
    "localityHint": ["eu/eu-1", "zone:a"],
    "region": ["eu"],
    "zone": ["eu-1"],
    "strategy": ["rendezvous", "locality"],
    "actor": ["alice", "ops"],
    "reason": ["because"],
    "changeTicket": ["CHG-1"],
    "search": ["1"],
    "expectedVersion": [1, "1", 2, 0],
    "capacityHint": [1, 2.5, 1e300],
    "weight": [1, 2],
    "first": [1, 2, 5],
    "last": [1, 2],
    "revision": [1, "2", 4],
    "from": [0, 1, "2"],
    "to": [3, "4"],
    "from: DateTime": ["2026-01-01T00:00:00Z"],
    "to: DateTime": ["2026-02-01T00:00:00Z", "2025-02-01T00:00:00Z"],
    "buckets": [1, 12],
    "atLeast": [1, "3"],
    "maxMoves": [1, 10],
    "namespaces": ["billing"],
    "strategyParameters": [{}],
}
_SELDOM: Final = frozenset(
    {"after", "before", "last", "atLeast", "atLeastCursor", "asOf", "fromTime", "toTime", "force"}
)
"""Arguments that exclude others, or that next to nothing fits."""

_LEAVES: Final[dict[str, Sequence[Any]]] = {
    "Int": [1, 2, 50, -1],
    "Float": [1.0, 2, 0.5],
    "Boolean": [True, False],
    "Revision": [1, "2", 3],
    "DateTime": ["2026-01-31T09:30:00Z", "2030-01-01T00:00:00+01:00"],
    "Cursor": CURSORS,
    "JSON": [{}, {"a": [1, None, "x"]}, None],
    "ID": ["1", 2, "node-a"],
    "String": ["a", "b c", "\u00e9\u2028", ""],
}
_WRONG: Final[Sequence[Any]] = ["x", 1, 5.0, True, None, [], {}, [None], {"x": 1}, 2**40, 1e400, "\ud800"]


class Operation(NamedTuple):
    """What a client sends."""

    text: str
    variables: dict[str, Any]


def random_operation(schema: GraphQLSchema, seed: int) -> Operation:
    """One operation; it may be no valid one."""
    return _Maker(schema, Random(seed)).operation()


def random_variables(schema: GraphQLSchema, operation: OperationDefinitionNode, seed: int) -> dict[str, Any]:
    """Variables of an operation: few that may be left out are there."""
    maker, variables = _Maker(schema, Random(seed)), {}
    for definition in operation.variable_definitions or ():
        name, type_ = definition.variable.name.value, graphql.type_from_ast(schema, definition.type)
        if isinstance(type_, GraphQLNonNull) or maker.random.random() < (0.03 if name in _SELDOM else 0.3):
            variables[name] = maker.value(name, cast("GraphQLInputType", type_))
    return variables


@dataclass(slots=True)
class _Maker:
    schema: GraphQLSchema
    random: Random
    declared: dict[str, str] = field(default_factory=dict)
    variables: dict[str, Any] = field(default_factory=dict)
    fragments: list[str] = field(default_factory=list)
    aliases: int = 0
    fields: int = 0

    def operation(self) -> Operation:
        random = self.random
        root = self.schema.mutation_type if random.random() < 0.2 else self.schema.query_type
        assert root is not None
        names = random.sample(list(root.fields), k=random.choice([1, 1, 1, 2, 3]))
        selected = [self.selected(root, name, 0) for name in names]
        if random.random() < 0.1:
            selected.append("__typename")
        if random.random() < 0.02:
            selected.append("__schema { queryType { name } }")
        selections = " ".join(selected)
        declared = ", ".join(f"${name}: {type_}" for name, type_ in self.declared.items())
        kind = "mutation" if root is self.schema.mutation_type else "query"
        text = f"{kind} Random{f'({declared})' if declared else ''} {{ {selections} }} {' '.join(self.fragments)}"
        return Operation(text, self.variables)

    def selected(
        self, parent: GraphQLObjectType | GraphQLInterfaceType, name: str, depth: int, prefix: str = ""
    ) -> str:
        self.fields += 1
        described = parent.fields[name]
        arguments = self.arguments(described)
        alias = ""
        if arguments or prefix or self.random.random() < 0.1:
            self.aliases += 1
            alias = f"{prefix}a{self.aliases}: "
        selections = self.selections(described.type, depth + 1)
        return f"{alias}{name}{arguments}{self.condition()}{selections}"

    def condition(self) -> str:
        if self.random.random() >= 0.04:
            return ""
        directive = self.random.choice(["skip", "include"])
        value = self.random.choice([True, False])
        if self.random.random() < 0.3:
            return f" @{directive}(if: {str(value).lower()})"
        return f" @{directive}(if: {self.variable('Boolean!', value)})"

    def selections(self, type_: GraphQLOutputType, depth: int) -> str:
        named = graphql.get_named_type(type_)
        if is_leaf_type(named):
            return ""
        if isinstance(named, GraphQLUnionType | GraphQLInterfaceType):
            return self.abstract(named, depth)
        assert isinstance(named, GraphQLObjectType)
        return f" {{ {self.of_object(named, depth)} }}"

    def of_object(self, type_: GraphQLObjectType, depth: int, prefix: str = "") -> str:
        random = self.random
        names = [name for name in type_.fields if self.fields < 60 and self.fits(type_.fields[name], depth)]
        chosen = random.sample(names, k=min(len(names), random.choice([1, 2, 3, 5, 20])))
        selected = [self.selected(type_, name, depth, prefix) for name in chosen]
        if not selected or random.random() < 0.15:
            selected.append("__typename")
        if selected and random.random() < 0.1:  # merged with what was selected before
            selected.append(random.choice(selected))
        together = " ".join(selected)
        if random.random() < 0.1:
            return f"... on {type_.name}{self.condition()} {{ {together} }}"
        if random.random() < 0.1:
            name = f"F{len(self.fragments)}"
            self.fragments.append("")
            self.fragments[int(name[1:])] = f"fragment {name} on {type_.name} {{ {together} }}"
            return f"...{name}{self.condition()}"
        return together

    def fits(self, described: GraphQLField, depth: int) -> bool:
        return depth < 5 or is_leaf_type(graphql.get_named_type(described.type))

    def abstract(self, type_: GraphQLUnionType | GraphQLInterfaceType, depth: int) -> str:
        members = list(self.schema.get_possible_types(type_))
        parts = ["__typename"]
        for number, member in enumerate(members):
            if self.random.random() < 0.7:
                # Fields of members that are called the same have to be of the same type.
                parts.append(f"... on {member.name} {{ {self.of_object(member, depth, f'm{number}')} }}")
        if self.random.random() < 0.3 and any("Refusal" in {each.name for each in one.interfaces} for one in members):
            parts.append("... on Refusal { message }")
        return f" {{ {' '.join(parts)} }}"

    def arguments(self, described: GraphQLField) -> str:
        given = [
            f"{name}: {self.argument(name, argument)}"
            for name, argument in described.args.items()
            if self.is_given(name, argument)
        ]
        return f"({', '.join(given)})" if given else ""

    def is_given(self, name: str, value: Any) -> bool:
        required = isinstance(value.type, GraphQLNonNull) and value.default_value is Undefined
        return required or self.random.random() < (0.03 if name in _SELDOM else 0.35)

    def argument(self, name: str, argument: GraphQLArgument) -> str:
        if self.random.random() < 0.6:
            return self.variable(str(argument.type), self.value(name, argument.type))
        return self.literal(name, argument.type, self.value(name, argument.type, is_literal=True))

    def variable(self, type_: str, value: Any) -> str:
        name = f"v{len(self.declared)}"
        default = ""
        if self.random.random() < 0.05 and type_ in ("Int", "String", "Boolean!"):
            default = {"Int": " = 2", "String": ' = "billing"', "Boolean!": " = true"}[type_]
        self.declared[name] = f"{type_}{default}"
        chance = self.random.random()
        if chance < 0.02:
            value = self.random.choice(_WRONG)
        if chance > 0.02 + (0.5 if default else 0.01):
            self.variables[name] = value
        return f"${name}"

    def value(self, name: str, type_: GraphQLInputType, *, is_literal: bool = False) -> Any:
        """JSON that fits the type, but for a few of a variable's."""
        random = self.random
        bare = type_.of_type if isinstance(type_, GraphQLNonNull) else type_
        chance = 1 if is_literal else random.random()
        if chance < 0.004:
            return random.choice(_WRONG)
        if isinstance(bare, GraphQLList):
            one = name[:-1] if name.endswith("s") and name[:-1] in THERE else name
            items = [self.value(one, bare.of_type, is_literal=is_literal) for _ in range(random.choice([1, 1, 2]))]
            return items[0] if chance < 0.02 else items
        if isinstance(bare, GraphQLInputObjectType):
            return self.object(bare, is_literal=is_literal)
        if isinstance(bare, GraphQLEnumType):
            return random.choice(list(bare.values))
        leaf = graphql.get_named_type(bare).name
        return random.choice(THERE.get(f"{name}: {leaf}") or THERE.get(name) or _LEAVES[leaf])

    def object(self, type_: GraphQLInputObjectType, *, is_literal: bool) -> dict[str, Any]:
        fields = type_.fields
        if type_.name == "AsOf" or all(not isinstance(each.type, GraphQLNonNull) for each in fields.values()):
            most = 1 if type_.name == "AsOf" else 2
            names = self.random.sample(list(fields), k=min(most, len(fields)))
        else:
            names = [name for name, each in fields.items() if self.is_given(name, each)]
        return {name: self.value(name, fields[name].type, is_literal=is_literal) for name in names}

    def literal(self, name: str, type_: GraphQLInputType, value: Any) -> str:
        """The value as GraphQL writes it; a few parts of it as variables."""
        bare = type_.of_type if isinstance(type_, GraphQLNonNull) else type_
        if self.random.random() < 0.03:
            return self.variable(str(type_), value)
        if isinstance(bare, GraphQLInputObjectType) and isinstance(value, Mapping):
            members = (f"{key}: {self.literal(key, bare.fields[key].type, one)}" for key, one in value.items())
            return f"{{{', '.join(members)}}}"
        if isinstance(bare, GraphQLList) and isinstance(value, list):
            return f"[{', '.join(self.literal(name, bare.of_type, one) for one in value)}]"
        if isinstance(bare, GraphQLEnumType) and isinstance(value, str):
            return value
        return _untyped(value)


def _untyped(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {_untyped(one)}' for key, one in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_untyped, value))}]"
    if isinstance(value, str):
        return graphql.print_ast(graphql.StringValueNode(value=value))
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(value)
