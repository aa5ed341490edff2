"""What is sent to keep a server from its work: each attack is one round of one attacker, and returns its answers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from time import time_ns
from typing import Final, TypeAlias

import orjson
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Subprotocol

from tests.siege.connections import Target, connected, exchanged, posted, request

Answers: TypeAlias = Counter[str]

Round: TypeAlias = Callable[[Target], Awaitable[Answers]]


@dataclass(frozen=True, slots=True)
class Attack:
    """`allowed`: what it may be answered, or `closed` for a connection that the server has closed."""

    round: Round
    allowed: frozenset[str]


_MEGABYTE: Final = 2**20
_PINGS: Final = 20_000
_HALF_SENT: Final = 1_000
_HALF_SENT_SECONDS: Final = 60.0
"""After which the server has closed them, on a busy machine as well."""
_SOCKET_SECONDS: Final = 60.0
_HANGING_UP: Final = 300
_NOT_READING: Final = 10

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


async def _nothing_but_headers(target: Target) -> Answers:
    """200 small headers."""
    headers = b"".join(b"X-%d: x\r\n" % number for number in range(200))
    return Counter([await exchanged(target, [b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n", headers, b"\r\n"])])


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
    """A megabyte of names that no type has, one name of 30 MB, and 1,900 names that are nearly right."""
    names = " ".join(f"shardOwnerNode{number:0>80}" for number in range(10_000))
    alike = " ".join(f"rebalancePlan{number}" for number in range(1_900))
    documents = (f"{{ {names} }}", f"{{ {'x' * 30_000_000} }}", f"{{ {alike} }}")
    return Counter([await posted(target, document) for document in documents])


async def _lists(target: Target) -> Answers:
    """110 pages of 500 shards, and as many as one operation may have, which no other has sent."""
    fields = "nodes { shardId namespace ownerNodeId version checksum status updatedAt }"
    pages = [f"a{number}: shards(first: 498) {{ {fields} }}" for number in range(110)]
    return Counter([await posted(target, f"{{ {' '.join(pages[:count])} }}" + _unseen()) for count in (110, 20)])


async def _histories(target: Target) -> Answers:
    """190 pages of history, long ones and as long as they may be."""
    answers: Answers = Counter()
    for first in (500, 25):
        pages = (f"a{number}: shardHistory(first: {first}) {{ nodes {{ revision }} }}" for number in range(190))
        answers[await posted(target, f"{{ {' '.join(pages)} }}")] += 1
    return answers


async def _simulations(target: Target) -> Answers:
    """60 plans, and as many as one operation may have."""
    plans = [f"a{number}: simulateRebalance(input: {{}}) {{ moveCount }}" for number in range(60)]
    return Counter([await posted(target, f"{{ {' '.join(plans[:count])} }}") for count in (60, 3)])


async def _schema(target: Target) -> Answers:
    """The schema, by itself and beside something else."""
    schema = "__schema { types { name fields { name args { name type { name ofType { name } } } type { name } } } }"
    return Counter(
        [await posted(target, f"{{ {beside} {schema} }}" + _unseen()) for beside in ("", "head { revision }")]
    )


async def _variables(target: Target) -> Answers:
    """Variables that the query does not have: 30 MB, 15 MB, which mutations may have, and a million of them."""
    answers: Answers = Counter()
    for variables in (["x" * 1_000] * 30_000, ["x" * 1_000] * 15_000, [0] * 1_000_000):
        answers[await posted(target, "{ __typename }", {"unused": variables})] += 1
    return answers


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
    """10 clients of one answer of megabytes each that they do not read."""
    fields = "nodes { shardId namespace ownerNodeId version checksum status updatedAt createdAt ownerEpoch strategy }"
    pages = " ".join(f"a{number}: shards(first: 498) {{ {fields} }}" for number in range(20))
    async with AsyncExitStack() as stack:
        connections = [await stack.enter_async_context(connected(target)) for _ in range(_NOT_READING)]
        for connection in connections:
            connection.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await connection.send(request(orjson.dumps({"query": f"{{ {pages} }}"})))
        await asyncio.sleep(target.hold_seconds)
    return Counter({"left": _NOT_READING})


_REFUSED_BUSY: Final = ("503 OVERLOADED", "429 COST_EXCEEDED")
"""What anything that is executed may be answered, too."""


def _attack(attack: Round, *allowed: str) -> Attack:
    return Attack(attack, frozenset(allowed))


ATTACKS: Final[Mapping[str, Attack]] = {
    "33 MB frame before connection_init": _attack(_frame_before_init, "1009"),
    "64 MB header": _attack(_header, "431 HEADERS_TOO_LARGE", "closed"),
    "200 headers": _attack(_nothing_but_headers, "431 HEADERS_TOO_LARGE"),
    "a socket that only pings": _attack(_pings, "4408", "closed"),
    "1,600 unknown input fields, as variables": _attack(_unknown_inputs, "400 BAD_USER_INPUT", *_REFUSED_BUSY),
    "1,600 unknown input fields, as literals": _attack(
        _literal_inputs, "400 GRAPHQL_VALIDATION_FAILED", *_REFUSED_BUSY
    ),
    "the same field 240 and 660 times": _attack(_repeated_fields, "400 GRAPHQL_VALIDATION_FAILED", *_REFUSED_BUSY),
    "14 kB fragment that is not used": _attack(_unused_fragment, "400 GRAPHQL_VALIDATION_FAILED", *_REFUSED_BUSY),
    "1 MB of unknown names, one of 30 MB": _attack(
        _unknown_names,
        "400 GRAPHQL_PARSE_FAILED",
        "413 PAYLOAD_TOO_LARGE",
        "400 GRAPHQL_VALIDATION_FAILED",
        "closed",
        *_REFUSED_BUSY,
    ),
    "110 pages of shards": _attack(_lists, "400 COST_EXCEEDED", "200 data", *_REFUSED_BUSY),
    "190 pages of history": _attack(_histories, "400 COST_EXCEEDED", "200 data", *_REFUSED_BUSY),
    "60 simulations": _attack(_simulations, "400 COST_EXCEEDED", "200 data", "200 OVERLOADED", *_REFUSED_BUSY),
    "the schema": _attack(_schema, "200 data", *_REFUSED_BUSY),
    "30 MB of variables": _attack(_variables, "413 PAYLOAD_TOO_LARGE", "closed", *_REFUSED_BUSY),
    "300 reads whose clients hang up": _attack(_hanging_up, "left", "closed"),
    "1,000 half-sent requests": _attack(_half_sent, "closed"),
    "10 clients that do not read": _attack(_not_reading, "left", "closed"),
}
"""By their names. Of what is within the limits there is a round as well: it is executed, or refused by a queue."""


def unexpected(answers: Mapping[str, Mapping[str, int]]) -> list[str]:
    """What attacks were answered although they must not be, as sentences."""
    return [
        f"{name}: answered {answer} ({count:,}), allowed are {', '.join(sorted(ATTACKS[name].allowed))}"
        for name, each in answers.items()
        for answer, count in each.items()
        if count and answer not in ATTACKS[name].allowed
    ]


def _unseen() -> str:
    """For the end of a document, so that the server does not know it."""
    return f" # {time_ns()}"


async def _on_socket(target: Target, texts: list[str], *, pings: int = 0) -> str:
    """How a socket was closed, which sends these texts and so many pings, and no `connection_init`."""
    try:
        async with connect(
            f"ws://{target.host}:{target.port}/graphql",
            subprotocols=[Subprotocol("graphql-transport-ws")],
            compression=None,
            ping_interval=None,
            open_timeout=_SOCKET_SECONDS,
            close_timeout=1,
            local_addr=target.local,
        ) as socket:
            for text in texts:
                await socket.send(text)
            for _ in range(pings):
                await socket.ping()
            async with asyncio.timeout(_SOCKET_SECONDS):
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
