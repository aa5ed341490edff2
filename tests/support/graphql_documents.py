"""Operations that tests send, each answering with everything it can."""

from __future__ import annotations

from typing import Any, Final

SHARDS: Final = """
query ($filter: ShardFilter, $first: Int, $after: String, $last: Int, $before: String, $asOf: AsOf) {
  shards(filter: $filter, first: $first, after: $after, last: $last, before: $before, asOf: $asOf) {
    nodes { shardId }
    edges { cursor node { shardId } }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    totalCount cursor revision
  }
}"""
HISTORY: Final = """
query ($filter: ShardHistoryFilter, $orderBy: HistoryOrder, $first: Int, $after: String, $last: Int) {
  shardHistory(filter: $filter, orderBy: $orderBy, first: $first, after: $after, last: $last) {
    nodes { revision kind shardId version changedFields
            previous { ownerNodeId } current { ownerNodeId } change { actor reason } }
    pageInfo { hasNextPage endCursor } totalCount
  }
}"""
DIFF: Final = """
query ($namespace: String, $from: Revision, $to: Revision, $fromTime: DateTime, $toTime: DateTime,
       $first: Int, $after: String) {
  shardDiff(namespace: $namespace, from: $from, to: $to, fromTime: $fromTime, toTime: $toTime,
            first: $first, after: $after) {
    nodes { kind shardId previous { ownerNodeId } current { ownerNodeId } }
    pageInfo { hasNextPage endCursor } totalCount revision cursor
  }
}"""
CHANGES: Final = """
query ($filter: ChangeFilter, $orderBy: HistoryOrder, $first: Int, $after: String) {
  changes(filter: $filter, orderBy: $orderBy, first: $first, after: $after) {
    nodes { id kind actor reason changeTicket metadata namespaces firstRevision lastRevision shardCount hash
            configuration { namespace previous current } }
    pageInfo { hasNextPage endCursor } totalCount
  }
}"""
FOLLOW: Final = """
subscription ($namespace: String, $filter: ShardFilter, $after: Cursor) {
  shardDiffs(namespace: $namespace, filter: $filter, after: $after) {
    cursor revision caughtUp
    diffs { revision kind shardId changedFields previous { ownerNodeId } current { ownerNodeId } change { actor } }
  }
}"""

_ANSWER: Final = """
fragment answer on ShardMutationResult {
  __typename
  ... on Refusal { message }
  ... on ShardsChanged {
    change { id kind actor reason changeTicket } replayed revision cursor
    shards { shardId ownerNodeId leaderId capacityHint version ownerEpoch }
  }
  ... on VersionConflict {
    conflicts { namespace shardId expectedVersion actualVersion current { ownerNodeId } lastChange { actor } }
  }
  ... on NotFound { namespaces shards { namespace shardId } }
  ... on InvalidInput { errors { field message } }
  ... on IdempotencyKeyReused { key change { id } }
}"""
CREATE: Final = "mutation ($input: CreateShardsInput!) { createShards(input: $input) { ...answer } }" + _ANSWER
UPDATE: Final = "mutation ($input: UpdateShardInput!) { updateShard(input: $input) { ...answer } }" + _ANSWER
UPDATE_MANY: Final = "mutation ($input: UpdateShardsInput!) { updateShards(input: $input) { ...answer } }" + _ANSWER
DELETE: Final = "mutation ($input: DeleteShardsInput!) { deleteShards(input: $input) { ...answer } }" + _ANSWER
CONFIGURE: Final = """
mutation ($input: ConfigureNamespaceInput!) {
  configureNamespace(input: $input) {
    __typename
    ... on Refusal { message }
    ... on NamespaceConfigured {
      change { id kind actor reason changeTicket } replayed
      namespace { name strategy strategyParameters version }
    }
    ... on NamespaceVersionConflict { name expectedVersion actualVersion current { strategy } lastChange { actor } }
    ... on InvalidInput { errors { field message } }
    ... on IdempotencyKeyReused { key change { id } }
  }
}"""
BY_ALICE: Final[dict[str, Any]] = {"actor": "alice", "reason": "drain node-1", "changeTicket": "CHG-42"}


def shard_query(fields: str) -> str:
    """Some fields of one shard of `billing`."""
    return f"""query ($id: String!, $asOf: AsOf, $atLeast: Revision, $atLeastCursor: Cursor) {{
      shard(namespace: "billing", shardId: $id, asOf: $asOf, atLeast: $atLeast, atLeastCursor: $atLeastCursor) {{
        {fields}
      }}
    }}"""


SHARDS_BY_KEY: Final = """
query ($keys: [ShardKeyInput!]!, $asOf: AsOf, $atLeast: Revision, $atLeastCursor: Cursor) {
  shardsByKey(keys: $keys, asOf: $asOf, atLeast: $atLeast, atLeastCursor: $atLeastCursor) {
    shards { namespace shardId ownerNodeId version } revision cursor
  }
}"""


def shard_keys(*shard_ids: str) -> list[dict[str, str]]:
    """Of `billing`."""
    return [{"namespace": "billing", "shardId": shard_id} for shard_id in shard_ids]


def one_shard(shard_id: str, version: int, **fields: Any) -> dict[str, Any]:
    """Input that names one shard of `billing` at a version, and what to change about it."""
    return {"namespace": "billing", "shardId": shard_id, "expectedVersion": version, **fields}
