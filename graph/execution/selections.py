"""Selections of a prepared operation: a function is generated per (type, collected selection), from a value that a
resolver gave to what the answer holds for it.

Which fields a selection comes to, in which order, merged with which others: graphql-core's `collect_fields` finds. The
functions complete what is right and nothing else: whatever is not (a null that must not be, a leaf of another type, a
resolver that raises) raises an exception, any, and graphql-core completes the value anew, with errors, their paths, and
null where it spreads to. Each takes the value and the run, `graph.execution.operation_plan.Run`.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLSchema,
    GraphQLUnionType,
    OperationDefinitionNode,
    OperationType,
    get_named_type,
    is_leaf_type,
)
from graphql.execution.collect_fields import FieldDetails
from graphql.execution.values import VariableValues
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.base import StrawberryObjectDefinition, has_object_definition
from strawberry.types.field import StrawberryField

from graph.execution.inputs import Functions, InputCompiler, NotPrepared, Read
from graph.execution.leaves import NAMES, complete_leaf, object_names
from graph.execution.records import Edges, LatestBytes, RecordBytes, Selection, SelectionBytes
from graph.execution.selected_fields import TYPENAME, SelectedFields, leaves

AT_ONCE: Final = 4
"""Fields of a list's items, or of one object, that read something of their own."""

TOGETHER: Final = "omnirelay.together"
"""In the metadata of a field: what is looked for in the same round of the event loop is read at once."""

_TOGETHER: Final = 100
"""So many: a few milliseconds of one turn of the event loop."""

_KEPT_LEAVES: Final = 4
"""Of fewer, making them takes no longer than finding what was kept."""


class Complete(Protocol):
    """From a value to what the answer holds for it, or to a coroutine of that."""

    def __call__(self, value: Any, run: Any) -> Any: ...


class CalledField(NamedTuple):
    """A field with a resolver of its own, as a selection has it. `arguments` is null where it takes none."""

    field: GraphQLField
    definition: StrawberryField
    parent: GraphQLObjectType
    name: str
    nodes: list[FieldNode]
    arguments: Read | None
    selected: frozenset[str]
    """Names of the fields that are selected of it; none of a leaf or of an abstract type."""
    below: frozenset[str]
    """Names of the fields that are selected below it, however deep."""


class RootField(NamedTuple):
    """A field of a root type, by its name in the answer. `resolve` calls its resolver, with the root value and the run;
    null for `__typename`."""

    name: str
    resolve: Complete | None
    complete: Complete
    is_async: bool


class _Expression(NamedTuple):
    """Python that completes a value; with `await` in it, if it is async."""

    code: str
    is_async: bool = False


class _Composite(NamedTuple):
    """The function that completes a value of one composite type. Of an edge it takes `cursor_of` after value and run.
    `kept` names what keeps the JSON that it makes, null where that is made anew."""

    function: str
    is_async: bool
    kept: str | None = None
    latest: str | None = None


_MADE_AT_ONCE: Final = 15
"""Members of a dict display that Python 3.11 makes with room for all. With more it adds them one by one."""

_SelectionKey: TypeAlias = tuple[object, ...]


class SelectionCompiler:
    """Of one operation of a valid document, with the booleans that its `@skip` and `@include` depend on."""

    def __init__(
        self,
        schema: GraphQLSchema,
        operation: OperationDefinitionNode,
        fragments: Mapping[str, FragmentDefinitionNode],
        conditions: VariableValues,
        inputs: InputCompiler,
        records: RecordBytes,
    ) -> None:
        self._schema = schema
        self._operation = operation
        self._fields = SelectedFields(schema, operation, fragments, conditions)
        self._inputs = inputs
        self._records = records
        self.functions = Functions(
            gathered=gathered,
            together=together,
            has_object_definition=has_object_definition,
            LISTS=(list, tuple),
            Edges=Edges,
            **NAMES,
            **object_names(),
        )
        self._composites: dict[_SelectionKey, _Composite] = {}
        self.called: list[CalledField] = []
        self._is_within_kept = False
        self._kept_names: dict[Selection, str] = {}
        self.kept: list[SelectionBytes] = []
        """Those that are to be released once the functions are not used any more."""

    @property
    def size(self) -> int:
        """Characters of the generated functions."""
        return self.functions.size

    def root_fields(self) -> list[RootField]:
        """Raises NotPrepared."""
        root = self._schema.get_root_type(self._operation.operation)
        if root is None:
            raise NotPrepared("no such operation")
        fields: list[RootField] = []
        for name, details in self._fields.of_root(root).items():
            if details[0].node.name.value == TYPENAME:
                function, is_async = self._function("value, run", _Expression(repr(root.name)))
                fields.append(RootField(name, None, self.functions[function], is_async))
                continue
            field, definition = self._fields.definition(root, details)
            call, _ = self._function("value, run", _Expression(self._call(root, field, definition, details)))
            function, is_async = self._function("value, run", self._value(field.type, details, "value"))
            fields.append(RootField(name, self.functions[call], self.functions[function], is_async))
        return fields

    def _call(
        self, parent: GraphQLObjectType, field: GraphQLField, definition: StrawberryField, details: list[FieldDetails]
    ) -> str:
        """How to call the resolver of a field of `value`."""
        resolver = definition.base_resolver
        if resolver is None:
            raise NotPrepared(f"{parent.name}.{definition.name} has no resolver")
        number, nodes = len(self.called), [each.node for each in details]
        arguments = self._inputs.arguments(field, nodes[0])
        selected = self._fields.names(field.type, details)
        below = self._fields.names_below(details)
        name = nodes[0].name.value
        self.called.append(CalledField(field, definition, parent, name, nodes, arguments, selected, below))
        named = [each.name for each in (resolver.parent_parameter, resolver.root_parameter) if each]
        given = ["value"] * bool(resolver.self_parameter) + [f"{name}=value" for name in named]
        if resolver.info_parameter:
            given.append(f"{resolver.info_parameter.name}=run.info({number})")
        if arguments is not None:
            given.append(f"**run.arguments[{number}]")
        return f"{self.functions.named(resolver.wrapped_func)}({', '.join(given)})"

    def _value(
        self, type_: GraphQLOutputType, details: list[FieldDetails], code: str, *, is_item: bool = False
    ) -> _Expression:
        """How to complete the value that `code`, evaluated once, comes to; `is_item`: within a comprehension."""
        is_optional = not isinstance(type_, GraphQLNonNull)
        bare = type_.of_type if isinstance(type_, GraphQLNonNull) else type_
        if is_leaf_type(bare):
            return _Expression(complete_leaf(self.functions, bare, code, is_optional=is_optional))
        given, assigned = self.functions.assigned(code) if is_optional else (code, code)
        if isinstance(bare, GraphQLList) and _is_edge(bare.of_type):
            given, edges = (given, given) if is_optional else self.functions.assigned(code)
            completed = self._edges(bare.of_type.of_type, details, given, edges)
        elif isinstance(bare, GraphQLList):
            given, items = (given, given) if is_optional else self.functions.assigned(code)
            item = self.functions.local()
            inner = self._value(bare.of_type, details, item, is_item=True)
            composite = self._kept_items(bare.of_type, details)
            if composite is not None:
                each = f"{composite.kept}.all({given}, {composite.function}, run)"
            elif inner.is_async:
                function, _ = self._function(f"{item}, run", inner)
                gather = "together" if self._reads_together(bare.of_type, details) else "gathered"
                each = f"await {gather}(*[{function}({item}, run) for {item} in {given}])"
            else:
                each = f"[{inner.code} for {item} in {given}]"
            completed = _Expression(f"({each} if isinstance({items}, LISTS) else failed())", inner.is_async)
        else:
            given, assigned_once = (given, given) if is_optional else self.functions.assigned(code)
            inlined = None if is_item else self._inlined(bare, details, given, assigned_once)
            completed = inlined or self._applied(self._composite(bare, details), given, assigned_once)
        if not is_optional:
            return completed
        return _Expression(f"(None if {assigned} is None else {completed.code})", completed.is_async)

    def _reads_together(self, type_: GraphQLOutputType, details: list[FieldDetails]) -> bool:
        """Whether what is read for items of a list is nothing but what is read for all of them at once."""
        named = get_named_type(type_)
        if not isinstance(named, GraphQLObjectType):
            return is_leaf_type(named)
        for fields in self._fields.of(named, details).values():
            if fields[0].node.name.value != TYPENAME:
                field, definition = self._fields.definition(named, fields)
                if definition.is_async and not definition.metadata.get(TOGETHER):
                    return False
                if not self._reads_together(field.type, fields):
                    return False
        return True

    def _applied(self, composite: _Composite, given: str, assigned: str) -> _Expression:
        """The function applied to the value that `assigned` comes to, and that is `given` from then on."""
        function, is_async, kept, latest = composite
        # What is repeated and kept is kept in lists: elsewhere it stands beside neighbours that share it.
        if latest is not None:
            missed = f"{latest}.missed({given}, {function}, run)"
            return _Expression(f"({latest}.encoded if {latest}.record is {assigned} else {missed})")
        if kept is not None:
            found = f"{kept}.young.get(id({assigned})) or {kept}.one({given}, {function}, run)"
            if self._operation.operation is OperationType.SUBSCRIPTION:
                # An event is executed once for all its subscribers: its records are kept for other operations only.
                return _Expression(f"({found} if {kept}.users > 1 else {function}({assigned}, run))")
            return _Expression(f"({found})")
        return _Expression(f"{'await ' * is_async}{function}({assigned}, run)", is_async)

    def _inlined(
        self, type_: GraphQLOutputType, details: list[FieldDetails], given: str, assigned: str
    ) -> _Expression | None:
        """What the function of an object that stands within another one does, without the call. Null for an object that
        has resolvers, or of which JSON is kept."""
        if not isinstance(type_, GraphQLObjectType) or self._fields.of_record(type_, details) is None:
            return None
        *_, kept, latest = self._composite(type_, details)
        if kept is not None or latest is not None:
            return None
        checks, members = self._object_members(type_, details, given)
        items = ", ".join(f"{name!r}: {member.code}" for name, member in members.items())
        return _Expression(f"({{{items}}} if (type({assigned}) in OBJECTS or checked({given})){checks} else failed())")

    def _kept_items(self, type_: GraphQLOutputType, details: list[FieldDetails]) -> _Composite | None:
        """The function for items that must not be null, and of which JSON is kept."""
        if not isinstance(type_, GraphQLNonNull) or not isinstance(type_.of_type, GraphQLObjectType):
            return None
        composite = self._composite(type_.of_type, details)
        return composite if composite.kept is not None else None

    def _edges(self, type_: GraphQLObjectType, details: list[FieldDetails], given: str, assigned: str) -> _Expression:
        """How to complete the edges of a connection."""
        key: _SelectionKey = (type_, *(id(each.node) for each in details))
        if key not in self._composites:
            self._composites[key] = self._kept(type_, details, self._edge)
        edge, node = self._composites[key], self.functions.local()
        more = f"run, {given}.cursor_of"
        if edge.kept is not None:
            each = f"{edge.kept}.all({given}.nodes, {edge.function}, {more})"
        elif edge.is_async:
            each = f"await gathered(*[{edge.function}({node}, {more}) for {node} in {given}.nodes])"
        else:
            each = f"[{edge.function}({node}, {more}) for {node} in {given}.nodes]"
        return _Expression(f"({each} if type({assigned}) is Edges else failed())", edge.is_async)

    def _composite(self, type_: GraphQLOutputType, details: list[FieldDetails]) -> _Composite:
        """The function for values of this type that are not null."""
        key: _SelectionKey = (type_, *(id(each.node) for each in details))
        found = self._composites.get(key)
        if found is None:
            if isinstance(type_, GraphQLObjectType):
                found = self._kept(type_, details, self._object)
            elif isinstance(type_, GraphQLUnionType):
                found = self._abstract(list(type_.types), details)
            elif isinstance(type_, GraphQLInterfaceType):
                definition: StrawberryObjectDefinition = type_.extensions[GraphQLCoreConverter.DEFINITION_BACKREF]
                if definition.resolve_type is not None:
                    raise NotPrepared(f"{type_} resolves types itself")
                found = self._abstract(list(self._schema.get_possible_types(type_)), details)
            else:
                raise NotPrepared(f"a value of type {type_}")
            self._composites[key] = found
        return found

    def _kept(
        self,
        type_: GraphQLObjectType,
        details: list[FieldDetails],
        compiled: Callable[[GraphQLObjectType, list[FieldDetails]], _Composite],
    ) -> _Composite:
        """As compiled, with what keeps the JSON of it where that pays. Of what is in it, only what is repeated is."""
        origin = _definition(type_).origin
        holder, is_repeated = getattr(origin, "kept_by", None), getattr(origin, "is_repeated", False)
        if self._operation.operation is OperationType.SUBSCRIPTION and not getattr(origin, "kept_in_events", True):
            holder = None
        if self._is_within_kept:
            holder = None
        selection = None if holder is None and not is_repeated else self._fields.of_record(type_, details)
        if selection is None or leaves(selection) < _KEPT_LEAVES:
            return compiled(type_, details)
        within, self._is_within_kept = self._is_within_kept, True
        try:
            made = compiled(type_, details)
        finally:
            self._is_within_kept = within
        if is_repeated:
            made = made._replace(latest=self.functions.named(LatestBytes()))
        if holder is None:
            return made
        if selection not in self._kept_names:
            self.kept.append(self._records.use(selection, holder))
            self._kept_names[selection] = self.functions.named(self.kept[-1])
        return made._replace(kept=self._kept_names[selection])

    def _object(self, type_: GraphQLObjectType, details: list[FieldDetails]) -> _Composite:
        checks, members = self._object_members(type_, details, "value")
        return self._mapping(f"(type(value) in OBJECTS or checked(value)){checks} or failed(); ", members, "value, run")

    def _object_members(
        self, type_: GraphQLObjectType, details: list[FieldDetails], value: str
    ) -> tuple[str, dict[str, _Expression]]:
        """What else `value` must be, and the members of the object that it is."""
        checks = "" if type_.is_type_of is None else f" and {self.functions.named(type_.is_type_of)}({value}, None)"
        selected = self._fields.of(type_, details)
        return checks, {name: self._member(type_, fields, value) for name, fields in selected.items()}

    def _edge(self, type_: GraphQLObjectType, details: list[FieldDetails]) -> _Composite:
        """Of its node, as `value`, and what writes the cursor of that."""
        members: dict[str, _Expression] = {}
        for name, fields in self._fields.of(type_, details).items():
            field = fields[0].node.name.value
            if field == TYPENAME:
                members[name] = _Expression(repr(type_.name))
            else:
                code = "value" if field == "node" else "cursor_of(value)"
                members[name] = self._value(type_.fields[field].type, fields, code)
        return self._mapping("", members, "value, run, cursor_of")

    def _mapping(self, checks: str, members: Mapping[str, _Expression], parameters: str) -> _Composite:
        """The function that makes a dict of these."""
        items: list[tuple[str, str]] = []
        awaited: list[str] = []
        for name, member in members.items():
            if member.is_async:
                function, _ = self._function(parameters, member)
                items.append((name, f"awaited[{len(awaited)}]"))
                awaited.append(f"{function}({parameters})")
            else:
                items.append((name, member.code))
        gather = f"awaited = await gathered({', '.join(awaited)}); " if awaited else ""
        made = ", ".join(f"{name!r}: {code}" for name, code in items[:_MADE_AT_ONCE])
        more = "".join(f"made[{name!r}] = {code}; " for name, code in items[_MADE_AT_ONCE:])
        body = f"{checks}{gather}" + (f"made = {{{made}}}; {more}return made" if more else f"return {{{made}}}")
        return _Composite(self.functions.define(parameters, body, is_async=bool(awaited)), bool(awaited))

    def _member(self, parent: GraphQLObjectType, details: list[FieldDetails], value: str) -> _Expression:
        if details[0].node.name.value == TYPENAME:
            return _Expression(repr(parent.name))
        field, definition = self._fields.definition(parent, details)
        if definition.base_resolver is None:
            return self._value(field.type, details, f"{value}.{definition.python_name}")
        call = self._call(parent, field, definition, details)
        if not definition.is_async:
            return self._value(field.type, details, call)
        return self._value(field.type, details, f"(await {call})")._replace(is_async=True)

    def _abstract(self, types: list[GraphQLObjectType], details: list[FieldDetails]) -> _Composite:
        """Strawberry finds the member by each one's `is_type_of`, where the value is no instance of a type of its."""
        cases: list[str] = []
        is_async = False
        for type_ in types:
            if type_.is_type_of is not None:
                completed = self._applied(self._composite(type_, details), "value", "value")
                is_async = is_async or completed.is_async
                cases.append(f"    if {self.functions.named(type_.is_type_of)}(value, None): return {completed.code}")
        body = "\n".join(
            (
                "if isinstance(value, NOT_OBJECTS) or has_object_definition(value): failed()",
                *cases,
                "    failed()",
            )
        )
        return _Composite(self.functions.define("value, run", body, is_async=is_async), is_async)

    def _function(self, parameters: str, expression: _Expression) -> tuple[str, bool]:
        body = f"return {expression.code}"
        return self.functions.define(parameters, body, is_async=expression.is_async), expression.is_async


def _is_edge(type_: GraphQLOutputType) -> bool:
    """Of a connection, as https://relay.dev/graphql/connections.htm has it: a cursor and a node."""
    return (
        isinstance(type_, GraphQLNonNull)
        and isinstance(type_.of_type, GraphQLObjectType)
        and type_.of_type.fields.keys() == {"cursor", "node"}
    )


def _definition(type_: GraphQLObjectType) -> StrawberryObjectDefinition:
    definition: StrawberryObjectDefinition = type_.extensions[GraphQLCoreConverter.DEFINITION_BACKREF]
    return definition


async def together(*work: Coroutine[Any, Any, Any]) -> Sequence[Any]:
    """What the coroutines return, many of them run at the same time: what they wait for is read at once."""
    results: list[Any] = []
    try:
        for start in range(0, len(work), _TOGETHER):
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(each) for each in work[start : start + _TOGETHER]]
            results += [task.result() for task in tasks]
    finally:
        for each in work:
            each.close()
    return results


async def gathered(*work: Coroutine[Any, Any, Any]) -> Sequence[Any]:
    """What the coroutines return, a few of them run at the same time: each may take a connection. The others are
    cancelled when one fails."""
    if len(work) == 1:
        return [await work[0]]
    results: list[Any] = [None] * len(work)
    remaining = iter(enumerate(work))

    async def run() -> None:
        for number, each in remaining:
            results[number] = await each

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(len(work), AT_ONCE)):
                group.create_task(run())
    finally:
        for each in work:
            each.close()
    return results
