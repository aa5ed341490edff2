"""A server in little: holds a worker pool, prints that on stdout, and submits a job whenever it is interrupted.

The workers write to the same stdout, so that is at its end when all of them have ended.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from functools import partial

from graph.server.worker_pool import open_worker_pool
from persistence.postgres.store import open_bulk_store


async def main(database_url: str) -> None:
    interrupted = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, interrupted.set)
    async with open_worker_pool(partial(open_bulk_store, database_url), 2) as pool:
        await asyncio.sleep(0)  # its first process is being started
        print("open", flush=True)  # noqa: T201 - what it is for
        while True:
            await interrupted.wait()
            interrupted.clear()
            print(await pool.submit(os.getpid), flush=True)  # noqa: T201 - see above


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
