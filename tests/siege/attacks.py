"""What is sent to keep a server from its work: each attack is one round of one attacker, and returns its answers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Final, TypeAlias

import orjson
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Subprotocol

from tests.siege.connections import Target, connected, exchanged, posted, request

Answers: TypeAlias = Counter[str]

Attack: TypeAlias = Callable[[Target], Awaitable[Answers]]

_MEGABYTE: Final = 2**20
_PINGS: Final = 20_000
_HALF_SENT: Final = 1_000
_HALF_SENT_SECONDS: Final = 20.0
_HANGING_UP: Final = 300
_NOT_READING: Final = 10
_NOT_READING_SECONDS: Final = 20.0

_MUTATION: Final = "mutation ($input: UpdateShardInput!) { updateShard(input: $input) { __typename } }"


async def _frame_before_init(target: Target) -> Answers:
    """One frame of 33 MB."""
    return Counter([await _on_socket(target, ["x" * 33_000_000])])


async def _pings(target: Target) -> Answers:
    """One socket that sends control frames as fast as they go."""
    return Counter([await _on_socket(target, [], pings=_PINGS)])


async def _header(target: Target) -> Answers:
    """A header of 64 MB."""
    parts = (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Long: ", *(b"x" * _MEGABYTE for _ in range(64)))
    return Counter([await exchanged(target, parts)])


async def _unknown_inputs(target: Target) -> Answers:
    """1,600 unknown fields of an input, 22 kB."""
    return Counter([await posted(target, _MUTATION, {"input": {f"unknown{number}": 1 for number in range(1_600)}})])


async def _literal_inputs(target: Target) -> Answers:
    fields = " ".join(f"unknown{number}: 1" for number in range(1_600))
    return Counter([await posted(target, f"mutation {{ updateShard(input: {{ {fields} }}) {{ __typename }} }}")])


async def _repeated_fields(target: Target) -> Answers:
    """The same field 240 and 660 times."""
    fields = "nodes { shardId ownerNodeId } "
    return Counter([await posted(target, "{ shards { " + fields * count + "} }") for count in (240, 660)])


async def _unused_fragment(target: Target) -> Answers:
    fragment = "fragment unused on ShardConnection { " + "nodes { shardId ownerNodeId } " * 450 + "}"
    return Counter([await posted(target, "{ __typename } " + fragment)])


async def _unknown_names(target: Target) -> Answers:
    """A megabyte of names that no type has, and one name of 30 MB."""
    names = " ".join(f"shardOwnerNode{number:0>80}" for number in range(10_000))
    return Counter([await posted(target, f"{{ {names} }}"), await posted(target, f"{{ {'x' * 30_000_000} }}")])


async def _lists(target: Target) -> Answers:
    """110 pages of 500 shards."""
    fields = "nodes { shardId namespace ownerNodeId version checksum status updatedAt }"
    pages = " ".join(f"a{number}: shards(first: 500) {{ {fields} }}" for number in range(110))
    return Counter([await posted(target, f"{{ {pages} }}")])


async def _histories(target: Target) -> Answers:
    """190 pages of history."""
    pages = " ".join(f"a{number}: shardHistory(first: 500) {{ nodes {{ revision }} }}" for number in range(190))
    return Counter([await posted(target, f"{{ {pages} }}")])


async def _simulations(target: Target) -> Answers:
    """60 plans."""
    plans = " ".join(f"a{number}: simulateRebalance(input: {{}}) {{ __typename }}" for number in range(60))
    return Counter([await posted(target, f"{{ {plans} }}")])


async def _variables(target: Target) -> Answers:
    """30 MB of variables that the query does not have."""
    return Counter([await posted(target, "{ __typename }", {"unused": ["x" * 1_000 for _ in range(30_000)]})])


async def _hanging_up(target: Target) -> Answers:
    """300 reads of history whose clients leave."""
    page = orjson.dumps({"query": "{ shardHistory(first: 500) { nodes { revision current { shardId } } } }"})
    async with AsyncExitStack() as stack:
        for _ in range(_HANGING_UP):
            connection = await stack.enter_async_context(connected(target))
            await connection.send(request(page))
    return Counter({"left": _HANGING_UP})


async def _half_sent(target: Target) -> Answers:
    """1,000 requests that are not sent to their end."""
    answers: Answers = Counter()
    async with AsyncExitStack() as stack:
        connections = []
        for number in range(_HALF_SENT):
            connection = await stack.enter_async_context(connected(target))
            part = b"GET /healthz HTTP/1.1\r\nHo" if number % 2 else request(b"x" * 100)[:-50]
            await connection.send(part)
            connections.append(connection)
        _, open_still = await asyncio.wait(
            [asyncio.ensure_future(_ended(connection.reader)) for connection in connections],
            timeout=_HALF_SENT_SECONDS,
        )
        for each in open_still:
            each.cancel()
        answers.update({"closed": len(connections) - len(open_still), "open": len(open_still)})
    return answers


async def _not_reading(target: Target) -> Answers:
    """10 clients of one answer of many megabytes each that they do not read."""
    fields = "nodes { shardId namespace ownerNodeId version checksum status updatedAt createdAt ownerEpoch strategy }"
    pages = " ".join(f"a{number}: shards(first: 500) {{ {fields} }}" for number in range(20))
    async with AsyncExitStack() as stack:
        connections = [await stack.enter_async_context(connected(target)) for _ in range(_NOT_READING)]
        for connection in connections:
            connection.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await connection.send(request(orjson.dumps({"query": f"{{ {pages} }}"})))
        await asyncio.sleep(_NOT_READING_SECONDS)
    return Counter({"left": _NOT_READING})


ATTACKS: Final[Mapping[str, Attack]] = {
    "33 MB frame before connection_init": _frame_before_init,
    "64 MB header": _header,
    "a socket that only pings": _pings,
    "1,600 unknown input fields, as variables": _unknown_inputs,
    "1,600 unknown input fields, as literals": _literal_inputs,
    "the same field 240 and 660 times": _repeated_fields,
    "14 kB fragment that is not used": _unused_fragment,
    "1 MB of unknown names, one of 30 MB": _unknown_names,
    "110 pages of shards": _lists,
    "190 pages of history": _histories,
    "60 simulations": _simulations,
    "30 MB of variables": _variables,
    "300 reads whose clients hang up": _hanging_up,
    "1,000 half-sent requests": _half_sent,
    "10 clients that do not read": _not_reading,
}


async def _on_socket(target: Target, texts: list[str], *, pings: int = 0) -> str:
    """How a socket was closed, which sends these texts and so many pings, and no `connection_init`."""
    try:
        async with connect(
            f"ws://{target.host}:{target.port}/graphql",
            subprotocols=[Subprotocol("graphql-transport-ws")],
            compression=None,
            ping_interval=None,
            close_timeout=1,
        ) as socket:
            for text in texts:
                await socket.send(text)
            for _ in range(pings):
                await socket.ping()
            async with asyncio.timeout(30):
                await socket.recv()
    except ConnectionClosed as closed:
        return "closed" if closed.rcvd is None else str(closed.rcvd.code)
    except (OSError, InvalidHandshake, TimeoutError) as error:
        return type(error).__name__
    return "answered"


async def _ended(reader: asyncio.StreamReader) -> None:
    try:
        while await reader.read(_MEGABYTE):
            pass
    except OSError:
        pass
