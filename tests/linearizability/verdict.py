"""Whether what clients were answered is what the documentation promises. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from tests.linearizability.checker import Operation, is_linearizable, shortest_refuted
from tests.linearizability.comparison import Finding, Flaw, compare
from tests.linearizability.history import History
from tests.linearizability.journal import Journal
from tests.linearizability.register import REGISTER, Action, Write, bears_on
from tests.linearizability.views import Histories, of_register, of_server, of_session

_EXCUSES: Final = 6
"""Listed of them at most."""


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
    """The shortest part of a history that cannot be linearized, a line an operation.

    Then the writes that need not have happened by then and might have been an excuse, some of many.
    """
    shortest = shortest_refuted(REGISTER, operations)
    demanding = [operation for operation in shortest if operation.returned is not None]
    actions = [operation.action for operation in demanding]
    excuses = [
        each
        for each in shortest
        if each.returned is None and isinstance(each.action, Write) and bears_on(each.action, actions)
    ]
    begin = demanding[0].invoked
    lines = [_line(operation, begin) for operation in demanding]
    if excuses:
        lines.append("  at any time after they began, or never:")
        # Those that were acknowledged later, or through another server, say most.
        excuses.sort(key=lambda each: (isinstance(each.action, Write) and each.action.answer is None, -each.invoked))
        lines += [_line(operation, begin) for operation in excuses[:_EXCUSES]]
    left_out = len(shortest) - len(demanding) - len(excuses[:_EXCUSES])
    return "\n".join([*lines, *([f"  and {left_out} more writes that do not explain it"] if left_out else [])])


def _line(operation: Operation[Action], begin: int) -> str:
    """Milliseconds since the first of them."""
    end = "" if operation.returned is None else f"{(operation.returned - begin) / 1e6:.1f}"
    return f"  {(operation.invoked - begin) / 1e6:10.1f} .. {end:>10} ms  {operation.source or operation.action}"
