"""Sockets that end at the same time, which are closed up some in each turn of the event loop."""

from __future__ import annotations

import asyncio

from uvicorn.server import ServerState

from graph.server.heartbeat import Endings


async def test_some_are_woken_in_each_turn_in_their_order() -> None:
    endings, woken = Endings.of(ServerState(), asyncio.get_running_loop()), list[int]()
    for number in range(40):
        endings.add(lambda number=number: woken.append(number))  # type: ignore[misc]
    assert woken == []
    await asyncio.sleep(0)
    assert woken == list(range(16))
    endings.add(lambda: woken.append(40))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert woken == list(range(41))
    endings.add(lambda: woken.append(41))
    await asyncio.sleep(0)
    assert woken[-1] == 41
