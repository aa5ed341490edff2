"""What is sent to the database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from sqlalchemy import event
from sqlalchemy.engine import Engine

from persistence.postgres.reads import Read, Statement


@contextmanager
def statements() -> Iterator[list[str]]:
    """Every statement this process sends through SQLAlchemy, BEGIN and COMMIT aside, and those by the driver."""
    sent: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        sent.append(statement)

    async def noted(read: Read, *arguments: Any) -> Any:
        sent.append(read.text)
        return await rows(read, *arguments)

    async def executed(statement: Statement, *arguments: Any) -> Any:
        sent.append(statement.text)
        return await executing(statement, *arguments)

    rows, executing = Read.rows, Statement.executed
    event.listen(Engine, "before_cursor_execute", note)
    try:
        with mock.patch.object(Read, "rows", noted), mock.patch.object(Statement, "executed", executed):
            yield sent
    finally:
        event.remove(Engine, "before_cursor_execute", note)
