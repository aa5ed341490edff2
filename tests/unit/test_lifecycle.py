"""A server whose own documents are not valid, which it finds out when it is ready already."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from graph.operations import ManifestError
from graph.server.lifecycle import _Lifecycle
from graph.settings import Settings


def lifecycle(server: Any) -> _Lifecycle:
    run = _Lifecycle(Settings.model_validate({}), None, lambda _: None, lambda _: None)
    run._server = cast("Any", server)  # noqa: SLF001 - without a database there is none
    return run


async def test_it_stops_and_raises_why() -> None:
    stopped = asyncio.Event()

    class Server:
        def __setattr__(self, name: str, value: object) -> None:
            if (name, value) == ("should_exit", True):
                stopped.set()

    async def broken() -> None:
        raise ManifestError("manifest.json: Head: Cannot query field")

    run = lifecycle(Server())
    run._ready("http://127.0.0.1:1", broken)  # noqa: SLF001 - same
    await stopped.wait()
    with pytest.raises(ManifestError, match="Cannot query field"):
        await run._end_preparing()  # noqa: SLF001 - same


async def test_one_that_stops_meanwhile_does_not_wait_for_them() -> None:
    begun = asyncio.Event()

    async def endless() -> None:
        begun.set()
        await asyncio.Event().wait()

    server = SimpleNamespace(should_exit=False)
    run = lifecycle(server)
    await run._end_preparing()  # noqa: SLF001 - same
    run._ready("http://127.0.0.1:1", endless)  # noqa: SLF001 - same
    await begun.wait()
    await run._end_preparing()  # noqa: SLF001 - same
    assert not server.should_exit
