"""A process of attackers: each repeats its attack until it is time. Prints their answers as JSON, by attack."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections import Counter
from typing import Final

import orjson
import uvloop

from tests.siege.attacks import ATTACKS, Round
from tests.siege.connections import Target

_NICE: Final = 10
"""What they take of the processor is not the server's doing."""

_PAUSE_SECONDS: Final = 0.2

_ADDRESS: Final = "127.0.0.2"
"""Callers without a token have a budget by their address: these use up one of their own, not that of the writers."""


async def attack(target: Target, seconds: float, names: list[str]) -> dict[str, Counter[str]]:
    stop = asyncio.Event()
    answers: dict[str, Counter[str]] = {name: Counter() for name in names}
    tasks = [asyncio.create_task(_repeat(ATTACKS[name].round, target, stop, answers[name])) for name in names]
    await asyncio.wait(tasks, timeout=seconds)
    stop.set()
    for task in tasks:
        await task
    return answers


async def _repeat(attack: Round, target: Target, stop: asyncio.Event, answers: Counter[str]) -> None:
    """At least once."""
    while True:
        try:
            answers.update(await attack(target))
        except (ConnectionResetError, BrokenPipeError):
            answers["closed"] += 1
        except OSError as error:
            answers[type(error).__name__] += 1
        if stop.is_set():
            return
        await asyncio.sleep(_PAUSE_SECONDS)


def address() -> str | None:
    """Null where the system gives loopback one address only, as macOS does: then a siege is to be shorter than the
    budget lasts."""
    with socket.socket() as free:
        try:
            free.bind((_ADDRESS, 0))
        except OSError:
            return None
    return _ADDRESS


if __name__ == "__main__":
    host, port, seconds, *names = sys.argv[1:]
    os.nice(_NICE)
    target = Target(host, int(port), min(20.0, float(seconds)), address())
    answers = uvloop.run(attack(target, float(seconds), names or list(ATTACKS)))
    sys.stdout.buffer.write(orjson.dumps(answers))
