"""History played back: what each row implies of the ones before it, and where all of them lead."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from persistence.model.records import Change, Shard, ShardDiff, ShardKey


def contradictions(
    changes: Sequence[Change], history: Sequence[ShardDiff], table: Mapping[ShardKey, Shard]
) -> Iterator[str]:
    """What is missing, double or out of order in all changes and all rows there are, and how `table` differs from what
    they lead to. Nothing if ids, revisions and versions are without gaps and the table equals replay."""
    if [change.id for change in changes] != list(range(1, len(changes) + 1)):
        yield "ids of changes have gaps"
    if [row.revision for row in history] != list(range(1, len(history) + 1)):
        yield "revisions have gaps"
    yield from _of_changes(changes)
    replayed: dict[ShardKey, Shard] = {}
    last: dict[ShardKey, tuple[int, int]] = {}
    for row in history:
        version, epoch = last.get(row.key, (0, 0))
        if row.version != version + 1:
            yield f"revision {row.revision}: version {row.version} of {row.key} comes after {version}"
        if row.previous != replayed.pop(row.key, None):
            yield f"revision {row.revision}: {row.key} was not what the row before left"
        if row.current is not None:
            if row.current.owner_epoch != epoch + (row.previous is None or row.moves):
                yield f"revision {row.revision}: owner epoch {row.current.owner_epoch} of {row.key} comes after {epoch}"
            replayed[row.key] = row.current
            epoch = row.current.owner_epoch
        last[row.key] = row.version, epoch
    for key in sorted(replayed.keys() | table.keys()):
        if replayed.get(key) != table.get(key):
            yield f"the table has {table.get(key)}, history leads to {replayed.get(key)}"


def _of_changes(changes: Sequence[Change]) -> Iterator[str]:
    """Each begins where the one before ended, and no earlier."""
    revision = 0
    for number, change in enumerate(changes):
        if change.shard_count:
            if (change.first_revision, change.last_revision) != (revision + 1, revision + change.shard_count):
                yield f"change {change.id} has revisions {change.first_revision} to {change.last_revision}"
            revision += change.shard_count
        if number and change.committed_at < changes[number - 1].committed_at:
            yield f"change {change.id} was committed before the one before it"
