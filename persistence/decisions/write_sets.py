"""What a decision writes, put together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta

from persistence.checksums import digest_term
from persistence.commands import Command, request_digest
from persistence.planning.proposal import Proposal
from persistence.records import DiffKind, Rebalance, RebalancePlan
from persistence.writes import Conditions, NamespaceDelta, NamespaceWrite, NodeWrite, PlanWrite, ShardWrite, WriteSet


def write_set(
    command: Command,
    namespaces: Sequence[str],
    *,
    shards: tuple[ShardWrite, ...] = (),
    namespace: NamespaceWrite | None = None,
    node: NodeWrite | None = None,
    proposal: Proposal | None = None,
    rebalance: Rebalance | None = None,
    lifetime: timedelta = timedelta(),
    plans: tuple[PlanWrite, ...] = (),
    known: RebalancePlan | None = None,
    conditions: Conditions | None = None,
) -> WriteSet:
    """Everything `command` writes, with the digests that can be taken before the stream head is."""
    request = command.change
    written = WriteSet(
        command.kind,
        request,
        request_digest(command) if request.idempotency_key is not None else None,
        tuple(namespaces),
        shards,
        tuple(_deltas(shards)),
        namespace,
        node,
        proposal,
        rebalance,
        lifetime,
        plans,
        known,
        conditions=conditions or Conditions(),
    )
    return replace(written, content_digest=written.digest())


def _deltas(writes: Iterable[ShardWrite]) -> Iterator[NamespaceDelta]:
    digests: dict[str, int] = {}
    counts: dict[str, int] = {}
    for write in writes:
        name, shard_id = write.key
        term = 0
        if write.previous is not None:
            term ^= digest_term(shard_id, write.previous.version, write.previous.checksum)
        if write.kind is not DiffKind.DELETED:
            term ^= digest_term(shard_id, write.version, write.checksum)
        digests[name] = digests.get(name, 0) ^ term
        counts[name] = counts.get(name, 0) + (write.kind is DiffKind.CREATED) - (write.kind is DiffKind.DELETED)
    for name in sorted(digests):
        yield NamespaceDelta(name, digests[name], counts[name])
