"""The short cut for lists answers what graphql-core answers field by field, errors and all."""

from __future__ import annotations

import asyncio
import gc
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, cast

import orjson
import pytest
import strawberry
from graphql import ExecutionResult, execute_subscription_event, parse
from graphql.execution.collect_fields import FieldDetails
from graphql.execution.executor import Executor
from orjson import Fragment
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from graph.auth.principal import UNRESTRICTED
from graph.execution import slices
from graph.execution.context import Context
from graph.execution.executor import RecordExecutor


@strawberry.enum
class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@strawberry.type
class Wheel:
    size: int
    worn: bool | None = None


@strawberry.type
class Car:
    name: str
    colour: Colour
    wheels: list[Wheel]
    spare: Wheel | None
    tags: list[str]
    price: float | None

    @strawberry.field
    def greeting(self, loudness: int = 0) -> str:
        return f"{self.name}!" if loudness else self.name


@dataclass
class CarRecord:
    name: Any = "beetle"
    colour: Any = Colour.RED
    wheels: Any = (Wheel(size=14), Wheel(size=15, worn=True))
    spare: Any = None
    tags: Any = ("old", "loved")
    price: Any = 1


@strawberry.type
class Garage:
    cars: list[Car]
    dreams: list[Car | None]


def schema(executor: type[Executor[Any]]) -> strawberry.Schema:
    @strawberry.type
    class Query:
        @strawberry.field
        def garage(self, info: strawberry.Info) -> Garage:
            garage: Garage = info.context
            return garage

    @strawberry.type
    class Subscription:
        @strawberry.subscription
        async def garages(self) -> AsyncGenerator[Garage, None]:
            yield SOUND

    return strawberry.Schema(Query, subscription=Subscription, execution_context_class=executor)


SUBSCRIPTION = "subscription{garages{cars{name wheels{size} greeting} dreams{name}}}"

ORDINARY = schema(StrawberryGraphQLCoreExecutionContext)
SHORT = schema(RecordExecutor)
SOUND = Garage(
    cars=[CarRecord(), CarRecord(name="mini", spare=Wheel(size=10), price=None)],  # type: ignore[list-item] # as resolvers do
    dreams=[None, CarRecord(colour=Colour.BLUE)],  # type: ignore[list-item]
)


def answers(query: str, garage: Garage, **variables: Any) -> tuple[Any, Any]:
    """By the ordinary executor, and by the one with the short cut: data and errors."""
    both = []
    for each in (ORDINARY, SHORT):
        result = each.execute_sync(query, context_value=garage, variable_values=variables)
        both.append((result.data, [error.formatted for error in result.errors or ()]))
    ordinary, short = both
    return ordinary, short


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The fields that were executed one by one."""
    fields: list[str] = []
    execute_field = Executor.execute_field

    def counted(self: Any, parent: Any, source: Any, details: Any, *rest: Any) -> Any:
        fields.append(details[0].node.name.value)
        return execute_field(self, parent, source, details, *rest)

    monkeypatch.setattr(Executor, "execute_field", counted)
    return fields


@pytest.mark.parametrize(
    "query",
    [
        "{garage{cars{name colour price tags}}}",
        "{garage{cars{__typename n:name m:name wheels{size worn __typename} spare{size}}}}",
        "{garage{dreams{name spare{worn}} cars{name}}}",
        "{garage{cars{...A ...on Car{price}}}} fragment A on Car{name wheels{...B}} fragment B on Wheel{size}",
        "query($yes:Boolean!){garage{cars{name @include(if:$yes) price @skip(if:$yes) tags}}}",
        "{garage{cars{wheels{size}} cars{wheels{worn} name}}}",
    ],
)
def test_plain_lists_are_answered_the_same_without_executing_their_fields(query: str, executed: list[str]) -> None:
    variables = {"yes": True} if "$yes" in query else {}
    result = SHORT.execute_sync(query, context_value=SOUND, variable_values=variables)
    assert set(executed) <= {"garage", "cars", "dreams"}
    ordinary, short = answers(query, SOUND, **variables)
    assert short == ordinary == (result.data, [])
    assert list(short[0]["garage"]["cars"][0]) == list(ordinary[0]["garage"]["cars"][0])


def test_a_field_with_a_resolver_or_arguments_is_executed(executed: list[str]) -> None:
    ordinary, short = answers("{garage{cars{name greeting(loudness:1)}}}", SOUND)
    assert short == ordinary
    assert executed.count("greeting") == 4


@pytest.mark.parametrize(
    "flaw",
    [
        {"name": None},
        {"colour": "purple"},
        {"wheels": [Wheel(size=14), None]},
        {"tags": None},
        {"tags": 7},
        {"price": "dear"},
        {"spare": Wheel(size="wide")},  # type: ignore[arg-type] # that is the flaw
    ],
)
def test_what_goes_wrong_in_an_item_is_told_as_ever(flaw: dict[str, Any]) -> None:
    garage = Garage(cars=SOUND.cars, dreams=[CarRecord(), CarRecord(**flaw)])  # type: ignore[list-item]
    ordinary, short = answers("{garage{dreams{name colour wheels{size} tags price spare{size}}}}", garage)
    assert short == ordinary
    assert ordinary[1]


def test_a_subscription_takes_no_memory_for_its_events() -> None:
    core = SHORT._schema  # noqa: SLF001 - as the server reaches it
    executor = RecordExecutor.build(core, parse(SUBSCRIPTION))
    assert isinstance(executor, Executor)

    def after(events: int) -> int:
        """Field details that are held then."""
        for _ in range(events):
            result = execute_subscription_event(executor.build_per_event_executor(SOUND))
            assert isinstance(result, ExecutionResult)
            assert result.data is not None
        gc.collect()
        return sum(isinstance(each, FieldDetails) for each in gc.get_objects())

    assert after(1) == after(50)


_REQUESTS = 5


@pytest.fixture
async def turns() -> AsyncIterator[Callable[[], int]]:
    """How many turns of the event loop there have been."""
    loop, handles, count = asyncio.get_running_loop(), list[asyncio.Handle](), itertools.count()
    newest = [0]

    def turn() -> None:
        newest[0] = next(count)
        handles[:] = [loop.call_soon(turn)]

    turn()
    yield lambda: newest[0]
    handles[0].cancel()


async def test_lists_that_waited_for_the_same_are_completed_in_turns_of_their_own(
    turns: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each may take milliseconds. What an operation has several of is JSON once it is complete."""
    asked, waiting, ready, completed = itertools.count(1), asyncio.Event(), asyncio.Event(), list[int]()

    @strawberry.type
    class Query:
        @strawberry.field
        async def cars(self) -> list[Car]:
            if next(asked) == _REQUESTS:
                waiting.set()
            await ready.wait()
            return SOUND.cars

    complete_list_value = RecordExecutor.complete_list_value

    def counted(self: Any, *args: Any) -> Any:
        completed.append(turns())
        return complete_list_value(self, *args)

    monkeypatch.setattr(RecordExecutor, "complete_list_value", counted)
    monkeypatch.setattr(slices, "SLICE_SECONDS", -1.0)
    executed = strawberry.Schema(Query, execution_context_class=RecordExecutor)
    context = Context(cast("Any", None), UNRESTRICTED, "request", is_encoded=True)
    query = "{ a: cars { name } b: cars { name } }"
    requests = [asyncio.create_task(executed.execute(query, context_value=context)) for _ in range(_REQUESTS)]
    await waiting.wait()
    ready.set()
    for each in await asyncio.gather(*requests):
        assert isinstance(each, strawberry.types.ExecutionResult)
        assert each.data is not None
        assert [type(value) for value in each.data.values()] == [Fragment] * 2
        assert orjson.loads(orjson.dumps(each.data)) == {
            "a": [{"name": "beetle"}, {"name": "mini"}],
            "b": [{"name": "beetle"}, {"name": "mini"}],
        }
    assert len(set(completed)) == len(completed) == 2 * _REQUESTS
