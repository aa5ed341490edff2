"""A store and the things to do with it, in few words: what tests call instead of building commands."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, TypeVar

from persistence.commands.command import ChangeRequest, Command
from persistence.commands.namespaces import ConfigureNamespace
from persistence.commands.shards import CreateShards, DeleteShards, NewShard, ShardExpectation, ShardPatch, UpdateShards
from persistence.model.outcomes import NamespaceConfigured, Outcome, PolicyViolation, ShardsChanged
from persistence.model.paging import Page, PageRequest
from persistence.model.policy import NamespacePolicy
from persistence.model.queries import ChangeFilter, ShardFilter
from persistence.model.records import AsOf, Change, Namespace, Shard, ShardDiff, ShardKey
from persistence.ports.store import Store
from persistence.service.executor import CommandExecutor

T = TypeVar("T")
K = TypeVar("K")

BILLING: Final = "billing"
SEARCH: Final = "search"
CHANGE: Final = ChangeRequest(actor="ops", reason="a test asks for it")
COUNTED: Final[PageRequest[Any]] = PageRequest(1, counted=True)
"""For who wants to know how many there are."""
ANY_MOVES: Final = NamespacePolicy(move_budget_percent=100)
"""What namespaces of tests have that are not about policies: a few shards are soon more than the default allows."""


def because(reason: str, *, actor: str = "ops", **more: Any) -> ChangeRequest:
    return ChangeRequest(actor=actor, reason=reason, **more)


def new(shard_id: str, owner: str = "node-a", *, namespace: str = BILLING, **fields: Any) -> NewShard:
    return NewShard(namespace, shard_id, owner, **fields)


def patch(shard: Shard, **fields: Any) -> ShardPatch:
    """A patch that expects the shard as it is given."""
    return ShardPatch(shard.namespace, shard.shard_id, shard.version, **fields)


def as_it_is(shard: Shard) -> ShardExpectation:
    return ShardExpectation(shard.namespace, shard.shard_id, shard.version)


@dataclass(frozen=True)
class Mesh:
    """Commands that must succeed, and reads of everything there is."""

    store: Store
    note: Callable[[Outcome], None] = lambda _: None

    @cached_property
    def writer(self) -> CommandExecutor:
        return CommandExecutor(
            self.store.unit_of_work, refusals=self.store.refusals, note=self.note, group=self.store.change_group
        )

    async def execute(self, command: Command) -> Outcome:
        return await self.writer.execute(command)

    async def configure(
        self,
        name: str = BILLING,
        *,
        strategy: str = "rendezvous",
        parameters: Mapping[str, Any] | None = None,
        expected: int = 0,
        change: ChangeRequest = CHANGE,
        policy: NamespacePolicy = ANY_MOVES,
    ) -> NamespaceConfigured:
        outcome = await self.execute(ConfigureNamespace(name, strategy, parameters or {}, expected, change, policy))
        assert isinstance(outcome, NamespaceConfigured), outcome
        return outcome

    async def create(self, *shards: NewShard, change: ChangeRequest = CHANGE) -> ShardsChanged:
        return changed(await self.execute(CreateShards(shards, change)))

    async def update(self, *patches: ShardPatch, change: ChangeRequest = CHANGE) -> ShardsChanged:
        return changed(await self.execute(UpdateShards(patches, change)))

    async def delete(self, *shards: Shard, change: ChangeRequest = CHANGE) -> ShardsChanged:
        return changed(await self.execute(DeleteShards([as_it_is(shard) for shard in shards], change)))

    async def created(self, shard_id: str, owner: str = "node-a", **fields: Any) -> Shard:
        """One new shard."""
        (shard,) = (await self.create(new(shard_id, owner, **fields))).shards
        return shard

    async def updated(self, shard: Shard, **fields: Any) -> Shard:
        """The shard after one update of it."""
        (after,) = (await self.update(patch(shard, **fields))).shards
        return after

    async def shard(self, shard_id: str, namespace: str = BILLING, as_of: AsOf | None = None) -> Shard | None:
        return (await self.store.shards.get(ShardKey(namespace, shard_id), as_of)).value

    async def namespace(self, name: str = BILLING) -> Namespace:
        found = await self.store.namespaces.get(name)
        assert found is not None
        return found

    async def table(self, as_of: AsOf | None = None, where: ShardFilter | None = None) -> dict[ShardKey, Shard]:
        async def fetch(request: PageRequest[ShardKey]) -> Page[Shard]:
            return (await self.store.shards.page(where or ShardFilter(), request, as_of)).value

        return {shard.key: shard for shard in await everything(fetch, lambda shard: shard.key)}

    async def history(self) -> Sequence[ShardDiff]:
        """Every row, oldest first."""
        rows: list[ShardDiff] = []
        while True:
            head, more, _ = await self.store.stream.after(len(rows), 500)
            rows += more
            if not more:
                assert len(rows) == head.revision
                return rows

    async def changes(self) -> Sequence[Change]:
        """Every change, oldest first."""

        async def fetch(request: PageRequest[int]) -> Page[Change]:
            return await self.store.changes.page(ChangeFilter(), request, newest_first=False)

        return await everything(fetch, lambda change: change.id)

    async def difference(self, start: int, end: int, namespace: str | None = None) -> dict[ShardKey, ShardDiff]:
        async def fetch(request: PageRequest[ShardKey]) -> Page[ShardDiff]:
            return (await self.store.history.difference(namespace, start, end, request)).value

        return {diff.key: diff for diff in await everything(fetch, lambda diff: diff.key)}


def refused(outcome: Outcome) -> PolicyViolation:
    """The outcome of a command that rules must have refused."""
    assert isinstance(outcome, PolicyViolation), outcome
    return outcome


def changed(outcome: Outcome) -> ShardsChanged:
    """The outcome of a command that must have changed shards."""
    assert isinstance(outcome, ShardsChanged), outcome
    return outcome


async def everything(
    fetch: Callable[[PageRequest[K]], Awaitable[Page[T]]], key: Callable[[T], K], *, size: int = 500
) -> list[T]:
    """All items of a connection, page by page, forward."""
    items: list[T] = []
    after: K | None = None
    while True:
        page = await fetch(PageRequest(size, after))
        items += page.items
        if not page.has_next:
            return items
        after = key(page.items[-1]) if page.end is None else page.end


async def everything_backwards(
    fetch: Callable[[PageRequest[K]], Awaitable[Page[T]]], key: Callable[[T], K], *, size: int
) -> list[T]:
    """All items of a connection, page by page from its end, in the connection's order: as many as each page counts."""
    items: list[T] = []
    totals: set[tuple[int | None, bool]] = set()
    before: K | None = None
    while True:
        page = await fetch(PageRequest(size, before=before, backward=True, counted=True))
        items[:0] = page.items
        totals.add((page.total, page.total_is_exact))
        if not page.has_previous:
            # Alike on each page; a lower bound where it is not exact.
            ((total, is_exact),) = totals
            assert total == len(items) if is_exact else total is not None and total <= len(items)
            return items
        before = key(page.items[0]) if page.start is None else page.start


def moment(change: Change) -> AsOf:
    """The store as it stood when the change had been committed."""
    return AsOf(time=change.committed_at)
