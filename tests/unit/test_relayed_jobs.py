"""What a worker answers when the process that plans for it ends; and the connections that all of them need."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from graph.server import worker_pool
from graph.server.channel import ChannelClosed
from graph.server.composition import connections_of
from graph.server.worker_pool import RelayedJobs
from graph.settings import load_settings
from persistence.errors import CommitUnknown, StoreUnavailable
from persistence.model.outcomes import NotFound
from persistence.model.records import ShardKey
from persistence.planning.scope import Narrowing
from tests.support.mesh import because


async def closed(_job: Callable[..., Any], _arguments: bytes) -> bytes:
    raise ChannelClosed


async def test_arguments_and_results_are_pickled_at_the_ends() -> None:
    async def relay(job: Callable[..., Any], arguments: bytes) -> bytes:
        assert job is worker_pool.preflight
        (nodes,) = pickle.loads(arguments)  # noqa: S301 - ours
        return pickle.dumps(NotFound(nodes=nodes.vacate))

    nodes = Narrowing(("node-1",))
    assert await RelayedJobs(relay).submit(worker_pool.preflight, nodes) == NotFound(nodes=("node-1",))


async def test_a_job_that_commits_nothing_may_be_sent_again() -> None:
    with pytest.raises(StoreUnavailable, match="nothing was written"):
        await RelayedJobs(closed).submit(worker_pool.explain, ShardKey("orders", "s1"))


async def test_whether_a_plan_was_stored_is_unknown() -> None:
    with pytest.raises(CommitUnknown):
        await RelayedJobs(closed).submit(worker_pool.plan, None, because("why"))  # type: ignore[arg-type] # not read


@pytest.mark.parametrize(("workers", "connections"), [(1, 24), (4, 100)])
def test_the_documentation_counts_the_connections_of_a_server(workers: int, connections: int) -> None:
    page = (Path(__file__).parents[2] / "docs" / "operations" / "run.md").read_text(encoding="utf-8")
    assert connections_of(load_settings(None, {}, workers=workers)) == connections
    assert {1: "the defaults 24.", 4: "the defaults and 4 workers 100."}[workers] in page.replace("\n", " ")
