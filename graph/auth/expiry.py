"""The moment a token stops being good, for connections that outlive it."""

import asyncio
import time
from typing import Final

from graph.auth.principal import Principal

EXPIRED: Final = "the token has expired"


async def expired(principal: Principal) -> None:
    """Returns at that moment; for a principal that is good for ever, not at all."""
    if principal.expires_at is None:
        await asyncio.get_running_loop().create_future()
        return
    # Again, where the clock was set back meanwhile.
    while (left := principal.expires_at - time.time()) > 0:  # noqa: ASYNC110 - no event says what time it is
        await asyncio.sleep(left)
