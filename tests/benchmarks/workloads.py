"""What is read: one shard, 100 shards and 50 rows of history, as each contender is asked for them.

All answer the same: what identifies each shard or row of an answer is compared before anything is timed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from graph.operations import operation
from tests.benchmarks.load import post

NAMESPACES: Final = 100
SHARDS_EACH: Final = 100
FIELDS: Final = (
    "namespace shardId strategy ownerNodeId leaderId capacityHint status version checksum updatedAt changeTicket"
)
PEER_ROW: Final = "position shardId version ownerNodeId previousOwnerNodeId actor reason changeTicket createdAt"
OUR_ROW: Final = (
    "revision shardId version current{ownerNodeId} previous{ownerNodeId} change{actor reason changeTicket committedAt}"
)

Identity = tuple[str, str, str | None]
Variables = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Workload:
    name: str
    title: str
    rows: int
    """In each answer."""
    variables: Sequence[Variables]
    """Of the requests, in the order they are sent: `n` is a namespace, `k` a shard."""


@dataclass(frozen=True, slots=True)
class Query:
    """How a contender is asked. `rows` are the shards, or rows of history, in the `data` of its answer.

    `named` are the members of a request that name the document, which the server knows, in place of `text`; `renamed`
    makes the variables of `text` of a workload's.
    """

    text: str
    rows: Callable[[Any], Sequence[Any]]
    renamed: Callable[[Variables], Variables] = dict
    named: Mapping[str, Any] | None = None

    def request(self, variables: Variables, *, with_text: bool = False) -> bytes:
        """`with_text`: also where the document is named, as it must be once where the name has to be registered."""
        document = {"query": self.text} if with_text or self.named is None else {}
        given = {**document, **(self.named or {}), "variables": self.renamed(variables)}
        return post("/graphql", json.dumps(given).encode())

    def identities(self, body: bytes) -> Sequence[Identity]:
        """Of each row of an answer: shard, version and owner. Raises RuntimeError when it is an error."""
        answer = json.loads(body)
        if "errors" in answer or not answer.get("data"):
            raise RuntimeError(body[:1_000].decode(errors="replace"))
        return [_identity(row) for row in self.rows(answer["data"])]


def _identity(row: Any) -> Identity:
    owner = row["current"]["ownerNodeId"] if "current" in row else row["ownerNodeId"]
    return row["shardId"], str(row["version"]), owner


def shard_of(number: int) -> Variables:
    """A shard of the table; neighbouring numbers are far apart, and all come in turn."""
    mixed = number * 104_729 % (NAMESPACES * SHARDS_EACH)
    return {"n": f"ns{mixed % NAMESPACES}", "k": f"shard-{mixed // NAMESPACES:04}"}


_NAMESPACE_IN_TURN: Final = [{"n": f"ns{number * 7919 % NAMESPACES}"} for number in range(NAMESPACES)]

LOOKUP: Final = Workload(
    "lookup", "one shard, 11 fields", 1, [shard_of(number) for number in range(NAMESPACES * SHARDS_EACH)]
)
LIST: Final = Workload("list", "100 shards, 11 fields", SHARDS_EACH, _NAMESPACE_IN_TURN)
HISTORY: Final = Workload("history", "50 rows of history", 50, _NAMESPACE_IN_TURN)
WORKLOADS: Final = (LOOKUP, LIST, HISTORY)

_PAGE: Final = "pageInfo{hasNextPage endCursor}"
_ONE: Final = "query($n:String!,$k:String!)"
_MANY: Final = "query($n:String!)"


def _edges(connection: Any) -> Sequence[Any]:
    assert connection["pageInfo"]["endCursor"]
    return [edge["node"] for edge in connection["edges"] if edge["cursor"]]


def _trusted(name: str, rows: Callable[[Any], Sequence[Any]], renamed: Callable[[Variables], Variables]) -> Query:
    text = operation(name)
    return Query(text, rows, renamed, {"documentId": f"sha256:{_sha256(text)}"})


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


OURS: Final[Mapping[str, Query]] = {
    "lookup": Query(f"{_ONE}{{shard(namespace:$n,shardId:$k){{{FIELDS}}}}}", lambda data: [data["shard"]]),
    "list": Query(
        f"{_MANY}{{shards(filter:{{namespace:$n}},first:100){{edges{{cursor node{{{FIELDS}}}}} {_PAGE}}}}}",
        lambda data: _edges(data["shards"]),
    ),
    "history": Query(
        f"{_MANY}{{shardHistory(filter:{{namespace:$n}},orderBy:REVISION_DESC,first:50)"
        f"{{nodes{{{OUR_ROW}}} {_PAGE}}}}}",
        lambda data: data["shardHistory"]["nodes"],
    ),
}
TRUSTED: Final[Mapping[str, Query]] = {
    "lookup": _trusted(
        "ShardDetails", lambda data: [data["shard"]], lambda given: {"namespace": given["n"], "shardId": given["k"]}
    ),
    "list": _trusted(
        "ListShards",
        lambda data: data["shards"]["nodes"],
        lambda given: {"filter": {"namespace": given["n"]}, "first": 100},
    ),
    "history": _trusted(
        "ShardHistory",
        lambda data: data["shardHistory"]["nodes"],
        lambda given: {"filter": {"namespace": given["n"]}, "first": 50},
    ),
}
PERSISTED: Final[Mapping[str, Query]] = {
    name: replace(query, named={"extensions": {"persistedQuery": {"version": 1, "sha256Hash": _sha256(query.text)}}})
    for name, query in OURS.items()
}
"""The same documents by their hashes, as Apollo's clients register and send them."""
POSTGRAPHILE: Final[Mapping[str, Query]] = {
    "lookup": Query(
        f"{_ONE}{{shardByNamespaceAndShardId(namespace:$n,shardId:$k){{{FIELDS}}}}}",
        lambda data: [data["shardByNamespaceAndShardId"]],
    ),
    "list": Query(
        f"{_MANY}{{allShards(first:100,condition:{{namespace:$n}}){{edges{{cursor node{{{FIELDS}}}}} {_PAGE}}}}}",
        lambda data: _edges(data["allShards"]),
    ),
    "history": Query(
        f"{_MANY}{{allShardHistories(first:50,orderBy:POSITION_DESC,condition:{{namespace:$n}})"
        f"{{nodes{{{PEER_ROW}}} {_PAGE}}}}}",
        lambda data: data["allShardHistories"]["nodes"],
    ),
}
MERCURIUS: Final[Mapping[str, Query]] = {
    "lookup": Query(f"{_ONE}{{shard(namespace:$n,shardId:$k){{{FIELDS}}}}}", lambda data: [data["shard"]]),
    "list": Query(f"{_MANY}{{shards(namespace:$n,first:100){{{FIELDS}}}}}", lambda data: data["shards"]),
}
MERCURIUS_KEPT: Final[Mapping[str, Query]] = {
    "lookup": Query(f"{_ONE}{{keptShard(namespace:$n,shardId:$k){{{FIELDS}}}}}", lambda data: [data["keptShard"]]),
    "list": Query(f"{_MANY}{{keptShards(namespace:$n,first:100){{{FIELDS}}}}}", lambda data: data["keptShards"]),
}
