"""The table of shards inside a mesh node: lookups without a request, always from the last table that is known good."""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Final, Self

from graph.client.address import read_address
from graph.client.cache_file import CacheFile
from graph.client.credentials import fixed_token
from graph.client.errors import ClientError
from graph.client.follower import Follower, Timeouts
from graph.client.state import ClientState, Counters, Lag, State
from graph.client.table import Selection, TableChange
from persistence.codec import cursors
from persistence.errors import BadCursor
from persistence.model.records import Shard

_STOPPING_SECONDS: Final = 5.0


class NotReady(ClientError):
    """There was no verified table in time. The message has the last problem."""


class MeshClient:
    """A copy of the table of shards, maintained by a thread that follows the change stream. Used as a context manager.

    - What it answers stood in the server's table, after one revision or another: each change is taken whole, in order,
      once. Within a namespace the copy never shows one change without those before it.
    - It never goes back, unless a new table had to be read: from a store that was restored, or because the copy was
      wrong, from a server that lags.
    - The first table, every one that replaces it, and every `verify_seconds` the one that is there are verified by the
      digests of the namespaces. One that is wrong is read anew at once; `state` is BEHIND until then.
    - While no server can be reached it answers from the last good table; `state` is AWAY, and `lag` has for how long.

    Owners are answered as they were at `position`: a node that must not act on an old owner compares owner epochs, as
    it would with any answer that has travelled. `owner`, `shard` and everything else may be called from any thread and
    from any event loop; nothing waits but `wait_for`, `wait_until` and entering the context.
    """

    def __init__(
        self,
        server: str | Sequence[str],
        namespaces: Iterable[str] | None = None,
        *,
        start_seconds: float = 30.0,
        verify_seconds: float = 60.0,
        silence_seconds: float = 30.0,
        relist_seconds: float = 5.0,
        cache: Path | None = None,
        token: str | Callable[[], str] | None = None,
        allow_missing: bool = False,
    ) -> None:
        """`server`: one address, or several that are tried in turn. `namespaces`: null for all; each must exist, unless
        `allow_missing` has the client wait for those that are yet to be created.

        `start_seconds` is how long entering the context waits for the first verified table. `silence_seconds` must be
        more than the server's `bookmark_seconds`; a server that sends nothing for so long is given up. A table that
        cannot be followed any further, as in a new epoch, is read anew after a random time of up to `relist_seconds`,
        twice that after each failure in a row, 60 at most: for every client of the server is in the same case. `cache`
        is a file for the last good table, to begin with if no server can be reached. `token` is sent to every server; a
        callable (`token_file` makes one) is called for each connection, by the thread that follows, so that tokens can
        be renewed.

        Raises ValueError for an address that is none, an empty list of namespaces, and `relist_seconds` below 0, and
        TypeError for namespaces that are no list of names.
        """
        urls = [server] if isinstance(server, str) else server
        if not urls:
            raise ValueError("server: name at least one, for example http://127.0.0.1:8080")
        if relist_seconds < 0:
            raise ValueError(f"relist_seconds: must be 0 or more, not {relist_seconds:g}")
        self._start_seconds = start_seconds
        self._state = ClientState()
        selection = Selection.of(namespaces, allow_missing=allow_missing)
        source = fixed_token(token) if isinstance(token, str) else token
        self._servers = [replace(read_address(url), token=source) for url in urls]
        self._follower = Follower(
            self._servers,
            selection,
            Timeouts(verify_seconds, silence_seconds, relist_seconds),
            self._state,
            None if cache is None else CacheFile(cache, selection),
        )
        # A program that forgets to close us can end all the same.
        self._thread = threading.Thread(target=self._follower.run, name="omnirelay-mesh", daemon=True)

    def __enter__(self) -> Self:
        """With a table from the cache it also goes on when every server was tried in vain.

        Raises NotReady without a verified table in time, OperationRefused if the server refuses to give one.
        """
        state = self._state
        self._thread.start()
        self.wait_until(self._begun, self._start_seconds)
        if state.table is None:
            self.close()
            raise state.refusal or NotReady(
                f"There was no proven table within {self._start_seconds:g} seconds: {state.problem}"
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop following. Lookups go on from the table as it is."""
        self._follower.stop()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(_STOPPING_SECONDS)
        self._state.enter(State.AWAY)

    def _begun(self) -> bool:
        state = self._state
        tried = state.counters.proofs > 0 or state.losses >= len(self._servers)
        return (state.table is not None and tried) or state.refusal is not None

    def owner(self, namespace: str, shard_id: str) -> str | None:
        """The node that owns the shard; null if there is no such shard."""
        try:
            return self._state.namespaces[namespace][shard_id].owner_node_id
        except KeyError:
            return None

    def shard(self, namespace: str, shard_id: str) -> Shard | None:
        """The whole record; null if there is no such shard."""
        try:
            return self._state.namespaces[namespace][shard_id]
        except KeyError:
            return None

    def shards(self, namespace: str) -> Mapping[str, Shard]:
        """All shards of the namespace by id, as they stood after one revision: a copy that stays as it is."""
        # One step of the interpreter, so no change comes in between.
        return MappingProxyType(dict(self._state.namespaces.get(namespace, {})))

    def namespaces(self) -> Sequence[str]:
        """Those that hold shards, or did since the table was read."""
        return sorted(self._state.namespaces)

    @property
    def position(self) -> int:
        """Everything up to and including this revision is in the table."""
        return self._state.position

    @property
    def state(self) -> State:
        return self._state.current

    @property
    def lag(self) -> Lag:
        state = self._state
        return Lag(state.seconds_behind, max(0, state.newest - state.position))

    @property
    def counters(self) -> Counters:
        return self._state.counters

    def on_change(self, listener: Callable[[TableChange], object]) -> Callable[[], None]:
        """Have `listener` called after each change of the table: in order, never twice. Returns how to stop that.

        The thread that follows the stream calls it and waits for it; one that raises is logged and called again with
        the next change. Registered before the context is entered, it is called for the first table, too.
        """
        return self._state.add_listener(listener)

    def wait_for(self, wanted: int | str, seconds: float) -> None:
        """Until the table has this revision, or what this stream cursor names: pass that of your own write to read it.
        Raises TimeoutError, and ValueError for what is no cursor of the stream.

        A cursor belongs to one stream: in a table of another one, as after a restore, it never comes. Of a client for
        one namespace: a revision of that namespace; others it may learn of late.
        """
        state = self._state
        epoch, revision = (None, wanted) if isinstance(wanted, int) else _read(wanted)

        def has_come() -> bool:
            table = state.table
            return table is not None and table.position >= revision and epoch in {None, _read(table.cursor)[0]}

        if not self.wait_until(has_come, seconds):
            raise TimeoutError(
                f"Revision {revision} did not come within {seconds:g} seconds: the table is {state.current} at revision"
                f" {state.position}{'' if epoch is None else f'; it was asked for in stream {epoch}'}."
            )

    def wait_until(self, holds: Callable[[], bool], seconds: float) -> bool:
        """Until `holds` does, which is called after everything that happens to the table; false if the time ran out."""
        with self._state.updated:
            return self._state.updated.wait_for(holds, seconds)


def _read(cursor: str) -> tuple[str, int]:
    """The epoch and the revision. Raises ValueError."""
    try:
        position = cursors.STREAM.read(cursor, "wanted")
    except BadCursor as error:
        raise ValueError(str(error)) from error
    return position.epoch, position.revision
