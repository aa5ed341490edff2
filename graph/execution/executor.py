"""Executing lists of records: a selection set is compiled once per operation, then applied to each item.

graphql-core executes each field of each item by itself: a path, a resolve info, a resolver, a completion, together ten
microseconds. For a list of 100 shards that is most of what an answer takes. Where every selected field is an attribute
without arguments or a resolver of its own, none of that can be seen from outside, so it is left out.

Whatever is not plain, and every list in which something goes wrong, is executed as ever: errors, their paths and where
null spreads to are graphql-core's alone.

Writing JSON. orjson does nearly all of it, many times faster than the standard library.
"""

import json
from collections.abc import Callable, Hashable, Sequence
from operator import attrgetter
from typing import Any, Final, TypeAlias

import orjson
from graphql import (
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLResolveInfo,
    GraphQLString,
    Undefined,
    is_leaf_type,
)
from graphql.execution.collect_fields import CollectedFields, FieldDetails, collect_subfields
from graphql.pyutils import Path
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.field import StrawberryField

Complete: TypeAlias = Callable[[Any], Any]
"""From what an attribute holds to what the answer holds."""

_Place: TypeAlias = tuple[Hashable, ...]

_TYPENAME: Final = "__typename"


class _NotPlain(Exception):
    """Something that has to be executed field by field."""


class RecordExecutor(StrawberryGraphQLCoreExecutionContext):
    """graphql-core's executor with a short cut for lists."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # By nodes of the document. Each event of a subscription has field details of its own: what is remembered by
        # those, as graphql-core does, is never asked for again, and held for as long as the subscription lasts.
        self._compiled: dict[_Place, Complete | None] = {}
        self._collected: dict[_Place, CollectedFields] = {}

    def collect_subfields(
        self, return_type: GraphQLObjectType, field_details_list: list[FieldDetails]
    ) -> CollectedFields:
        """As graphql-core does, once per place of the document."""
        place = _place(return_type, field_details_list)
        collected = self._collected.get(place)
        if collected is None:
            collected = self._collected[place] = collect_subfields(
                self.schema,
                self.fragments,
                self.variable_values,
                self.operation,
                return_type,
                field_details_list,
                self.hide_suggestions,
            )
        return collected

    def complete_list_value(
        self,
        return_type: GraphQLList[Any],
        field_details_list: list[FieldDetails],
        info: GraphQLResolveInfo[Any],
        path: Path,
        result: Any,
        position_context: Any,
    ) -> Any:
        complete = self._item_of(return_type, field_details_list) if isinstance(result, list | tuple) else None
        if complete is not None:
            try:
                return [complete(item) for item in result]
            except Exception:  # noqa: BLE001, S110 - whatever it is, the long way finds it again and says where
                pass
        return super().complete_list_value(return_type, field_details_list, info, path, result, position_context)

    def _item_of(self, list_type: GraphQLList[Any], details: list[FieldDetails]) -> Complete | None:
        """How to complete an item of this list; null if that is not plain. Lists of leaves are left alone."""
        place = _place(list_type, details)
        if place not in self._compiled:
            try:
                self._compiled[place] = self._of(list_type.of_type, details)
            except _NotPlain:
                self._compiled[place] = None
        return self._compiled[place]

    def _of(self, type_: GraphQLOutputType, details: list[FieldDetails]) -> Complete:
        if isinstance(type_, GraphQLNonNull):
            return _present(self._of(type_.of_type, details))
        if isinstance(type_, GraphQLList):
            return _optional(_list_of(self._of(type_.of_type, details)))
        if isinstance(type_, GraphQLObjectType):
            return _optional(self._object(type_, details))
        if is_leaf_type(type_):
            return _optional(_text if type_ is GraphQLString else _leaf(type_.coerce_output_value))
        raise _NotPlain

    def _object(self, type_: GraphQLObjectType, details: list[FieldDetails]) -> Complete:
        grouped, deferred, _ = self.collect_subfields(type_, details)
        middlewares = self.middleware_manager.middlewares if self.middleware_manager else ()
        if deferred or middlewares or type_.is_type_of is not None:
            raise _NotPlain
        members = [(name, *self._member(type_, members)) for name, members in grouped.items()]

        def complete(record: Any) -> dict[str, Any]:
            return {name: value(read(record)) for name, read, value in members}

        return complete

    def _member(self, parent: GraphQLObjectType, details: list[FieldDetails]) -> tuple[Complete, Complete]:
        """How to read a field from its record, and how to complete what was read."""
        node = details[0].node
        if node.name.value == _TYPENAME:
            name = parent.name
            return lambda _: name, lambda value: value
        field = self.schema.get_field(parent, node.name.value)
        defined = None if field is None else (field.extensions or {}).get(GraphQLCoreConverter.DEFINITION_BACKREF)
        if field is None or field.args or not isinstance(defined, StrawberryField) or not defined.is_basic_field:
            raise _NotPlain
        return attrgetter(defined.python_name), self._of(field.type, details)


def _place(type_: GraphQLOutputType, details: Sequence[FieldDetails]) -> _Place:
    """What tells apart the fields that are collected for a type. The executor holds the nodes, so ids are safe; and no
    fragment has variables of its own, which documents are not parsed for."""
    return type_, *((id(each.node), each.defer_usage) for each in details)


def _present(complete: Complete) -> Complete:
    def present(value: Any) -> Any:
        completed = complete(value)
        if completed is None:
            raise _NotPlain
        return completed

    return present


def _optional(complete: Complete) -> Complete:
    return lambda value: None if value is None else complete(value)


def _list_of(complete: Complete) -> Complete:
    def complete_list(values: Any) -> list[Any]:
        if not isinstance(values, list | tuple):
            raise _NotPlain
        return [complete(value) for value in values]

    return complete_list


def _text(value: Any) -> str:
    return value if type(value) is str else _leaf(GraphQLString.coerce_output_value)(value)


def _leaf(coerce: Callable[[Any], Any]) -> Complete:
    def leaf(value: Any) -> Any:
        coerced = coerce(value)
        if coerced is None or coerced is Undefined:
            raise _NotPlain
        return coerced

    return leaf


def encode_json(value: Any) -> bytes:
    """The value as JSON in UTF-8.

    orjson refuses lone surrogates, which a message may quote from a request; the standard library escapes them.
    """
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, separators=(",", ":")).encode()
