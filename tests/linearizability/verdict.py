"""Whether what clients were told is what the documentation promises. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tests.linearizability.checker import Operation, is_linearizable, shortest_refuted
from tests.linearizability.comparison import Finding, Flaw, compare
from tests.linearizability.history import History
from tests.linearizability.journal import Journal
from tests.linearizability.register import REGISTER, Action, Write, bears_on
from tests.linearizability.views import Histories, of_register, of_server, of_session


def judge(journal: Journal, history: History) -> list[Finding]:
    """By the answers alone, and then by history."""
    return [
        *(Finding(Flaw.COMPLAINT, complaint) for complaint in journal.complaints),
        *_black_box(journal),
        *compare(journal, history),
    ]


def _black_box(journal: Journal) -> Iterator[Finding]:
    yield from _refuted(Flaw.NOT_LINEARIZABLE, "", of_register(journal))
    for server in sorted({read.server for read in journal.reads}):
        yield from _refuted(Flaw.SERVER_VIEW, f" as server {server} shows it", of_server(journal, server))
    for client in sorted({read.client for read in journal.reads}):
        yield from _refuted(Flaw.SESSION_VIEW, f" as client {client} sees it", of_session(journal, client))


def _refuted(flaw: Flaw, whose: str, histories: Histories) -> Iterator[Finding]:
    for shard, operations in sorted(histories.items()):
        if not is_linearizable(REGISTER, operations):
            yield Finding(flaw, f"{shard}{whose}, no order explains\n{proof(operations)}")


def proof(operations: Sequence[Operation[Action]]) -> str:
    """The shortest part of a history that cannot be linearized, a line an operation."""
    shortest = shortest_refuted(REGISTER, operations)
    demanding = [operation for operation in shortest if operation.returned is not None]
    others = [operation for operation in shortest if operation.returned is None]
    near = [
        each
        for each in others
        if isinstance(each.action, Write) and bears_on(each.action, (operation.action for operation in demanding))
    ]
    begin = demanding[0].invoked
    lines = [_line(operation, begin) for operation in demanding]
    if near:
        lines.append("  although these may have happened at any time after they began:")
        lines += [_line(operation, begin) for operation in near]
    if len(near) < len(others):
        lines.append(f"  ({len(others) - len(near)} writes at other versions left out)")
    return "\n".join(lines)


def _line(operation: Operation[Action], begin: int) -> str:
    """Milliseconds since the first of them."""
    end = "" if operation.returned is None else f"{(operation.returned - begin) / 1e6:.1f}"
    return f"  {(operation.invoked - begin) / 1e6:10.1f} .. {end:>10} ms  {operation.source or operation.action}"
