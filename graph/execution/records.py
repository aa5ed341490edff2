"""Records on their way into answers: the bytes of each are made once for a selection, and edges are not made at all.

Records are immutable, and the replica holds each as long as it is the newest of its shard: lists and lookups are given
the very object that came in a diff. So what a selection makes of a record is kept by the identity of the object. No
revision or epoch is compared that could be given out twice: a shard that has changed is another object.

Only objects that something holds are worth it: the replica, or the reader of history, whose rows are the same objects
when they are read again. docs/decisions/0031-bytes-of-records.md.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from itertools import repeat
from typing import Any, Final, Generic, TypeAlias, TypeVar, overload

import orjson

from graph.execution.context import Context
from graph.execution.encoding import OPTIONS

T = TypeVar("T")

C = TypeVar("C", bound=type)

Holder: TypeAlias = Callable[[Context], Callable[[Any], bool]]
"""Of a context: whether a record is the object that will be read again."""

Selection: TypeAlias = Hashable
"""A type, and the fields that are selected of it: equal for selections that make the same of a record."""

KEPT_BYTES: Final = 64 * 1024 * 1024

_MOST_SEEN: Final = 20_000
"""Of records that were given once, by selection: 1 MB."""

_join: Final = b"".join

_BYTES_AN_ENTRY: Final = 1_000
"""Beside the JSON: 200 of the entry, of which 130 were measured, and 800 of a record that may have been replaced since,
and is held by it alone."""


def kept_by(holder: Holder, *, in_events: bool = True) -> Callable[[C], C]:
    """Class decorator for the type of a record, of which nothing but the record decides what a selection makes: what
    four fields or more make of one that is held is kept. Of an edge, whose cursor must depend on the node alone, the
    record is the node. Without `in_events`, those of subscriptions have records that the holder does not know."""

    def keep(cls: C) -> C:
        cls.kept_by = staticmethod(holder)  # type: ignore[attr-defined]
        cls.kept_in_events = in_events  # type: ignore[attr-defined]
        return cls

    return keep


def repeated(cls: C) -> C:
    """Class decorator for the type of a record that neighbours in a list share, as rows of a change do: what a
    selection makes of it is made once for them."""
    cls.is_repeated = True  # type: ignore[attr-defined]
    return cls


class Edge(Generic[T]):
    """A node of a connection, and its cursor, which is written when it is read."""

    __slots__ = ("_edges", "node")

    def __init__(self, node: T, edges: "Edges[T]") -> None:
        self.node = node
        self._edges = edges

    @property
    def cursor(self) -> str:
        return self._edges.cursor_of(self.node)


class Edges(Sequence[Edge[T]]):
    """The edges of these nodes. A plan completes nodes and cursors as they are; an edge is made for what reads it."""

    __slots__ = ("cursor_of", "nodes")

    def __init__(self, nodes: Sequence[T], cursor_of: Callable[[T], str]) -> None:
        self.nodes = nodes
        self.cursor_of = cursor_of

    def __len__(self) -> int:
        return len(self.nodes)

    def __iter__(self) -> Iterator[Edge[T]]:
        return (Edge(node, self) for node in self.nodes)

    @overload
    def __getitem__(self, index: int) -> Edge[T]: ...

    @overload
    def __getitem__(self, index: slice) -> "Edges[T]": ...

    def __getitem__(self, index: int | slice) -> "Edge[T] | Edges[T]":
        if isinstance(index, slice):
            return Edges(self.nodes[index], self.cursor_of)
        return Edge(self.nodes[index], self)


class SelectionBytes:
    """What one selection has made of records, in two generations, the young one and the old one. Both are by the
    identity of the record, which no other object has while the record is held beside it."""

    __slots__ = (
        "_all",
        "_holder",
        "_old",
        "_old_records",
        "_records",
        "_seen",
        "key",
        "old_size",
        "size",
        "users",
        "young",
    )

    def __init__(self, all_: "RecordBytes", key: Selection, holder: Holder) -> None:
        self._all = all_
        self._holder = holder
        self.key = key
        self.users = 0
        """Variants of plans that make it. Without any, nothing is kept."""
        self.young: dict[int, orjson.Fragment] = {}
        self._records: list[Any] = []
        # Identities of records that were given once. An object that is gone may share its with a new one, which then is
        # kept at once.
        self._seen: set[int] = set()
        self.size = 0
        """Bytes of the young generation, with its records."""
        self.drop()

    def all(self, records: Sequence[Any], make: Callable[..., Any], run: Any, *more: Any) -> list[Any]:
        """What `make` makes of each record, `run` and `more`: JSON where it was kept, or is from now on, which it is
        from the second time: to keep it costs a third more than to make it. Raises what `make` does, and TypeError for
        what is not to be encoded."""
        identities = list(map(id, records))
        found = list(map(self.young.get, identities))
        if all(found):
            return found
        old, young, seen, size = self._old, self.young, self._seen, 0
        if seen.isdisjoint(identities) and old.keys().isdisjoint(identities) and not any(found):
            # What is asked for once, or has changed since, most often.
            made = list(map(make, records, repeat(run), *map(repeat, more)))
            seen.update(identities)
            if len(seen) > _MOST_SEEN:
                seen.clear()
            return made
        holds = self._holder(run.context) if self.users else _keeps_nothing
        try:
            for index, (record, identity) in enumerate(zip(records, identities, strict=True)):
                if found[index] is not None:
                    continue
                if (kept := old.get(identity)) is not None:
                    found[index] = kept
                else:
                    found[index] = made = make(record, run, *more)
                    if identity not in seen:
                        seen.add(identity)
                    elif holds(record):
                        # A copy: orjson answers with an object that takes 4 KiB, however short it is.
                        encoded = _join((orjson.dumps(made, None, OPTIONS), b""))
                        found[index] = young[identity] = orjson.Fragment(encoded)
                        self._records.append(record)
                        size += len(encoded) + _BYTES_AN_ENTRY
        finally:
            self.size += size
            self._all.count(size)
            if len(seen) > _MOST_SEEN:
                seen.clear()
        return found

    def one(self, record: Any, make: Callable[..., Any], run: Any) -> Any:
        """As `all`, of one record."""
        return self.all((record,), make, run)[0]

    def turn(self) -> None:
        """The young generation becomes the old one."""
        self._old, self._old_records, self.old_size = self.young, self._records, self.size
        self.young, self._records, self.size = {}, [], 0

    def drop(self) -> None:
        """Both generations."""
        self.turn()
        self.turn()


class RecordBytes:
    """The bytes of all selections of a schema: at most `limit`, and those of one page, with the records that they are
    of. Once the young generation of all has half of that, it becomes the old one, and the old one is dropped."""

    def __init__(self, limit: int = KEPT_BYTES) -> None:
        self._limit = limit
        self._selections: dict[Selection, SelectionBytes] = {}
        self._young_size = 0

    @property
    def size(self) -> int:
        """Bytes, with the records that they are of."""
        return sum(each.size + each.old_size for each in self._selections.values())

    def use(self, key: Selection, holder: Holder) -> SelectionBytes:
        """Those of a selection, to be released when they are not used any more."""
        selection = self._selections.get(key)
        if selection is None:
            selection = self._selections[key] = SelectionBytes(self, key, holder)
        selection.users += 1
        return selection

    def release(self, selection: SelectionBytes) -> None:
        """As often as it was used; then its bytes are dropped."""
        selection.users -= 1
        if not selection.users:
            del self._selections[selection.key]
            self._young_size -= selection.size
            selection.drop()

    def count(self, size: int) -> None:
        """Bytes that were added to a young generation."""
        self._young_size += size
        if self._young_size > self._limit // 2:
            self._young_size = 0
            for selection in self._selections.values():
                selection.turn()


_NO_RECORD: Final = object()
"""Not null, which may be given in place of a record and is then an error."""


def _keeps_nothing(_: Any) -> bool:
    return False


class LatestBytes:
    """What one selection has made of `record`, once that was given twice in a row, as JSON."""

    __slots__ = ("_made", "_previous", "encoded", "record")

    def __init__(self) -> None:
        self.record: Any = _NO_RECORD
        self.encoded: Any = None
        self._previous: Any = _NO_RECORD
        self._made: Any = None

    def missed(self, record: Any, make: Callable[..., Any], run: Any) -> Any:
        """What `make` makes of another record. Raises as `SelectionBytes.all`."""
        if record is not self._previous:
            self._previous, self._made = record, make(record, run)
            return self._made
        self.encoded = orjson.Fragment(orjson.dumps(self._made, None, OPTIONS))
        self.record = record
        return self.encoded
