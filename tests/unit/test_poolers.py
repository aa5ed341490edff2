"""Whether a session is one's own, found by what a pooler does with it: PgBouncer's modes in little."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import asyncpg
import pytest

from persistence.errors import StoreUnavailable, Unavailable
from persistence.postgres import driver as connecting
from persistence.postgres.driver import Host


@dataclass
class Backend:
    pid: int
    settings: dict[str, str] = field(default_factory=dict)


class Pooler:
    """Hands out backends, the one that was used last first. In transaction mode until a transaction ends.

    `others_between`: clients that are served after each of ours; `others_before`: the backends that we are given, from
    the first, before which one is served. `room`: for another client; `begins`: whether a backend answers BEGIN.
    """

    def __init__(
        self,
        mode: str,
        *,
        drops: Sequence[str] = (),
        others_between: int = 0,
        others_before: Sequence[int] = (),
        room: bool = True,
        begins: bool = True,
    ) -> None:
        self.mode = mode
        self.drops = drops
        self.others_between = others_between
        self.room = room
        self.begins = begins
        self._others_before = others_before
        self._takes = count(1)
        self._pids = count(100)
        self._idle: list[Backend] = []

    def take(self) -> Backend:
        if next(self._takes) in self._others_before:
            self.put(Backend(next(self._pids)))
        return self._idle.pop() if self._idle else Backend(next(self._pids))

    def put(self, backend: Backend) -> None:
        self._idle.append(backend)

    def somebody_else(self) -> None:
        """Clients of the pooler that come in between, and leave their backends on top."""
        for _ in range(self.others_between):
            self.put(Backend(next(self._pids)))


class Client:
    """What `_settle` uses of a connection."""

    def __init__(self, pooler: Pooler | None, *, probes: bool = False) -> None:
        self._pooler = pooler
        self._probes = probes
        self._backend: Backend | None = None
        self._in_transaction = False
        self._closed = False
        self.token = "token"  # noqa: S105 - of a session, not secret
        self.behind_pooler = False
        self.host: Host | None = Host("pooler", 6432)
        if pooler is None:
            self._backend = Backend(7)

    def get_server_pid(self) -> int:
        return 7 if self._pooler is None else 999_999

    def is_closed(self) -> bool:
        return self._closed

    def terminate(self) -> None:
        self._closed = True

    async def execute(self, statement: str) -> None:
        if self._closed:
            raise asyncpg.InterfaceError("connection is closed")
        self._begin()
        if self._pooler is not None and self._pooler.mode == "statement":
            # The backend is closed as well, and what the driver was told is lost in what it raises.
            self._backend = None
            self._closed = True
            raise asyncpg.ConnectionDoesNotExistError(
                "connection was closed in the middle of operation: "
                "transaction blocks not allowed in statement pooling mode"
            )
        if self._probes and self._pooler is not None and not self._pooler.begins:
            await asyncio.Event().wait()
        self._in_transaction = statement == "BEGIN"
        self._end()

    async def fetchval(self, _statement: str) -> int:
        with_backend = self._begin()
        self._end()
        return with_backend.pid

    async def fetch(self, statement: str, *values: Any) -> Sequence[Any]:
        backend = self._begin()
        if "set_config" in statement:
            given: Mapping[str, str] = dict(zip(*values, strict=True))
            dropped = () if self._pooler is None else self._pooler.drops
            backend.settings |= {name: value for name, value in given.items() if name not in dropped}
            rows: Sequence[Any] = list(given.items())
        else:
            (names,) = values
            rows = [{"name": name, "value": backend.settings.get(name), "pid": backend.pid} for name in names]
        self._end()
        return rows

    def _begin(self) -> Backend:
        if self._backend is None:
            assert self._pooler is not None
            self._backend = self._pooler.take()
        return self._backend

    def _end(self) -> None:
        if self._pooler is None or self._pooler.mode == "session" or self._in_transaction:
            return
        assert self._backend is not None
        self._pooler.put(self._backend)
        self._backend = None
        self._pooler.somebody_else()


async def settled(pooler: Pooler | None, monkeypatch: pytest.MonkeyPatch) -> Client:
    async def another(*_: Any) -> Client:
        if pooler is not None and not pooler.room:
            raise asyncpg.ProtocolViolationError("no more connections allowed (max_client_conn)")
        return Client(pooler, probes=True)

    monkeypatch.setattr(connecting, "_open", another)
    monkeypatch.setattr(connecting, "_PROBE_SECONDS", 0.01)
    client: Any = Client(pooler)
    target: Any = None
    await connecting._settle(client, {"lock_timeout": "5s"}, target, {})  # noqa: SLF001 - the part of connecting that asks
    ours: Client = client
    return ours


async def test_a_session_of_postgresql_itself_is_ones_own_without_further_questions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert not (await settled(None, monkeypatch)).behind_pooler


async def test_a_pooler_in_session_mode_will_do_and_is_asked_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await settled(Pooler("session"), monkeypatch)).behind_pooler


async def test_a_pooler_in_session_mode_without_room_for_another_client_will_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert (await settled(Pooler("session", room=False), monkeypatch)).behind_pooler


_SECOND_CLIENT_BEGINS = 4  # after a session's settings were set, read back, and it began a transaction itself


@pytest.mark.parametrize(
    "pooler",
    [
        Pooler("transaction"),
        Pooler("transaction", others_between=1),
        Pooler("transaction", others_before=[_SECOND_CLIENT_BEGINS]),
        Pooler("transaction", begins=False),
        Pooler("statement"),
        Pooler("statement", others_before=[_SECOND_CLIENT_BEGINS]),
        Pooler("statement", room=False),
    ],
    ids=[
        "transaction",
        "transaction, and busy",
        "transaction, and busy once",
        "transaction, and a backend that is slow",
        "statement",
        "statement, and busy once",
        "statement, and full",
    ],
)
async def test_a_pooler_that_gives_a_session_to_others_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, pooler: Pooler
) -> None:
    """Also where it has no other client just now, and the next transaction would find everything as it was left."""
    with pytest.raises(StoreUnavailable, match="a pooler in transaction mode stands in between") as refused:
        await settled(pooler, monkeypatch)
    assert refused.value.reason is Unavailable.TRANSACTION_POOLER


async def test_a_setting_that_was_dropped_on_the_way_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StoreUnavailable, match="lock_timeout was set to 5s and is None") as refused:
        await settled(Pooler("session", drops=["lock_timeout"]), monkeypatch)
    assert refused.value.reason is Unavailable.SESSION_SETTINGS
