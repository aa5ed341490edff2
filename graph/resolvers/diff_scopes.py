"""Which difference is asked for: its ends by revision or by time, and the same ones on every page."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from graph.cursors import DiffScope
from graph.resolvers.arguments import invalid
from persistence.ports import HistoryReader, StreamHead


@dataclass(frozen=True, slots=True)
class AskedDiff:
    """One end is a revision or a time; the end it leads to may be neither, which is the newest revision."""

    namespace: str | None
    start: int | None
    start_time: datetime | None
    end: int | None
    end_time: datetime | None

    def check(self) -> None:
        """Raises InvalidArgument naming the argument that is missing or too many."""
        if self.start is None and self.start_time is None:
            raise invalid("from", "is needed: the revision to compare, or fromTime instead")
        if self.start is not None and self.start_time is not None:
            raise invalid("fromTime", "cannot be given together with from")
        if self.end is not None and self.end_time is not None:
            raise invalid("toTime", "cannot be given together with to")

    async def scope(self, cursors: Mapping[str, DiffScope], history: HistoryReader, head: StreamHead) -> DiffScope:
        """The revisions it is between: those of the page the cursors come from, else as of now.

        Raises InvalidArgument naming the argument with a cursor of another difference.
        """
        for field, scope in cursors.items():
            if not self._is(scope) or scope != next(iter(cursors.values())):
                raise invalid(field, "this cursor comes from another difference: give the same namespace, from and to")
        for scope in cursors.values():
            return scope
        start, end = self.start, self.end
        if start is None and self.start_time is not None:
            start = min(await history.revision_at(self.start_time), head.revision)
        if end is None and self.end_time is not None:
            end = min(await history.revision_at(self.end_time), head.revision)
        return DiffScope(
            self.namespace,
            head.revision if start is None else start,
            head.revision if end is None else end,
            self.start_time,
            self.end_time,
        )

    def _is(self, scope: DiffScope) -> bool:
        return (
            (scope.namespace, scope.start_time, scope.end_time) == (self.namespace, self.start_time, self.end_time)
            and self.start in (None, scope.start)
            and self.end in (None, scope.end)
        )
