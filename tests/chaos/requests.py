"""GraphQL over HTTP, sent until it is answered: to another server each time that one does not."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from typing import Any, Final

import httpx2
import orjson

TIMEOUT_SECONDS: Final = 4.0
_UNKNOWN: Final = "COMMIT_UNKNOWN"
RETRYABLE: Final = frozenset({"UNAVAILABLE", _UNKNOWN, "OVERLOADED", "LOCKED", "FENCED", "TRANSIENT_CONFLICT"})
_PAUSE_SECONDS: Final = 0.1


class WrongAnswerError(Exception):
    """An answer that no weather excuses. `code` is that of the error, if it has one."""

    def __init__(self, sentence: str, code: str | None = None) -> None:
        super().__init__(sentence)
        self.code = code


class Asker:
    """`repeated` counts requests that had to be sent again. `unknown`: whether the last one had been carried out before
    it was answered was not known; else every attempt before was answered, and as one that had written nothing.
    """

    def __init__(self, addresses: Sequence[str], randomness: random.Random, seconds: float = TIMEOUT_SECONDS) -> None:
        """`seconds` is how long it waits for an answer."""
        self._addresses = addresses
        self._randomness = randomness
        self._seconds = seconds
        self._http = httpx2.AsyncClient(timeout=seconds)
        self.repeated = 0
        self.unknown = False

    async def aclose(self) -> None:
        await self._http.aclose()

    async def ask(self, document: str, **variables: Any) -> Any:
        """The one field of the answer. Raises WrongAnswerError for an error that is not worth another attempt."""
        body = orjson.dumps({"query": document, "variables": variables})
        self.unknown = False
        while True:
            answer = await self._answer(body)
            if answer is not None:
                (value,) = answer["data"].values()
                return value
            self.repeated += 1
            # There is nothing to wait for: a server that is down refuses at once, and others bring it back.
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _answer(self, body: bytes) -> Mapping[str, Any] | None:
        url = f"http://{self._randomness.choice(self._addresses)}/graphql"
        try:
            async with asyncio.timeout(self._seconds):
                response = await self._http.post(url, content=body, headers={"content-type": "application/json"})
            answer: dict[str, Any] = orjson.loads(response.content)
        except httpx2.ConnectError:
            return None
        except (httpx2.HTTPError, TimeoutError, OSError, ValueError):
            self.unknown = True
            return None
        errors = answer.get("errors")
        if not errors:
            return answer
        code = errors[0].get("extensions", {}).get("code")
        if code in RETRYABLE:
            self.unknown |= code == _UNKNOWN
            return None
        raise WrongAnswerError(orjson.dumps(errors[0]).decode()[:1_000], code)
