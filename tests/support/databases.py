"""Databases on a server that is there."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import count

import asyncpg
from sqlalchemy import make_url


class Databases:
    """Makes and drops databases. Not for use inside a running event loop."""

    def __init__(self, server_url: str) -> None:
        self._server_url = server_url
        self._numbers = count(1)

    def url(self, name: str) -> str:
        return make_url(self._server_url).set(database=name).render_as_string(hide_password=False)

    def create(self, name: str, *, template: str = "template1") -> None:
        asyncio.run(self._execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY FILE_COPY'))

    def drop(self, name: str) -> None:
        """With its connections, if there are any."""
        asyncio.run(self._execute(f'DROP DATABASE "{name}" WITH (FORCE)'))

    @contextmanager
    def temporary(self, *, template: str = "template1") -> Iterator[str]:
        """The URL of a new database, which is dropped in the end."""
        name = f"test_{os.getpid()}_{next(self._numbers)}"
        self.create(name, template=template)
        try:
            yield self.url(name)
        finally:
            self.drop(name)

    def copy(self, url: str) -> AbstractContextManager[str]:
        """The URL of a copy of a database that nothing is connected to."""
        return self.temporary(template=str(make_url(url).database))

    async def _execute(self, statement: str) -> None:
        connection = await asyncpg.connect(self._server_url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()
