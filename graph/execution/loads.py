"""What nodes own of each namespace now, beside what they are entitled to by weight and when they are full."""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias, TypeVar

from graph.execution.attribution import Batches
from persistence.model.paging import MAX_PAGE, Page, PageRequest
from persistence.model.queries import NodeFilter
from persistence.model.records import Namespace, Node, NodeStatus
from persistence.planning.shares import Share, Shares
from persistence.ports.readers import CAPACITY_UNITS
from persistence.ports.store import Store
from strategies.registry import Registry

T = TypeVar("T")

MAX_NAMESPACES: Final = 20
"""Of a node, for which loads are listed."""

_MOST_PAGES: Final = 20
"""Of nodes and of namespaces, that are read."""

_NOTHING: Final = (0, 0)

_Named: TypeAlias = tuple[str, tuple[str, ...] | None]
"""A node, and the namespaces that its loads are listed for; null for those of which it owns most."""


class NamespaceLoad(NamedTuple):
    """Of one node. `share` is 0 where it may own no shards of the namespace."""

    namespace: str
    shards: int
    capacity: float
    share: float
    bound: int | None
    capacity_bound: float | None


class Loads:
    """Of one store. What is looked for in the same round of the event loop is read at once."""

    def __init__(self, store: Store, strategies: Registry) -> None:
        self._store = store
        self._strategies = strategies
        self._batches = Batches[_Named, Sequence[NamespaceLoad]](self._read)

    async def of(self, node_id: str, namespaces: tuple[str, ...] | None) -> Sequence[NamespaceLoad]:
        """By namespace as they are named; without names, at most `MAX_NAMESPACES`, of which the node owns most first,
        then those of which it might own some."""
        return await self._batches.get((node_id, namespaces)) or ()

    async def _read(self, wanted: Collection[_Named]) -> Mapping[_Named, Sequence[NamespaceLoad]]:
        counts = (await self._store.totals.counts()).value
        shares = Shares(await _all(self._active_nodes, lambda node: node.node_id), self._strategies)
        namespaces = {each.name: each for each in await _all(self._store.namespaces.page, lambda space: space.name)}
        totals = defaultdict[str, tuple[int, int]](lambda: _NOTHING)
        owned = defaultdict[str, dict[str, tuple[int, int]]](dict)
        for name, node_id, _, count, capacity in counts:
            totals[name] = totals[name][0] + count, totals[name][1] + capacity
            before = owned[node_id].get(name, _NOTHING)
            owned[node_id][name] = before[0] + count, before[1] + capacity
        listed = {each: _listed(each, owned[each[0]], namespaces, shares) for each in wanted}
        owners = defaultdict[str, set[str]](set)
        for (node_id, _), names in listed.items():
            for name in names:
                owners[name].add(node_id)
        entitled = {name: shares.of(namespaces[name], owners[name], *totals[name]) for name in owners}
        return {
            each: [_load(name, owned[each[0]].get(name, _NOTHING), entitled[name].get(each[0])) for name in names]
            for each, names in listed.items()
        }

    async def _active_nodes(self, page: PageRequest[str]) -> Page[Node]:
        return await self._store.nodes.page(NodeFilter([NodeStatus.ACTIVE]), page, shards_counted=False)


def _listed(
    wanted: _Named, owned: Mapping[str, tuple[int, int]], namespaces: Mapping[str, Namespace], shares: Shares
) -> Sequence[str]:
    node_id, names = wanted
    if names is not None:
        return [name for name in names if name in namespaces]
    found = sorted((name for name in owned if name in namespaces), key=lambda name: (-owned[name][0], name))
    for name, namespace in namespaces.items():
        if len(found) >= MAX_NAMESPACES:
            break
        if name not in owned and node_id in shares.may_own(namespace):
            found.append(name)
    return found[:MAX_NAMESPACES]


def _load(name: str, owned: tuple[int, int], share: Share | None) -> NamespaceLoad:
    shards, capacity = owned
    entitled = (0.0, None, None) if share is None else (share.shards, share.bound, share.capacity_bound)
    return NamespaceLoad(name, shards, capacity_of(capacity), *entitled)


def capacity_of(units: int) -> float:
    """Of a sum in millionths; bounded, for JSON has no infinity."""
    try:
        return units / CAPACITY_UNITS
    except OverflowError:
        return _LARGEST


_LARGEST: Final = 1.7976931348623157e308


async def _all(page: Callable[[PageRequest[str]], Awaitable[Page[T]]], key: Callable[[T], str]) -> Sequence[T]:
    """All items of a list, of so many pages at most."""
    items: list[T] = []
    after: str | None = None
    for _ in range(_MOST_PAGES):
        found = await page(PageRequest(MAX_PAGE, after=after))
        items += found.items
        if not found.has_next:
            break
        after = key(found.items[-1])
    return items
