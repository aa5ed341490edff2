"""Executing lists of records: a selection set is compiled once per operation, then applied to all items at once.

graphql-core executes each field of each item by itself: a path, a resolve info, a resolver, a completion, together ten
microseconds. For a list of 100 shards that is most of what an answer takes. Where every selected field is an attribute
without arguments or a resolver of its own, none of that can be seen from outside, so it is left out: field after field
is read from all records and completed for all of them.

Whatever is not plain, and every list in which something goes wrong, graphql-core executes: errors, their paths and
where null spreads to are its alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Sequence
from itertools import islice
from operator import attrgetter
from typing import Any, Final, TypeAlias
from weakref import WeakMethod

import orjson
from graphql import (
    DocumentNode,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLResolveInfo,
    GraphQLString,
    Undefined,
    is_leaf_type,
)
from graphql.execution.collect_fields import CollectedFields, FieldDetails, GroupedFieldSet, collect_subfields
from graphql.pyutils import Path, gather_with_cancel
from graphql.type.definition import GraphQLResolveInfoHelpers
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.field import StrawberryField

from graph.execution.context import Context
from graph.execution.encoding import encode_json
from graph.execution.limits import MAX_ERRORS
from graph.execution.records import Edges
from graph.execution.slices import Slices
from graph.execution.workload import classify

Complete: TypeAlias = Callable[[Sequence[Any]], Sequence[Any]]
"""From what an attribute of each record holds to what the answer holds, in the same order."""

_SelectionKey: TypeAlias = tuple[Hashable, ...]

_TYPENAME: Final = "__typename"

_INTROSPECTION: Final = frozenset({"__schema", "__type"})

_ERRORS_ARGUMENT: Final = 9
"""The place of `max_coercion_errors` among the arguments of `build`, which graphql-core's `execute` gives by place."""


class _NotPlain(Exception):
    """Something that has to be executed field by field."""


class RecordExecutor(StrawberryGraphQLCoreExecutionContext):
    """graphql-core's executor with a short cut for lists."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # graphql-core's own refer to the executor, which would be garbage in the end with all that it refers to.
        gather, track = _weak(self.gather_async_work), _weak(self.track_async_work)
        self.async_helpers = GraphQLResolveInfoHelpers(gather, track)
        # By nodes of the document. Each event of a subscription has field details of its own: what is remembered by
        # those, as graphql-core does, is never looked up again, and held for as long as the subscription lasts.
        self._compiled: dict[_SelectionKey, Complete | None] = {}
        self._collected: dict[_SelectionKey, CollectedFields] = {}

    @classmethod
    def build(cls, *args: Any, **kwargs: Any) -> Any:
        """As graphql-core does, but that few errors of variables are reported: each prints a value."""
        if len(args) > _ERRORS_ARGUMENT:
            args = *args[:_ERRORS_ARGUMENT], MAX_ERRORS, *args[_ERRORS_ARGUMENT + 1 :]
            return super().build(*args, **kwargs)
        return super().build(*args, **{**kwargs, "max_coercion_errors": MAX_ERRORS})

    def collect_subfields(
        self, return_type: GraphQLObjectType, field_details_list: list[FieldDetails]
    ) -> CollectedFields:
        """As graphql-core does, once per selection of the document."""
        key = _selection_key(return_type, field_details_list)
        collected = self._collected.get(key)
        if collected is None:
            collected = self._collected[key] = collect_subfields(
                self.schema,
                self.fragments,
                self.variable_values,
                self.operation,
                return_type,
                field_details_list,
                self.hide_suggestions,
            )
        return collected

    def execute_fields(
        self,
        parent_type: GraphQLObjectType,
        source_value: Any,
        path: Path | None,
        grouped_field_set: GroupedFieldSet,
        position_context: Any,
    ) -> Any:
        """As graphql-core does, but several root fields in slices of the event loop, as many at the same time as the
        operation may, and the schema beside it: all of it takes 30 ms. Each is JSON as soon as it is complete, where
        answers may hold that: objects of ten answers of 10,000 records left the process 50 MB larger."""
        if path is not None or len(grouped_field_set) == 1 or not isinstance(self.context_value, Context):
            return super().execute_fields(parent_type, source_value, path, grouped_field_set, position_context)
        return self._execute_root_fields(parent_type, source_value, grouped_field_set, position_context)

    async def _execute_root_fields(
        self, root: GraphQLObjectType, source: Any, fields: GroupedFieldSet, position_context: Any
    ) -> dict[str, Any]:
        results: dict[str, Any] = dict.fromkeys(fields, Undefined)
        remaining = iter(fields.items())

        async def execute() -> None:
            slices = Slices()
            for name, details in remaining:
                await slices.pause()
                given = root, source, details, Path(None, name, root.name), position_context
                if details[0].node.name.value in _INTROSPECTION:
                    result = await asyncio.to_thread(self.execute_field, *given)
                else:
                    result = self.execute_field(*given)
                completed = await result if self.is_awaitable(result) else result
                is_json = self.context_value.is_encoded and completed is not Undefined
                results[name] = orjson.Fragment(encode_json(completed)) if is_json else completed

        document = DocumentNode(definitions=(self.operation, *(each.definition for each in self.fragments.values())))
        at_once = min(len(fields), classify(self.operation, document).fields_at_once)
        try:
            await gather_with_cancel(*(execute() for _ in range(at_once)))
        finally:
            # The executor is in cycles of graphql-core's. What 190 fields compiled is 40,000 objects, and would be
            # garbage that takes a tenth of a second to be found and freed.
            self._compiled.clear()
            self._collected.clear()
        return {name: result for name, result in results.items() if result is not Undefined}

    async def complete_awaitable_value(
        self,
        return_type: GraphQLOutputType,
        field_details_list: list[FieldDetails],
        info: GraphQLResolveInfo[Any],
        path: Path,
        result: Any,
        position_context: Any,
    ) -> Any:
        """As graphql-core does, but what a root field comes to is completed in a slice of the event loop: the lists of
        many requests may have waited for the same, and each takes milliseconds."""

        async def in_turn() -> Any:
            resolved = await result
            await Slices().pause()
            return resolved

        given = in_turn() if path.prev is None else result
        return await super().complete_awaitable_value(
            return_type, field_details_list, info, path, given, position_context
        )

    def execute_field(
        self,
        parent_type: GraphQLObjectType,
        source: Any,
        field_details_list: list[FieldDetails],
        path: Path,
        position_context: Any,
    ) -> Any:
        """As graphql-core does, but for root fields whose outcomes are recorded: those are completed."""
        recorded = self.context_value.recorded if isinstance(self.context_value, Context) else None
        outcome = recorded.outcomes.get(str(path.key)) if recorded and path.prev is None else None
        field = None if outcome is None else self.schema.get_field(parent_type, field_details_list[0].node.name.value)
        if outcome is None or field is None:
            return super().execute_field(parent_type, source, field_details_list, path, position_context)

        async def resolved() -> Any:
            if outcome.error is not None:
                raise outcome.error
            return outcome.value

        nodes = [details.node for details in field_details_list]
        info = self.build_resolve_info(field, nodes, parent_type, path)
        return self.complete_awaitable_value(field.type, field_details_list, info, path, resolved(), position_context)

    def complete_list_value(
        self,
        return_type: GraphQLList[Any],
        field_details_list: list[FieldDetails],
        info: GraphQLResolveInfo[Any],
        path: Path,
        result: Any,
        position_context: Any,
    ) -> Any:
        is_list = isinstance(result, list | tuple | Edges)
        complete = self._items_of(return_type, field_details_list) if is_list else None
        if complete is not None:
            try:
                return list(complete(list(result)))
            except Exception:  # noqa: BLE001, S110 - whatever it is, the long way finds it again, and where it is
                pass
        return super().complete_list_value(return_type, field_details_list, info, path, result, position_context)

    def _items_of(self, list_type: GraphQLList[Any], details: list[FieldDetails]) -> Complete | None:
        """How to complete the items of this list; null if that is not plain."""
        key = _selection_key(list_type, details)
        if key not in self._compiled:
            try:
                self._compiled[key] = self._of(list_type.of_type, details)
            except _NotPlain:
                self._compiled[key] = None
        return self._compiled[key]

    def _of(self, type_: GraphQLOutputType, details: list[FieldDetails]) -> Complete:
        if isinstance(type_, GraphQLNonNull):
            return _present(self._of(type_.of_type, details))
        if isinstance(type_, GraphQLList):
            return _optional(_lists_of(self._of(type_.of_type, details)))
        if isinstance(type_, GraphQLObjectType):
            return _optional(self._object(type_, details))
        if is_leaf_type(type_):
            return _optional(_texts if type_ is GraphQLString else _leaves(type_.coerce_output_value))
        raise _NotPlain

    def _object(self, type_: GraphQLObjectType, details: list[FieldDetails]) -> Complete:
        grouped, deferred, _ = self.collect_subfields(type_, details)
        middlewares = self.middleware_manager.middlewares if self.middleware_manager else ()
        if deferred or middlewares or type_.is_type_of is not None:
            raise _NotPlain
        members = [(name, *self._member(type_, members)) for name, members in grouped.items()]

        def complete(records: Sequence[Any]) -> list[dict[str, Any]]:
            answers: list[dict[str, Any]] = [{} for _ in records]
            for name, read, complete_values in members:
                for answer, value in zip(answers, complete_values(list(map(read, records))), strict=True):
                    answer[name] = value
            return answers

        return complete

    def _member(self, parent: GraphQLObjectType, details: list[FieldDetails]) -> tuple[Callable[[Any], Any], Complete]:
        """How to read a field from a record, and how to complete what was read from all of them."""
        node = details[0].node
        if node.name.value == _TYPENAME:
            name = parent.name
            return lambda _: name, list
        field = self.schema.get_field(parent, node.name.value)
        defined = None if field is None else (field.extensions or {}).get(GraphQLCoreConverter.DEFINITION_BACKREF)
        if field is None or field.args or not isinstance(defined, StrawberryField) or not defined.is_basic_field:
            raise _NotPlain
        return attrgetter(defined.python_name), self._of(field.type, details)


def _weak(method: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The method, of an object that is held by others for as long as it is called."""
    reference = WeakMethod(method)

    def call(given: Any) -> Any:
        alive = reference()
        if alive is None:
            raise RuntimeError("the execution has ended")
        return alive(given)

    return call


def _selection_key(type_: GraphQLOutputType, details: Sequence[FieldDetails]) -> _SelectionKey:
    """What distinguishes the fields that are collected for a type. The executor holds the nodes, so ids are safe; and
    no fragment has variables of its own, which documents are not parsed for."""
    return type_, *((id(each.node), each.defer_usage) for each in details)


def _present(complete: Complete) -> Complete:
    def present(values: Sequence[Any]) -> Sequence[Any]:
        completed = complete(values)
        if any(value is None for value in completed):
            raise _NotPlain
        return completed

    return present


def _optional(complete: Complete) -> Complete:
    def optional(values: Sequence[Any]) -> Sequence[Any]:
        present = [value for value in values if value is not None]
        if len(present) == len(values):
            return complete(values)
        completed = iter(complete(present))
        return [None if value is None else next(completed) for value in values]

    return optional


def _lists_of(complete: Complete) -> Complete:
    def lists(values: Sequence[Any]) -> Sequence[Any]:
        if not all(isinstance(value, list | tuple) for value in values):
            raise _NotPlain
        completed = iter(complete([item for value in values for item in value]))
        return [list(islice(completed, len(value))) for value in values]

    return lists


def _texts(values: Sequence[Any]) -> Sequence[Any]:
    return values if {*map(type, values)} <= {str} else _leaves(GraphQLString.coerce_output_value)(values)


def _leaves(coerce: Callable[[Any], Any]) -> Complete:
    def leaves(values: Sequence[Any]) -> Sequence[Any]:
        coerced = list(map(coerce, values))
        if any(value is None or value is Undefined for value in coerced):
            raise _NotPlain
        return coerced

    return leaves
