"""What arguments and inputs of several entry points share: names that must exist, values that are read
further, and inputs that come by the thousand."""

import difflib
from collections.abc import Mapping
from typing import Annotated, Any, Final, TypeAlias, TypeVar

import strawberry
from strawberry.types.arguments import InputContext
from strawberry.types.base import StrawberryContainer, StrawberryObjectDefinition, StrawberryType, has_object_definition

from graph.execution.context import Info
from graph.execution.errors import NotFoundError
from graph.schema.messages import no_namespace, not_found
from persistence.errors import FieldError, InvalidArgument
from persistence.model.fields import quoted
from persistence.model.outcomes import NotFound
from persistence.model.records import MAX_COUNTER

T = TypeVar("T", bound=type)

NamespaceName: TypeAlias = Annotated[str, strawberry.argument(description="The namespace.")]

_COMPARED: Final = 50
"""Names on either side: compared in a millisecond, where a store has thousands."""

_ALIKE: Final = 0.75
"""Of 1: a letter that is missing, added, or in another place, in a name of four or more."""


async def require_namespaces(info: Info, *names: str | None) -> None:
    """Raises NotFoundError for the first of these that there is not; null names none.

    For lists that are empty: what one holds is of a namespace that exists, and none is ever deleted.
    """
    for name in names:
        if name is not None and not await info.context.services.store.namespaces.exists(name):
            raise await missing(info, NotFound(namespaces=(name,)))


async def missing(info: Info, outcome: NotFound) -> NotFoundError:
    """To be raised. Names the namespace that may have been meant, if it is about one."""
    if not outcome.namespaces:
        return NotFoundError(not_found(outcome))
    name = outcome.namespaces[0]
    names = await info.context.services.store.namespaces.around(name, _COMPARED)
    nearest = difflib.get_close_matches(name, names, n=1, cutoff=_ALIKE)
    return NotFoundError(no_namespace(outcome.namespaces, next(iter(nearest), None)))


def invalid(field: str, message: str) -> InvalidArgument:
    return InvalidArgument(FieldError(field, message))


def change_id(field: str, value: str) -> int:
    """The id of a change. Raises InvalidArgument naming `field` for what is none."""
    if value.isascii() and value.isdecimal() and len(value) <= len(str(MAX_COUNTER)) and int(value) <= MAX_COUNTER:
        return int(value)
    raise InvalidArgument(FieldError(field, f"{quoted(value)} is not the id of a change: a whole number"))


def json_object(field: str, value: object, example: str) -> Mapping[str, Any]:
    """JSON that must be an object; null is an empty one. Raises InvalidArgument naming `field`."""
    if value is None:
        return {}
    if isinstance(value, dict):
        return value
    raise InvalidArgument(FieldError(field, f"must be a JSON object, such as {example}"))


def in_bulk(input_type: T) -> T:
    """Class decorator for an input that comes by the thousand: values are made straight from the request.

    Strawberry resolves the type and the name of each field again for each value: 5,000 shards took 0.4 s, in which the
    process answered no other request. Leaves need neither, since graphql-core has read those already. Fields must be
    leaves or other inputs, and have a default where null is allowed.
    """
    definition: StrawberryObjectDefinition = input_type.__strawberry_definition__  # type: ignore[attr-defined]
    names: dict[str, str] = {}
    inputs: dict[str, StrawberryType | type] = {}

    def build(type_: type, value: Mapping[str, Any], context: InputContext) -> Any:
        if not names:
            for field in definition.fields:
                name, kind = context.config.name_converter.from_field(field), field.resolve_type()
                names[name] = field.python_name
                if has_object_definition(_bare(kind)):
                    inputs[name] = kind
        members = {names[name]: member for name, member in value.items()}
        for name in inputs.keys() & value.keys():
            members[names[name]] = context.convert(value[name], inputs[name], name)
        return type_(**members)

    definition.from_input = build
    return input_type


def _bare(kind: StrawberryType | type) -> StrawberryType | type:
    while isinstance(kind, StrawberryContainer):
        kind = kind.of_type
    return kind
