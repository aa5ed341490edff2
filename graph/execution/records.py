"""Records on their way into answers: the bytes of each are made once for a selection, and edges are not made at all.

Records are immutable, and the replica holds each as long as it is the newest of its shard: lists and lookups are given
the very object that came in a diff. So what a selection makes of a record is kept by the identity of the object. No
revision or epoch is compared that could be given out twice: a shard that has changed is another object.

Only objects that the replica holds are worth it: a record read from history, or from the database, is made anew each
time. docs/decisions/0031-bytes-of-records.md.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, Final, Generic, TypeAlias, TypeVar, overload

import orjson

from graph.execution.context import Context
from graph.execution.encoding import OPTIONS

T = TypeVar("T")

C = TypeVar("C", bound=type)

Holds: TypeAlias = Callable[[Context, Any], bool]
"""Whether this record will be given again."""

Selection: TypeAlias = Hashable
"""A type, and the fields that are selected of it: equal for selections that make the same of a record."""

KEPT_BYTES: Final = 64 * 1024 * 1024

_BYTES_AN_ENTRY: Final = 1_100
"""Beside the JSON: 300 of the entry, and 800 of a record that may have been replaced since, and is held by it alone."""


def kept_while(holds: Holds) -> Callable[[C], C]:
    """Class decorator for the type of a record, of which nothing but the record decides what a selection makes: what
    four fields or more make of one that is held is kept. Of an edge, whose cursor must depend on the node alone, the
    record is the node."""

    def keep(cls: C) -> C:
        cls.kept_while = staticmethod(holds)  # type: ignore[attr-defined]
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


_Entry: TypeAlias = tuple[orjson.Fragment, Any, int]
"""The JSON, the record, and the bytes that are counted for both."""


class SelectionBytes:
    """What one selection has made of records, in two generations: `young` and an older one. Both are by the identity of
    the record, which no other object has while the entry holds it."""

    __slots__ = ("_all", "_holds", "key", "old", "users", "young")

    def __init__(self, all_: "RecordBytes", key: Selection, holds: Holds) -> None:
        self._all = all_
        self._holds = holds
        self.key = key
        self.users = 0
        """Variants of plans that make it; none any more keep nothing."""
        self.young: dict[int, _Entry] = {}
        self.old: dict[int, _Entry] = {}

    def missed(self, record: Any, make: Callable[..., Any], run: Any, *more: Any) -> Any:
        """What `make` makes of a record that is not among the young ones, as bytes if they are kept from now on."""
        entry = self.old.pop(id(record), None)
        if entry is None:
            made = make(record, run, *more)
            if not self.users or not self._holds(run.context, record):
                return made
            try:
                encoded = orjson.dumps(made, option=OPTIONS)
            except TypeError:  # a lone surrogate
                return made
            entry = orjson.Fragment(encoded), record, len(encoded) + _BYTES_AN_ENTRY
        else:
            self._all.old_bytes -= entry[2]
        self.young[id(record)] = entry
        self._all.count_young(entry[2])
        return entry[0]


class RecordBytes:
    """The bytes of all selections of a schema, at most `limit`. The young generation becomes the old one when it has
    half of that; what is asked for again before it does so once more is young again."""

    def __init__(self, limit: int = KEPT_BYTES) -> None:
        self._limit = limit
        self._selections: dict[Selection, SelectionBytes] = {}
        self._young_bytes = 0
        self.old_bytes = 0

    @property
    def size(self) -> int:
        """Bytes, with the records that they are of."""
        return self._young_bytes + self.old_bytes

    def use(self, key: Selection, holds: Holds) -> SelectionBytes:
        """Those of a selection, to be released once they are not used any more."""
        selection = self._selections.get(key)
        if selection is None:
            selection = self._selections[key] = SelectionBytes(self, key, holds)
        selection.users += 1
        return selection

    def release(self, selection: SelectionBytes) -> None:
        """As often as it was used; then its bytes are dropped."""
        selection.users -= 1
        if not selection.users:
            del self._selections[selection.key]
            self._young_bytes -= sum(entry[2] for entry in selection.young.values())
            self.old_bytes -= sum(entry[2] for entry in selection.old.values())
            selection.young, selection.old = {}, {}

    def count_young(self, size: int) -> None:
        """Bytes that were added to the young generation."""
        self._young_bytes += size
        if self._young_bytes > self._limit // 2:
            for selection in self._selections.values():
                selection.old, selection.young = selection.young, {}
            self.old_bytes, self._young_bytes = self._young_bytes, 0


class LatestBytes:
    """What one selection has made of `record`, once that was given twice in a row, as JSON."""

    __slots__ = ("_made", "_previous", "encoded", "record")

    def __init__(self) -> None:
        self.record: Any = None
        self.encoded: Any = None
        self._previous: Any = None
        self._made: Any = None

    def missed(self, record: Any, make: Callable[..., Any], run: Any) -> Any:
        """What `make` makes of another record."""
        if record is not self._previous:
            self._previous, self._made = record, make(record, run)
            return self._made
        try:
            self.encoded = orjson.Fragment(orjson.dumps(self._made, option=OPTIONS))
        except TypeError:  # a lone surrogate
            return self._made
        self.record = record
        return self.encoded
