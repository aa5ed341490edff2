"""Connections, all made here, so that a database URL means one thing to the pools and to the listener.

The URL is libpq's, read by asyncpg: `sslmode`, `sslrootcert`, several hosts, a socket's folder as `host`. Hosts are
tried here, one after the other, each within its own time: the driver has one timeout for all of them, and a host that
accepts and is silent would hide the rest.
https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import unquote

import asyncpg
from asyncpg import connect_utils

from persistence.errors import Fenced, FieldError, InvalidArgument, StoreError, StoreUnavailable, Unavailable
from persistence.postgres.driver_errors import denied, first_line, translation, unreachable
from persistence.secret_files import SecretExposed, require_hidden

SERVER_SETTINGS: Final = {
    "timezone": "UTC",
    "default_transaction_isolation": "read committed",  # commit_change relies on a snapshot for each of its statements
    "jit": "off",  # our statements take milliseconds; compiling them takes longer
    "work_mem": "32MB",  # a change of ten thousand shards stays in memory while its statement runs
    "lock_timeout": "10s",
    "statement_timeout": "60s",
    # A process that froze inside a transaction would hold the stream head, and with it every writer.
    "idle_in_transaction_session_timeout": "30s",
    # Let the server notice a client that vanished without a word, and give up its locks.
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}

CONNECT_SECONDS: Final = 10.0
"""For all hosts together."""

HOST_SECONDS: Final = 3.0
"""For one of several hosts. `connect_timeout` in the URL overrides it, as with libpq."""

_SCHEME: Final = "postgresql://"

_CONNECT_TIMEOUT: Final = "connect_timeout="  # libpq's; the driver would send it to the server

_PROBE_SECONDS: Final = 1.0
"""To be let in by a pooler, and again to be given a backend."""

_NO_TRANSACTIONS: Final = "transaction blocks not allowed"  # PgBouncer's words, 'in statement pooling mode'

# The startup packet names the application and nothing else: PgBouncer refuses any other parameter, or
# drops it, as configured. What is set here is what `_READ_BACK` must find in another round trip, as the server spells
# it. `synchronous_commit` is only ever raised: an operator's remote_write or remote_apply stays. A statement is never
# cancelled (see Connection), so the server has to notice by itself that its client is gone; it can on Linux.
_SET: Final = """
    SELECT given.name, set_config(given.name, given.value, false)
    FROM unnest($1::text[], $2::text[]) AS given (name, value)
    UNION ALL SELECT 'synchronous_commit', set_config('synchronous_commit',
        CASE WHEN current_setting('synchronous_commit') IN ('off', 'local') THEN 'on'
        ELSE current_setting('synchronous_commit') END, false)
    UNION ALL SELECT 'client_connection_check_interval', set_config('client_connection_check_interval', '1s', false)
    WHERE version() ~ 'linux'
"""

_READ_BACK: Final = """
    SELECT name, current_setting(name, true) AS value, pg_backend_pid() AS pid FROM unnest($1::text[]) AS given (name)
"""

_TOKEN: Final = "omnirelay.session"  # noqa: S105 - the name of a setting

OWN_SESSION: Final = f"SELECT current_setting('{_TOKEN}', true)"
"""Gives the `token` of a connection whose session is its own."""

Admission = Callable[["Connection"], Awaitable[None]]
"""What a connection must pass to be taken. Raises StoreUnavailable to have the next host tried."""


class WaitForStandbyCancelled(asyncpg.PostgresConnectionError):  # type: ignore[misc]  # asyncpg has no types
    """An administrator cancelled a commit that waited for its synchronous standby: it is visible, and may yet be
    lost. The server calls that a success with a warning."""


class NothingSent(asyncpg.InterfaceError):  # type: ignore[misc]  # same
    """The connection was lost before the statement was given to it for execution."""


class FailureLog(Protocol):
    """Where failed statements are noted: the database that a connection belongs to."""

    def met(self, error: BaseException) -> bool:
        """Note it; true if the connection that it was met on is not to be used again, though open."""


class Connection(asyncpg.Connection):  # type: ignore[misc]  # same
    """A connection that is dropped where asyncpg would cancel its statement.

    PostgreSQL ends a cancelled wait for replication with a commit that is visible and not replicated, and a timeout, a
    cancelled task and `close` with a statement under way all cancel. A backend whose client is gone goes on waiting,
    invisible. docs/decisions/0026-connections.md.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.token = secrets.token_hex(16)
        self.behind_pooler = False
        self.host: Host | None = None
        self.admitted: Any = None  # what an admission found out
        self.database: FailureLog | None = None
        self.statements: dict[str, Any] = {}
        """Prepared ones, by their text."""

    def _cancel_current_command(self, *waiters: asyncio.Future[None] | None) -> None:
        """Called by asyncpg instead of sending a CancelRequest. `waiters` are awaited by the connection's next use, so
        they are completed once it is closed, and not before."""

        def drop() -> None:
            self.terminate()
            for waiter in waiters:
                if waiter is not None and not waiter.done():
                    waiter.set_result(None)

        # Not at once: the protocol is in the middle of something, and its caller has no answer yet.
        asyncio.get_running_loop().call_soon(drop)

    def _process_log_message(self, fields: Mapping[str, str], last_query: str | None) -> None:
        """What is raised here is what the statement under way raises."""
        if fields.get("R") == "SyncRepWaitForLSN":  # the function that warns, in every language
            raise WaitForStandbyCancelled(fields.get("M", ""))
        super()._process_log_message(fields, last_query)

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ARG002, ASYNC109 - the driver's signature
        """At once. The driver would give a statement under way an empty result, as if it were done, and would wait for
        a server that does not answer."""
        self.terminate()

    async def prepare(self, *arguments: Any, **named: Any) -> Any:
        """Raises NothingSent where the connection is lost meanwhile."""
        try:
            return await super().prepare(*arguments, **named)
        except (asyncpg.PostgresConnectionError, OSError) as error:
            raise NothingSent(f"the connection was lost before anything was sent: {first_line(error)}") from error


@dataclass(frozen=True, slots=True)
class Host:
    """`host` is a name, an address, or the path of a socket."""

    host: str
    port: int

    def __str__(self) -> str:
        return self.host if self.host.startswith("/") else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class _Target:
    """Of a URL: the hosts, in order, and how long each may take."""

    url: str
    hosts: Sequence[Host]
    host_seconds: float
    attributes: str


def require_postgresql(url: str) -> str:
    """The URL as asyncpg reads it. Raises InvalidArgument for a URL of something else."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in {"postgresql", "postgres", "postgresql+asyncpg"}:
        raise InvalidArgument(FieldError("database_url", "must begin with postgresql://"))
    return f"{_SCHEME}{rest}"


async def connect(
    url: str,
    *,
    application_name: str = "omnirelay",
    settings: Mapping[str, str] = SERVER_SETTINGS,
    admission: Admission | None = None,
    first: Host | None = None,
    only: Host | None = None,
    **options: Any,
) -> Connection:
    """A connection of its own to the first host that will do, `first` before the others or `only` that one, within 10
    seconds.

    Its settings were read back, and its session is its own. Raises InvalidArgument for the URL, and else StoreErrors:
    what the one host or, if none will do, what all of them answered.
    """
    target = _target(require_postgresql(url))
    hosts = sorted(target.hosts, key=lambda host: host != first) if only is None else [only]
    passes = ("standby", "any") if target.attributes == "prefer-standby" else (target.attributes,)
    failures: list[tuple[Host, StoreError]] = []
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            for attributes in passes:
                for host in hosts:
                    named = {"server_settings": {"application_name": application_name}, **options}
                    named["target_session_attrs"] = attributes
                    try:
                        return await _connect_to(host, target, settings, admission, named)
                    except StoreUnavailable as error:
                        failures.append((host, error))
    except TimeoutError:
        failures.append((hosts[-1], StoreUnavailable(f"the database gave no answer in {CONNECT_SECONDS:g} s")))
    raise _worst(failures)


def hosts_of(url: str) -> Sequence[Host]:
    """Raises InvalidArgument for the URL."""
    return _target(require_postgresql(url)).hosts


async def _connect_to(
    host: Host,
    target: _Target,
    settings: Mapping[str, str],
    admission: Admission | None,
    options: Mapping[str, Any],
) -> Connection:
    """Raises StoreUnavailable where another host may do better, and another StoreError where none will."""
    connection: Connection | None = None
    try:
        async with asyncio.timeout(target.host_seconds):
            connection = await _open(host, target, options)
            connection.host = host
            await _settle(connection, settings, target, options)
            if admission is not None:
                await admission(connection)
            admitted, connection = connection, None
            return admitted
    except StoreError:
        raise
    except connect_utils.exceptions.TargetServerAttributeNotMatched as error:
        raise StoreUnavailable(f"the database is not {target.attributes}", Unavailable.READ_ONLY) from error
    except TimeoutError as error:
        raise StoreUnavailable(f"the database gave no answer in {target.host_seconds:g} s") from error
    except OSError as error:
        raise unreachable(error) from error
    except asyncpg.ObjectNotInPrerequisiteStateError as error:  # ALLOW_CONNECTIONS is false
        raise denied(error) from error
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise translation(error) from error
    finally:
        if connection is not None:
            connection.terminate()


async def _open(host: Host, target: _Target, options: Mapping[str, Any]) -> Connection:
    connection: Connection = await asyncpg.connect(
        target.url, host=host.host, port=host.port, timeout=CONNECT_SECONDS, connection_class=Connection, **options
    )
    return connection


async def _settle(
    connection: Connection, settings: Mapping[str, str], target: _Target, options: Mapping[str, Any]
) -> None:
    """Set what the session needs, and see in another round trip that it is there."""
    given = {**settings, _TOKEN: connection.token}
    chosen = dict(await connection.fetch(_SET, list(given), list(given.values())))
    pid = await _read_back(connection, chosen)
    # A pooler has to make up the number that its clients would cancel by.
    connection.behind_pooler = connection.get_server_pid() != pid
    if connection.behind_pooler:
        await _require_own_session(connection, chosen, pid, target, options)


async def _read_back(connection: Connection, chosen: Mapping[str, str]) -> int:
    """The number of the backend that the session is in. Raises StoreUnavailable, naming what is not as it was set."""
    rows = await connection.fetch(_READ_BACK, list(chosen))
    found = {row["name"]: row["value"] for row in rows}
    if found[_TOKEN] != chosen[_TOKEN]:
        raise transaction_pooler()
    for name, value in chosen.items():
        if found[name] != value:
            raise StoreUnavailable(
                f"{name} was set to {value} and is {found[name]}: something between here and PostgreSQL drops settings",
                Unavailable.SESSION_SETTINGS,
            )
    pid: int = rows[0]["pid"]
    return pid


async def _require_own_session(
    connection: Connection, chosen: Mapping[str, str], pid: int, target: _Target, options: Mapping[str, Any]
) -> None:
    """Have another client hold a transaction meanwhile, and end it. A pooler that takes sessions back after each
    transaction gives it the backend that was used last, which is this one's, and this one the other's afterwards. A
    third client may come in between once, and be given the backend that would have shown it."""
    await _require_transactions(connection)
    probe: Connection | None = None
    try:
        # Suppressed where the pooler has no room for another client: pools check again each time they hand out this
        # connection. A backend that answers the probe too late is missing here all the same.
        with suppress(TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            assert connection.host is not None  # noqa: S101 - set by the caller
            async with asyncio.timeout(_PROBE_SECONDS):
                probe = await _open(connection.host, target, options)
            async with asyncio.timeout(_PROBE_SECONDS):
                await probe.execute("BEGIN")
                if await probe.fetchval("SELECT pg_backend_pid()") == pid:
                    raise transaction_pooler()
        await _read_back(connection, chosen)
        if probe is not None and not probe.is_closed():
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await probe.execute("ROLLBACK")
            await _read_back(connection, chosen)
    finally:
        if probe is not None:
            probe.terminate()


async def _require_transactions(connection: Connection) -> None:
    """A pooler in statement mode closes the connection that begins one, and the backend with it."""
    try:
        await connection.execute("BEGIN")
        await connection.execute("ROLLBACK")
    except asyncpg.PostgresError as error:
        # The code is that of any protocol violation, a backend's crash included, or of a closed connection.
        if _NO_TRANSACTIONS in str(error):
            raise transaction_pooler() from error
        raise


def transaction_pooler() -> StoreUnavailable:
    return StoreUnavailable(
        "a pooler in transaction mode stands in between: it gives this session to others. Connect to PostgreSQL "
        "itself, or set pool_mode = session",
        Unavailable.TRANSACTION_POOLER,
    )


@lru_cache(maxsize=16)
def _target(url: str) -> _Target:
    """Raises InvalidArgument for what is no URL of libpq's."""
    address, _, query = url.removeprefix(_SCHEME).partition("?")
    # To the driver an empty name of a database is a name, and that of a service does not count.
    address = _SCHEME + address.removesuffix("/")
    pairs = [pair for pair in query.split("&") if pair]
    seconds = [pair.partition("=")[2] for pair in pairs if pair.startswith(_CONNECT_TIMEOUT)]
    url = "?".join(filter(None, (address, "&".join(pair for pair in pairs if not pair.startswith(_CONNECT_TIMEOUT)))))
    nothing = dict.fromkeys(
        (
            *("host", "port", "user", "password", "passfile", "database", "ssl", "service", "servicefile"),
            *("direct_tls", "server_settings", "target_session_attrs", "krbsrvname", "gsslib"),
        )
    )
    _require_hidden_files(pairs)
    try:
        # The driver's own reading, so that there is one; hence its version is bounded in pyproject.toml.
        addresses, parameters = connect_utils._parse_connect_dsn_and_args(dsn=url, **nothing)  # noqa: SLF001
        limit = float(seconds[-1]) if seconds else 0.0
    except (asyncpg.InterfaceError, ValueError) as error:
        raise InvalidArgument(FieldError("database_url", first_line(error))) from error
    except OSError as error:  # a certificate that is not there
        raise unreachable(error) from error
    # A socket's path has its number in it, and the driver looks for another one where it is given none.
    hosts = [Host(address, 5432) if isinstance(address, str) else Host(*address) for address in addresses]
    usual = CONNECT_SECONDS if len(hosts) == 1 else HOST_SECONDS
    return _Target(url, hosts, limit if limit > 0 else usual, parameters.target_session_attrs.value)


def _require_hidden_files(pairs: Sequence[str]) -> None:
    """Raises InvalidArgument for a key or a password file, of the URL or the environment, that others may read. libpq
    refuses the one and passes over the other; the driver passes over the other, and then has no password."""
    given = dict(unquote(pair).partition("=")[::2] for pair in pairs)
    for parameter, variable in (("sslkey", "PGSSLKEY"), ("passfile", "PGPASSFILE")):
        path = given.get(parameter) or os.environ.get(variable)
        try:
            if path and Path(path).is_file():
                require_hidden(Path(path), group_of_root=parameter != "passfile")
        except SecretExposed as error:
            where = parameter if parameter in given else variable
            raise InvalidArgument(FieldError("database_url", f"{where}: {path} {error}")) from error
        except OSError as error:
            raise unreachable(error) from error


# Of several hosts that will not do, the one to report first.
_GRAVITY: Final = (
    Unavailable.TRANSACTION_POOLER,
    Unavailable.SESSION_SETTINGS,
    Unavailable.AWAITING_STANDBY,
    Unavailable.ACCESS_DENIED,
    Unavailable.TOO_MANY_CONNECTIONS,
    Unavailable.UNREACHABLE,
    Unavailable.DISK_FULL,
    Unavailable.READ_ONLY,
)


def _worst(failures: Sequence[tuple[Host, StoreError]]) -> StoreError:
    if len(failures) == 1:
        return failures[0][1]
    failed = "; ".join(dict.fromkeys(f"{host}: {error}" for host, error in failures))
    reasons = [error.reason for _, error in failures if isinstance(error, StoreUnavailable)]
    kind = Fenced if any(isinstance(error, Fenced) for _, error in failures) else StoreUnavailable
    return kind(f"no usable database: {failed}", min(reasons, key=_GRAVITY.index))
