"""What every tier of tests may request: databases of its own, on one embedded PostgreSQL."""

from __future__ import annotations

import asyncio
import gc
import inspect
import logging
import os
import shutil
import signal
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, settings

from graph.embedded_postgres.server import start_embedded_postgres
from migrations import upgrade
from tests.support.databases import Databases
from tests.support.memory_folder import make_memory_folder
from tests.support.reused_store import KEPT_TASKS, ReusedStores

_FOLDER: Final = "TESTS_POSTGRESQL_FOLDER"
"""Names the server's folder to the workers, who inherit the environment."""

_TASKS_END_SECONDS: Final = 2.0

_LONG_BEGIN_WITHIN: Final = 0.4
"""Of the other tests, by their number. Those of units come last and take the least time."""

# Of what collecting five thousand tests makes nothing is garbage, and looking for some takes as long as collecting.
gc.disable()

# Every run tries the same examples, so a failure is there again the next time.
# Building the character tables takes seconds on a fresh clone; that is no fault of the test that comes first.
settings.register_profile(
    "replayable", derandomize=True, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("replayable")


# A shell has the jobs of its background ignore SIGINT, nohup SIGHUP, and what the tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_configure() -> None:
    if not worker() and (folder := make_memory_folder()) is not None:
        os.environ[_FOLDER] = str(folder)


def pytest_unconfigure() -> None:
    if not worker() and (folder := os.environ.pop(_FOLDER, None)) is not None:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    collected = yield
    gc.freeze()
    # Python's 700 objects are those of a few statements: looking through them, and having the processor's caches filled
    # with them, took a fifth of the time of most tests.
    gc.set_threshold(10_000, 10, 10)
    gc.enable()
    return collected


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that may take long wait for most of it. They begin one after the other, so that other workers use the
    processor meanwhile, and early, so that in the end no worker is left alone with one."""
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    long = [path for path, own in files.items() if any(item.get_closest_marker("timeout") for item in own)]
    short = [path for path in files if path not in long]
    between = _LONG_BEGIN_WITHIN * sum(len(files[path]) for path in short) / max(1, len(long))
    items.clear()
    begun = passed = 0
    for path in short:
        while begun < len(long) and passed >= begun * between:
            items += files[long[begun]]
            begun += 1
        items += files[path]
        passed += len(files[path])
    items += [item for path in long[begun:] for item in files[path]]


@pytest.fixture(autouse=True)
def _log_levels() -> Iterator[None]:
    """As they were, after a test in whose process a server set up its log: that is for the rest of a process."""
    before = {name: logging.getLogger(name).level for name in ("", "graph", "migrations", "persistence", "strategies")}
    yield
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


@pytest.fixture(autouse=True)
def tasks_end(request: pytest.FixtureRequest) -> None:
    """Set up first, so torn down last."""
    if inspect.iscoroutinefunction(request.function):
        request.getfixturevalue("tasks_of_the_test")


@pytest.fixture
async def tasks_of_the_test() -> AsyncIterator[None]:
    """None may be left. The loop is the module's, and one that goes on would be at work under the next test."""
    before = asyncio.all_tasks()
    yield
    left = asyncio.all_tasks() - before - set(KEPT_TASKS) - {asyncio.current_task()}
    if left:
        _, left = await asyncio.wait(left, timeout=_TASKS_END_SECONDS)
    for task in left:
        task.cancel()
    assert not left, left


@pytest.fixture(scope="session")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Databases]:
    """The server. Under xdist all workers use one; the last to let go of it stops it."""
    folder = tmp_path_factory.getbasetemp()
    if worker():
        folder = folder.parent
    folder = Path(os.environ.get(_FOLDER, folder))
    # A crash of the machine may cost a test its data; a crash of the server may not, so commits stay synchronous.
    options = {"fsync": "off", "full_page_writes": "off", "max_connections": "300", "max_wal_size": "256MB"}
    server = start_embedded_postgres(folder / "postgresql", settings=options)
    try:
        yield Databases(server.url)
    finally:
        server.stop()


@pytest.fixture(scope="session")
def template_database(databases: Databases) -> str:
    """Name of a migrated database without connections."""
    name = f"template_{worker() or 'main'}"
    databases.create(name)
    asyncio.run(upgrade(databases.url(name)))
    return name


@pytest.fixture
def database_url(databases: Databases, template_database: str) -> Iterator[str]:
    """A migrated database of this test's own."""
    with databases.temporary(template=template_database) as url:
        yield url


@pytest.fixture(scope="module")
def module_database_url(databases: Databases, template_database: str) -> Iterator[str]:
    """A migrated database of this module's own, to fill once and have each test take a copy of."""
    with databases.temporary(template=template_database) as url:
        yield url


@pytest.fixture(scope="module")
async def reused_stores(databases: Databases, template_database: str) -> AsyncIterator[ReusedStores]:
    """Stores on migrated databases, for tests that can do with one that others have used before."""
    stores = ReusedStores(databases, template_database)
    yield stores
    await stores.close()


@pytest.fixture
def empty_database_url(databases: Databases) -> Iterator[str]:
    """A database of this test's own without any table."""
    with databases.temporary() as url:
        yield url


def worker() -> str:
    """Name of the xdist worker; empty without xdist."""
    return os.environ.get("PYTEST_XDIST_WORKER", "")
