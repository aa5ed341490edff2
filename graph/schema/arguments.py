"""What arguments and inputs of several entry points share: names that must exist, and values that are read further."""

import difflib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Final, TypeAlias

import strawberry

from graph.execution.context import Info
from graph.execution.errors import NotFoundError
from graph.schema.messages import no_namespace, not_found
from graph.schema.scalars import Revision
from persistence.errors import FieldError, InvalidArgument
from persistence.model import records
from persistence.model.fields import quoted
from persistence.model.outcomes import NotFound
from persistence.model.records import MAX_COUNTER

NamespaceName: TypeAlias = Annotated[str, strawberry.argument(description="The namespace.")]


@strawberry.input(one_of=True, description="A point in time: exactly one of its fields.")
class AsOf:
    revision: Revision | None = strawberry.field(
        default=strawberry.UNSET, description="As the table stood right after this revision."
    )
    time: datetime | None = strawberry.field(
        default=strawberry.UNSET, description="As the table stood at this time; now, if it lies in the future."
    )

    def record(self) -> records.AsOf:
        if self.time is strawberry.UNSET:
            return records.AsOf(revision=self.revision)
        return records.AsOf(time=self.time)


AsOfArgument: TypeAlias = Annotated[
    AsOf | None, strawberry.argument(description="Answer as the table stood at a point in time.")
]

COMPARED: Final = 50
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
    names = await info.context.services.store.namespaces.around(name, COMPARED)
    return NotFoundError(no_namespace(outcome.namespaces, nearest(name, names)))


def nearest(name: str, names: Sequence[str]) -> str | None:
    """The one of up to twice `COMPARED` names that may have been meant."""
    return next(iter(difflib.get_close_matches(name, names, n=1, cutoff=_ALIKE)), None)


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
