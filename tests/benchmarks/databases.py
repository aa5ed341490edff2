"""Databases in the one PostgreSQL that all contenders share."""

from __future__ import annotations

from dataclasses import dataclass

import asyncpg
from sqlalchemy import make_url

import migrations
from graph.embedded_postgres.server import EmbeddedPostgres


@dataclass(frozen=True, slots=True)
class Databases:
    cluster: EmbeddedPostgres

    @property
    def postmaster(self) -> int:
        return self.cluster.postmaster_pid

    async def new(self, name: str) -> str:
        """The URL of a database with our schema and nothing in it."""
        connection = await asyncpg.connect(self.cluster.url)
        try:
            await connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            await connection.execute(f"CREATE DATABASE {name}")
        finally:
            await connection.close()
        url = make_url(self.cluster.url).set(database=name).render_as_string(hide_password=False)
        await migrations.upgrade(url)
        return url
