"""An answer that nothing was written is held against what the next attempt finds."""

from __future__ import annotations

from collections.abc import Sequence

import httpx2
import pytest

from persistence.codec import cursors
from persistence.model.records import NO_CHANGE, StreamPosition
from tests.chaos.progress import Progress
from tests.chaos.records import Ledger
from tests.chaos.requests import WrongAnswerError
from tests.chaos.writers import Writer

REPLAYED = {
    "__typename": "ShardsChanged",
    "replayed": True,
    "change": {"id": "7"},
    "revision": "9",
    "shards": [],
    "cursor": cursors.STREAM.write(StreamPosition(32 * "a", 9, NO_CHANGE)),
}


def writer(
    answers: Sequence[str | type[httpx2.TransportError]], ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> Writer:
    """One that is answered with these codes or not at all, and then with what its request has done before."""
    left = list(answers)

    def answer(_request: httpx2.Request) -> httpx2.Response:
        if not left:
            return httpx2.Response(200, json={"data": {"createShards": REPLAYED}})
        said = left.pop(0)
        if isinstance(said, str):
            return httpx2.Response(200, json={"errors": [{"message": "", "extensions": {"code": said}}]})
        raise said("")

    client = httpx2.AsyncClient
    monkeypatch.setattr(httpx2, "AsyncClient", lambda **_: client(transport=httpx2.MockTransport(answer)))
    monkeypatch.setattr("tests.chaos.requests._PAUSE_SECONDS", 0)
    return Writer(0, 1, 8, ["127.0.0.1:1"], Progress(), ledger)


@pytest.mark.parametrize("unknown", ["COMMIT_UNKNOWN", httpx2.ReadTimeout, httpx2.RemoteProtocolError])
async def test_who_was_not_told_may_find_that_it_was_done(
    unknown: str | type[httpx2.TransportError], monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger()
    await writer([unknown, "UNAVAILABLE"], ledger, monkeypatch).change()
    assert (ledger.replayed, len(ledger.acknowledged)) == (1, 1)


@pytest.mark.parametrize(
    "nothing", [*["UNAVAILABLE", "OVERLOADED", "LOCKED", "FENCED", "TRANSIENT_CONFLICT"], httpx2.ConnectError]
)
async def test_who_was_told_that_nothing_was_written_must_not_find_it(
    nothing: str | type[httpx2.TransportError], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(WrongAnswerError, match="writer-0 request 1 was carried out before"):
        await writer([nothing], Ledger(), monkeypatch).change()
