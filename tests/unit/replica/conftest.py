"""A replica, and what stands for the store and the feed behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from persistence.replica.replica import Replica
from tests.support.scripted_replica import Scripted, replicated


@pytest.fixture
def scripted() -> Scripted:
    return Scripted()


@pytest.fixture
async def replica(scripted: Scripted) -> AsyncIterator[Replica]:
    async with replicated(scripted) as replica:
        yield replica
