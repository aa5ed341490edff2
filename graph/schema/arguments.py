"""Arguments that several entry points share, with the same words in each.

Values of inputs that say more than their type does.

Inputs that come by the thousand, made straight from the request.

Strawberry resolves the type and the name of each field again for each value: 5,000 shards took 0.4 s, in which the
process answered nobody. Leaves need neither, since graphql-core has read those already.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, TypeAlias, TypeVar

import strawberry
from strawberry.types.arguments import InputContext
from strawberry.types.base import StrawberryContainer, StrawberryObjectDefinition, StrawberryType, has_object_definition

import graph.schema.enums  # noqa: F401 - registers the enums these types name
from graph.schema.scalars import Revision
from persistence.codec.cursors import Cursor, read_stream_cursor
from persistence.commands import command
from persistence.errors import FieldError, InvalidArgument
from persistence.model import queries, records
from persistence.model.fields import Problems, identifier_problem, quoted
from persistence.model.records import MAX_COUNTER
from persistence.ports import DiffFeed


@strawberry.input(one_of=True, description="A moment of the past: exactly one of its fields.")
class AsOf:
    revision: Revision | None = strawberry.field(
        default=strawberry.UNSET, description="As the table stood right after this revision."
    )
    time: datetime | None = strawberry.field(
        default=strawberry.UNSET, description="As the table stood at this moment; now, if it lies in the future."
    )

    def moment(self) -> records.AsOf:
        if self.time is strawberry.UNSET:
            return records.AsOf(revision=self.revision)
        return records.AsOf(time=self.time)


AsOfArgument: TypeAlias = Annotated[
    AsOf | None, strawberry.argument(description="Answer as the table stood at a moment of the past.")
]

AtLeast: TypeAlias = Annotated[
    Revision | None,
    strawberry.argument(
        description=(
            "Answer only once this server has seen this revision: pass the `revision` of your own write to read it. "
            "Fails with STALE_READ if that takes too long, and with FUTURE_REVISION if the store has no such revision. "
            "A revision that was lost in a failover is given to another change: `atLeastCursor` notices."
        )
    ),
]

AtLeastCursor: TypeAlias = Annotated[
    Cursor | None,
    strawberry.argument(
        description=(
            "In place of `atLeast`: answer only once this server has seen everything up to this cursor of the change "
            "stream, that of your own write or of a list. Fails with STALE_READ if that takes too long, and with "
            "EPOCH_MISMATCH if what it stands for was lost in a failover."
        )
    ),
]

NamespaceName: TypeAlias = Annotated[str, strawberry.argument(description="The namespace.")]


async def reached(feed: DiffFeed, at_least: int | None, at_least_cursor: str | None) -> None:
    """Until the feed has come there. Raises InvalidArgument where both are given, and what the feed does."""
    if at_least is not None and at_least_cursor is not None:
        raise invalid("atLeastCursor", "cannot be given together with atLeast")
    if at_least is not None:
        await feed.wait_for(at_least)
    elif at_least_cursor is not None:
        await feed.wait_for_position(read_stream_cursor(at_least_cursor, "atLeastCursor"))


def check_identifiers(**set_or_unset: str | None) -> None:
    """Raises InvalidArgument naming each argument (spelt as in the schema) that cannot be an identifier."""
    problems = Problems()
    for name, value in set_or_unset.items():
        if value is not None:
            problems.add(name, identifier_problem(value))
    problems.raise_if_any()


def invalid(field: str, message: str) -> InvalidArgument:
    return InvalidArgument(FieldError(field, message))


def set_or_unset(value: Any) -> Any:
    """What was left out of the request is left alone by the store; null is a value."""
    return command.UNSET if value is strawberry.UNSET else value


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


T = TypeVar("T", bound=type)


def in_bulk(input_type: T) -> T:
    """Class decorator for an input type whose fields are leaves or other inputs, and have a default where null is
    allowed."""
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
        set_or_unset = {names[name]: each for name, each in value.items()}
        for name in inputs.keys() & value.keys():
            set_or_unset[names[name]] = context.convert(value[name], inputs[name], name)
        return type_(**set_or_unset)

    definition.from_input = build
    return input_type


def _bare(kind: StrawberryType | type) -> StrawberryType | type:
    while isinstance(kind, StrawberryContainer):
        kind = kind.of_type
    return kind


def check_filter(
    where: queries.ShardFilter | queries.ShardHistoryFilter | queries.ChangeFilter | queries.RefusalFilter,
) -> None:
    problems = Problems()
    where.add_problems(problems)
    problems.raise_if_any()
