"""One run: several stores on one database, operators and an administrator; then the verdict, from history alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import count
from time import monotonic
from typing import Final

from persistence.postgres.store import open_store
from tests.governance.administrator import configure
from tests.governance.figures import Figures
from tests.governance.intents import administrator_intent, operator_intent
from tests.governance.operators import Operator
from tests.governance.scenario import Scenario, prepare
from tests.governance.tally import Tally
from tests.governance.verdict import judge
from tests.support.planned_mesh import PlannedMesh

_LOOK_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class Outcome:
    """`findings` are messages: one for each promise that was broken."""

    findings: Sequence[str]
    figures: Figures


@asynccontextmanager
async def open_meshes(url: str, number: int) -> AsyncIterator[Sequence[PlannedMesh]]:
    """So many stores on one database, as so many servers would have them."""
    async with AsyncExitStack() as stack:
        yield [PlannedMesh(await stack.enter_async_context(open_store(url))) for _ in range(number)]


async def run(scenario: Scenario, url: str, watch: Callable[[Tally], None] = lambda _: None) -> Outcome:
    """On a migrated database without content. `watch` is called several times a second."""
    async with open_meshes(url, scenario.stores) as meshes:
        await prepare(scenario, meshes[0])
        begun = monotonic()
        tally = await work(scenario, meshes, watch)
        ended = monotonic()
        findings = await judge(url, meshes[0])
        return Outcome(findings, Figures(ended - begun, monotonic() - ended, tally))


async def work(
    scenario: Scenario, meshes: Sequence[PlannedMesh], watch: Callable[[Tally], None] = lambda _: None
) -> Tally:
    """Until the time is over or all is done. Raises what no operator should ever be answered."""
    tally, stop, turns, done = Tally(), asyncio.Event(), asyncio.Semaphore(0), count(1)

    async def operate(number: int) -> None:
        operator = Operator(meshes[number % len(meshes)], scenario, tally)
        for step in count() if scenario.deeds is None else range(scenario.deeds):
            if stop.is_set():
                return
            await operator.do(operator_intent(scenario, number, step))
            if next(done) % scenario.pause == 0:
                turns.release()

    async def administrate() -> None:
        for step in count():
            await turns.acquire()
            if stop.is_set():
                return
            await configure(meshes[-1], scenario, administrator_intent(scenario, step), tally)

    async with asyncio.TaskGroup() as group:
        operators = [group.create_task(operate(number)) for number in range(scenario.operators)]
        group.create_task(administrate())
        end = monotonic() + scenario.seconds
        while (left := end - monotonic()) > 0 and not all(task.done() for task in operators):
            await asyncio.wait(operators, timeout=min(left, _LOOK_SECONDS))
            watch(tally)
        stop.set()
        turns.release()
    return tally
