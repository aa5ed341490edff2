"""The moment a token stops being good, for connections that outlive it."""

import asyncio
import time
from typing import Final

from graph.auth.principal import Principal

EXPIRED: Final = "the token has expired"

SLICE_SECONDS: Final = 10.0
"""The longest sleep between two looks at the clock, and so the longest that a jump of it goes unnoticed."""


async def expired(principal: Principal) -> None:
    """Returns at that moment; for a principal that is good for ever, not at all.

    Two clocks count, and the first to reach the end decides. By the wall clock that is when the token expires: the
    event loop's own stands still while the machine sleeps, and knows nothing of a clock that is set forward. By that it
    is when the time has passed that the token had left at the beginning: a wall clock that is set back gives none away.
    """
    if principal.expires_at is None:
        await asyncio.get_running_loop().create_future()
        return
    loop = asyncio.get_running_loop()
    latest = loop.time() + principal.expires_at - time.time()
    while (left := min(principal.expires_at - time.time(), latest - loop.time())) > 0:  # noqa: ASYNC110 - no event
        await asyncio.sleep(min(left, SLICE_SECONDS))
