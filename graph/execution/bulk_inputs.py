"""Inputs that come by the thousand: what they are made as, and how lists of them are coerced a field at a time.

10,000 patches of shards with four fields take 6 ms so, and took 40 when each was coerced by a function, made an input,
and that a part of a command.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from math import isfinite
from operator import itemgetter
from types import NoneType
from typing import Any, Final, TypeVar

from graphql import GraphQLFloat, GraphQLID, GraphQLInputType, GraphQLString, Undefined, is_leaf_type
from strawberry.types.arguments import InputContext
from strawberry.types.base import StrawberryContainer, StrawberryObjectDefinition, StrawberryType, has_object_definition

T = TypeVar("T", bound=type)


class MadeAs:
    """Makes values of an input type, straight from what graphql-core has read, as `made`."""

    def __init__(self, definition: StrawberryObjectDefinition, made: Callable[..., Any]) -> None:
        self.made = made
        self._definition = definition
        self._names: dict[str, str] = {}
        self._inputs: dict[str, StrawberryType | type] = {}

    def __call__(self, _: type, value: Mapping[str, Any], context: InputContext) -> Any:
        if not self._names:
            # Types of fields cannot be resolved before the schema is there.
            for field in self._definition.fields:
                name, kind = context.config.name_converter.from_field(field), field.resolve_type()
                self._names[name] = field.python_name
                if has_object_definition(_bare(kind)):
                    self._inputs[name] = kind
        members = {self._names[name]: member for name, member in value.items()}
        for name in self._inputs.keys() & value.keys():
            members[self._names[name]] = context.convert(value[name], self._inputs[name], name)
        return self.made(**members)


def made_as(made: Callable[..., Any]) -> Callable[[T], T]:
    """Class decorator for an input whose values are made as `made`, with its fields as keywords, and no instance of the
    class is made before. What a request leaves out has the default that it has in `made`.

    Fields must be leaves or other inputs. A list of them is coerced by columns where `made` is a named tuple.
    """

    def decorate(input_type: T) -> T:
        definition: StrawberryObjectDefinition = input_type.__strawberry_definition__  # type: ignore[attr-defined]
        definition.from_input = MadeAs(definition, made)
        return input_type

    return decorate


def _bare(kind: StrawberryType | type) -> StrawberryType | type:
    while isinstance(kind, StrawberryContainer):
        kind = kind.of_type
    return kind


@dataclass(frozen=True, slots=True)
class Column:
    """One field of all inputs of a list. `default` is what an input without it has; Undefined for one that is required.

    `coerce` takes a list of JSON values that are not null, and gives what they are coerced to.
    """

    name: str
    kind: GraphQLInputType
    is_nullable: bool
    default: Any
    coerce: Callable[[list[Any]], list[Any]]

    def read(self, values: list[Any]) -> Sequence[Any]:
        """`values` are JSON, Undefined where an input is without. Raises an exception, of any kind, where one is
        missing or not taken for granted."""
        kinds = set(map(type, values))
        if kinds.isdisjoint(_NO_VALUES):
            return self._coerced(values, kinds)
        if type(Undefined) in kinds and self.default is Undefined:
            raise TypeError("required")
        if NoneType in kinds and not self.is_nullable:
            raise TypeError("null where it must not be")
        given = [value for value in values if value is not None and value is not Undefined]
        coerced = iter(self._coerced(given, kinds - _NO_VALUES))
        return [None if value is None else self.default if value is Undefined else next(coerced) for value in values]

    def absent(self, count: int) -> Sequence[Any]:
        """Where no input of the list has it."""
        if self.default is Undefined:
            raise TypeError("required")
        return [self.default] * count

    def _coerced(self, values: list[Any], kinds: set[type]) -> list[Any]:
        if kinds == _STRINGS and is_leaf_type(self.kind):
            if self.kind in _TEXTS:
                return values
            # Equal strings are coerced to equal values: of statuses there are four, and of versions not many.
            distinct = list(set(values))
            coerced = dict(zip(distinct, self.coerce(distinct), strict=True))
            return [coerced[value] for value in values]
        if kinds == _FLOATS and self.kind is GraphQLFloat and all(map(isfinite, values)):
            return values
        return self.coerce(values)


_NO_VALUES: Final = frozenset({NoneType, type(Undefined)})

_STRINGS: Final = {str}

_FLOATS: Final = {float}

_TEXTS: Final = (GraphQLString, GraphQLID)


class Columns:
    """Coerces a list of inputs to a list of `made`, a named tuple, of which there is a column for each field."""

    def __init__(self, made: Any, columns: Sequence[Column]) -> None:
        self._made = made
        self._columns = columns
        self._names = {each.name for each in columns}

    def __call__(self, inputs: list[Any]) -> list[Any]:
        """Raises an exception, of any kind, for what is not taken for granted."""
        if not inputs:
            return []
        if set(map(type, inputs)) != _OBJECTS:
            raise TypeError("not objects")
        given = set[str]().union(*inputs)
        if not given <= self._names:
            raise TypeError("fields that there are not")
        values = _transposed(inputs, given)
        columns = [
            each.read(values[each.name]) if each.name in given else each.absent(len(inputs)) for each in self._columns
        ]
        # A named tuple's own function would be called in Python for each.
        return list(map(tuple.__new__, repeat(self._made), zip(*columns, strict=True)))


_OBJECTS: Final = {dict}


def _transposed(inputs: Sequence[Mapping[str, Any]], names: Collection[str]) -> Mapping[str, list[Any]]:
    """By name the values of all inputs, Undefined where one is without. Each has no other names than these."""
    if len(names) > 1 and set(map(len, inputs)) == {len(names)}:
        # All have all of them, so each is looked at once: they are far apart in memory.
        flat = list(chain.from_iterable(map(itemgetter(*names), inputs)))
        return {name: flat[position :: len(names)] for position, name in enumerate(names)}
    return {name: [each.get(name, Undefined) for each in inputs] for name in names}
