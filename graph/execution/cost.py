"""What an operation asks for, in records, known before it is executed.

Like the rate limits of https://docs.github.com/en/graphql/overview/rate-limits-and-query-limits-for-the-graphql-api: a
page counts as many records as `first` or `last` allow, times those of the page around it, in each place where it is
selected. The document is walked once; what is left depends on the variables alone, and mostly on none. What is skipped
counts, and what is not found, too: it is what an answer may come to. docs/decisions/0047-what-an-operation-costs.md.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias, cast

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    ListValueNode,
    NullValueNode,
    ObjectValueNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    ValueNode,
    VariableNode,
    get_named_type,
    is_leaf_type,
)
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.field import StrawberryField

from graph.execution.workload import FROM_MEMORY, Classification, classify
from persistence.model.paging import DEFAULT_PAGE, MAX_PAGE

STATEMENT: Final = 25
"""Records that a field counts as which is read from the database, whatever it finds."""

COUNT: Final = 100
"""`totalCount` of a list in the database, which reads all of it."""

COUNT_IN_MEMORY: Final = 10

EXPLANATION: Final = 500

PLANNING: Final = 2_500
"""Working out a plan, kept or not: a turn of a process that plans."""

PROPOSAL: Final = 100
"""Reading a plan's proposal, which may be a megabyte."""

ATTRIBUTION: Final = 2
"""The change that brought a shard or a node to where it is: those of a page are read by one statement."""

LOADS: Final = 5
"""What a node owns of some namespaces."""

INTROSPECTION: Final = 6_000
"""`__schema`, which takes 30 ms of the processor, once in an operation; each `__type` counts a tenth."""

FIELDS_A_RECORD: Final = 50
"""A record counts one more for each so many fields that are selected of it."""

FREE_LOOKUP: Final = 1_000
"""Records that a lookup may ask for without taking them from its caller's budget."""

_ITEMS: Final = 3
"""Of a list of objects that has no page: candidates, violations, loads."""

_LARGEST: Final = 2**31
"""What `first` may be is less; a float may be infinite."""

_COST: Final = "omnirelay.cost"

_INTROSPECTION: Final = {"__schema": INTROSPECTION, "__type": INTROSPECTION // 10}

Variables: TypeAlias = Mapping[str, Any] | None
"""Those of a request, as they came; null for whatever makes a lookup ask for most."""

Of: TypeAlias = Callable[[Variables], int]
"""A number that depends on variables."""

Number: TypeAlias = int | Of


def costs(records: int) -> Mapping[str, Any]:
    """Metadata of a field: how many records it counts as, beside those that are selected of it."""
    return {_COST: records}


class FieldCost(NamedTuple):
    """`name` in the answer."""

    name: str
    records: Number


class OperationCost:
    """Of one operation of a valid document."""

    __slots__ = ("_constant", "_fields", "_written", "classification", "is_free")

    def __init__(self, fields: Iterable[FieldCost], written: Number, classification: Classification) -> None:
        """`written`: how many shards it changes."""
        self._fields = tuple(fields)
        self._constant = sum(each.records for each in self._fields if isinstance(each.records, int))
        self._written = written
        self.classification = classification
        self.is_free = classification.usual.is_lookup and self.records(None) <= FREE_LOOKUP
        """Whether it takes nothing from a budget, where it is a lookup, whatever the variables."""

    def records(self, variables: Variables) -> int:
        """That it asks for."""
        return self._constant + sum(each.records(variables) for each in self._fields if callable(each.records))

    def charge(self, variables: Mapping[str, Any]) -> int:
        """What is taken from its caller's budget: what it asks for and what it writes. Of a lookup, which is answered
        from memory, a tenth, and nothing of a usual one."""
        records = self.records(variables)
        if not self.classification.of(variables).is_lookup:
            return records + _value(self._written, variables)
        return 0 if records <= FREE_LOOKUP else records // 10

    def greatest(self, variables: Mapping[str, Any], count: int) -> list[tuple[str, int]]:
        """The root fields that ask for most, and for how many."""
        each = [(name, _value(records, variables)) for name, records in self._fields]
        return sorted(each, key=lambda it: it[1], reverse=True)[:count]


def cost_of(schema: GraphQLSchema, document: DocumentNode, operation: OperationDefinitionNode) -> OperationCost:
    compiler = _Compiler(schema, document, operation)
    fields = compiler.root_fields()
    return OperationCost(fields, _sum(compiler.written), classify(operation, document))


class _Selected(NamedTuple):
    """Records of lists within a selection, and fields beside those."""

    records: Number
    fields: int


class _Compiler:
    def __init__(self, schema: GraphQLSchema, document: DocumentNode, operation: OperationDefinitionNode) -> None:
        self._schema = schema
        self._operation = operation
        self._fragments = {
            node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)
        }
        self._defaults = {each.variable.name.value: each.default_value for each in operation.variable_definitions or ()}
        # By fragment and what it is spread in.
        self._spread: dict[tuple[str, str], _Selected] = {}
        self.written: list[Number] = []

    def root_fields(self) -> list[FieldCost]:
        root = self._schema.get_root_type(self._operation.operation)
        fields: list[FieldCost] = []
        for node in self._fields(self._operation.selection_set):
            name = (node.alias or node.name).value
            field = None if root is None else self._schema.get_field(root, node.name.value)
            if field is not None:
                fields.append(FieldCost(name, self._root_field(field, node)))
        return fields

    def _fields(self, selections: SelectionSetNode) -> Iterable[FieldNode]:
        for each in selections.selections:
            if isinstance(each, FieldNode):
                yield each
            elif isinstance(each, FragmentSpreadNode):
                yield from self._fields(self._fragments[each.name.value].selection_set)
            else:
                yield from self._fields(cast("InlineFragmentNode", each).selection_set)

    def _root_field(self, field: GraphQLField, node: FieldNode) -> Number:
        name = node.name.value
        if name.startswith("__"):
            return _INTROSPECTION.get(name, 0)
        is_lookup = self._operation.operation is OperationType.QUERY and name in FROM_MEMORY
        given = {each.name.value for each in node.arguments or ()}
        own = _declared(field, 1 if is_lookup and "asOf" not in given else STATEMENT)
        if self._operation.operation is OperationType.SUBSCRIPTION:
            # Its batches are made once for all that follow the same.
            return own
        if self._operation.operation is OperationType.MUTATION:
            self.written.append(self._items(node, "input", "shards"))
        selected = self._below(field, node, COUNT_IN_MEMORY if is_lookup and "filter" not in given else COUNT)
        return _sum([own, selected.fields // FIELDS_A_RECORD, selected.records])

    def _below(self, field: GraphQLField, node: FieldNode, count: int) -> _Selected:
        """What is selected of a field that is no root field, or is one, without what it counts as itself."""
        if node.selection_set is None:
            return _Selected(0, 1)
        type_ = get_named_type(field.type)
        names = field.args.keys()
        if {"first", "last"} <= names:
            return self._selected(type_, node.selection_set, self._page(node), count)
        if "keys" in names:
            return self._selected(type_, node.selection_set, self._items(node, "keys"), count)
        return self._selected(type_, node.selection_set, None, count)

    def _selected(self, type_: Any, selections: SelectionSetNode, page: Number | None, count: int) -> _Selected:
        """`page`: how many items each list has that is selected right here; null for what is not known."""
        records: list[Number] = []
        fields = 0
        for each in selections.selections:
            if isinstance(each, FieldNode):
                found = self._member(type_, each, page, count)
            elif isinstance(each, FragmentSpreadNode):
                found = self._fragment(each.name.value, page, count)
            else:
                inline = cast("InlineFragmentNode", each)
                condition = inline.type_condition
                inner = type_ if condition is None else self._schema.get_type(condition.name.value)
                found = self._selected(inner, inline.selection_set, page, count)
            records.append(found.records)
            fields += found.fields
        return _Selected(_sum(records), fields)

    def _fragment(self, name: str, page: Number | None, count: int) -> _Selected:
        fragment = self._fragments[name]
        type_ = self._schema.get_type(fragment.type_condition.name.value)
        if page is not None:
            return self._selected(type_, fragment.selection_set, page, count)
        key = name, str(count)
        if key not in self._spread:
            self._spread[key] = self._selected(type_, fragment.selection_set, None, count)
        return self._spread[key]

    def _member(self, type_: Any, node: FieldNode, page: Number | None, count: int) -> _Selected:
        name = node.name.value
        if not isinstance(type_, GraphQLObjectType | GraphQLInterfaceType) or name.startswith("__"):
            return _Selected(0, 1)
        field = type_.fields[name]
        if name == "totalCount":
            return _Selected(count, 1)
        if is_leaf_type(get_named_type(field.type)):
            return _Selected(_declared(field, 0), 1)
        below = self._below(field, node, COUNT)
        has_page = {"first", "last"} <= field.args.keys()
        own = _declared(field, STATEMENT if has_page else 0)
        if not _is_list(field.type):
            return _Selected(_sum([own, below.records]), below.fields + 1)
        items: Number = page if page is not None else _ITEMS
        return _Selected(_sum([own, _times(items, _sum([1 + below.fields // FIELDS_A_RECORD, below.records]))]), 1)

    def _page(self, node: FieldNode) -> Number:
        """How many items the page may have. Both `first` and `last`, or one that is none, are refused when executed."""
        given = {each.name.value: each.value for each in node.arguments or ()}
        first, last = self._integer(given.get("first")), self._integer(given.get("last"))
        if callable(first) or callable(last):
            return lambda variables: _page_size(_value_or_none(first, variables), _value_or_none(last, variables))
        return _page_size(first, last)

    def _integer(self, value: ValueNode | None) -> int | Callable[[Variables], int | None] | None:
        if isinstance(value, IntValueNode):
            return int(value.value) if len(value.value) < 10 else MAX_PAGE  # noqa: PLR2004 - beyond Int
        if not isinstance(value, VariableNode):
            return None
        name = value.name.value
        default = self._integer(self._defaults.get(name))

        def given(variables: Variables) -> int | None:
            found = MAX_PAGE if variables is None else variables.get(name, default)
            return int(found) if isinstance(found, int | float) and abs(found) <= _LARGEST else None

        return given

    def _items(self, node: FieldNode, argument: str, *members: str) -> Number:
        """How many items a list has that is an argument, or a member of one."""
        value: ValueNode | None = next(
            (each.value for each in node.arguments or () if each.name.value == argument), None
        )
        left = list(members)
        while left and isinstance(value, ObjectValueNode):
            name = left.pop(0)
            value = next((each.value for each in value.fields if each.name.value == name), None)
        if isinstance(value, VariableNode):
            name = value.name.value
            return lambda variables: MAX_PAGE if variables is None else _length(variables.get(name), left)
        if isinstance(value, ListValueNode):
            return len(value.values)
        return 0 if value is None or isinstance(value, NullValueNode) or left else 1


def _page_size(first: int | None, last: int | None) -> int:
    given = [each for each in (first, last) if each is not None]
    return min(max(*given, 0), MAX_PAGE) if given else DEFAULT_PAGE


def _length(value: Any, members: Iterable[str]) -> int:
    for each in members:
        value = value.get(each) if isinstance(value, dict) else None
    return len(value) if isinstance(value, list) else 0 if value is None else 1


def _value(number: Number, variables: Variables) -> int:
    return number if isinstance(number, int) else number(variables)


def _value_or_none(number: Any, variables: Variables) -> int | None:
    found: int | None = number(variables) if callable(number) else number
    return found


def _sum(numbers: Iterable[Number]) -> Number:
    constant = 0
    others: list[Of] = []
    for each in numbers:
        if isinstance(each, int):
            constant += each
        else:
            others.append(each)
    if not others:
        return constant
    if len(others) == 1 and not constant:
        return others[0]
    return lambda variables: constant + sum(other(variables) for other in others)


def _times(count: Number, number: Number) -> Number:
    if isinstance(count, int) and isinstance(number, int):
        return count * number
    if number == 1:
        return count
    return lambda variables: _value(count, variables) * _value(number, variables)


def _is_list(type_: GraphQLOutputType) -> bool:
    return isinstance(type_.of_type if isinstance(type_, GraphQLNonNull) else type_, GraphQLList)


def _declared(field: GraphQLField, default: int) -> int:
    definition = (field.extensions or {}).get(GraphQLCoreConverter.DEFINITION_BACKREF)
    records = definition.metadata.get(_COST) if isinstance(definition, StrawberryField) else None
    return records if isinstance(records, int) else default
