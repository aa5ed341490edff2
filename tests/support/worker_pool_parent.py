"""A server in little: holds a workshop, tells of it on stdout, and has it work whenever it is interrupted.

Its workshop's processes write to the same stdout, so that is at its end when all of them have ended.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from graph.server.worker_pool import open_worker_pool


async def main(database_url: str) -> None:
    interrupted = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, interrupted.set)
    async with open_worker_pool(database_url, 2) as workshop:
        await asyncio.sleep(0)  # its first process is being started
        print("open", flush=True)  # noqa: T201 - what it is for
        while True:
            await interrupted.wait()
            interrupted.clear()
            print(await workshop.do(os.getpid), flush=True)  # noqa: T201 - see above


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
