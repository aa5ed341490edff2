"""The rule of anti-affinity groups: no change brings two shards of a group to one node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from persistence.commands.write_set import ShardWrite
from persistence.model.outcomes import BrokenRule
from persistence.model.policy import PolicyRule
from persistence.model.records import DiffKind, GroupKey, Shard, ShardContent, ShardKey


def broken_groups(writes: Sequence[ShardWrite], groups: Mapping[GroupKey, Mapping[str, str]]) -> Iterator[BrokenRule]:
    """`groups` are the owners of the members before the change, by shard id, of all groups that it brings shards to.

    What is so already is left alone: only shards that the change brings to a node, or into a group, can break it.
    """
    members = {key: dict(owners) for key, owners in groups.items()}
    for write in writes:
        before = _group(write.key, write.previous)
        if before in members:
            members[before].pop(write.key.shard_id, None)
    for write in writes:
        after = None if write.kind is DiffKind.DELETED else _group(write.key, write.content)
        if after in members:
            members[after][write.key.shard_id] = write.content.owner_node_id
    for write in writes:
        key = _group(write.key, write.content)
        if key is not None and _brings(write):
            yield from _shared(write, key, members.get(key, {}))


def _brings(write: ShardWrite) -> bool:
    """Whether the change brings the shard to its node, or into its group."""
    before = write.previous
    return write.kind is not DiffKind.DELETED and (
        before is None
        or before.owner_node_id != write.content.owner_node_id
        or before.anti_affinity_group != write.content.anti_affinity_group
    )


def _group(shard: ShardKey, content: ShardContent | Shard | None) -> GroupKey | None:
    if content is None or content.anti_affinity_group is None:
        return None
    return GroupKey(shard.namespace, content.anti_affinity_group)


def _shared(write: ShardWrite, key: GroupKey, owners: dict[str, str]) -> Iterator[BrokenRule]:
    owner = write.content.owner_node_id
    other = min((one for one, its in owners.items() if its == owner and one != write.key.shard_id), default=None)
    if other is not None:
        yield BrokenRule(
            PolicyRule.ANTI_AFFINITY,
            *write.key,
            f"{owner} owning {write.key.shard_id} beside {other}, both of group {key.group}",
            f"one shard of group {key.group} on a node",
            f"Give it another owner, or move {other} in the same change, or force it with a reason.",
        )
