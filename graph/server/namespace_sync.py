"""Namespaces as the settings file declares them: configured when the server starts and whenever the file changes.

The file is polled once a second rather than watched: a mounted ConfigMap is a link that is swapped, an editor replaces
the file, and neither is an event on the file that was opened. Any number of server processes may do this at once: each
write expects the version that was read, and the second one finds nothing to do.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from graph.namespace_declarations import NamespaceDeclaration
from graph.settings import SettingsError, load_namespaces
from persistence.codec.json_documents import configuration_differences
from persistence.commands.command import ChangeRequest
from persistence.commands.namespaces import ConfigureNamespace
from persistence.errors import InvalidArgument, Overloaded, StoreError, StoreUnavailable, TransientConflict
from persistence.model.outcomes import NamespaceConfigured
from persistence.ports.readers import NamespaceReader
from persistence.service.executor import CommandExecutor
from persistence.tasks import end
from strategies.registry import Registry

ACTOR: Final = "settings-file"

SECONDS_BETWEEN_LOOKS: Final = 1.0

_log = logging.getLogger(__name__)


class NamespaceSync:
    """Brings the store to what one file declares. Namespaces and fields that it does not name are left alone."""

    def __init__(self, file: Path, namespaces: NamespaceReader, writer: CommandExecutor, strategies: Registry) -> None:
        self._file = file
        self._namespaces = namespaces
        self._writer = writer
        self._strategies = strategies
        self._readable = True
        self._seen: bytes | None = None
        self._declared: Mapping[str, NamespaceDeclaration] = {}
        self._left: dict[str, NamespaceDeclaration] = {}

    async def look(self) -> bool:
        """Read the file, and bring about what it declares and was not brought about in this state of it.

        True if nothing is left to do. What cannot be read, is refused or fails is logged, once for each state of the
        file; what may pass (a conflict, a database that is not available) is tried again at the next look.
        """
        try:
            content = await asyncio.to_thread(self._file.read_bytes)
        except OSError as error:
            if self._readable:
                _log.error("%s cannot be read, so its namespaces stay as they are: %s", self._file, error.strerror)
            self._readable = False
            return True
        self._readable = True
        if content != self._seen:
            self._seen, self._left = content, {}
            try:
                declared = await asyncio.to_thread(load_namespaces, self._file)
            except SettingsError as error:
                _log.error("%s cannot be used, so its namespaces stay as they are: %s", self._file, error)
                return True
            for name in declared.keys() & self._declared.keys():
                self._warn_of_what_stays(name, declared[name])
            self._declared, self._left = declared, dict(declared)
        self._left = {name: left for name, left in self._left.items() if not await self._settled(name, left)}
        return not self._left

    def _warn_of_what_stays(self, name: str, declaration: NamespaceDeclaration) -> None:
        """A line that is taken out of the file undoes nothing: a freeze, for one, stays in force."""
        gone = self._declared[name].declared_fields - declaration.declared_fields
        tables = {field.partition(".")[0] for field in declaration.defaults if "." not in field}
        for field in sorted(gone - {*declaration.defaults}):
            if field.partition(".")[0] not in tables:
                _log.warning(
                    "%s: namespaces.%s no longer declares %s, which stays as it is; to undo it: defaults = [%s]",
                    *(self._file, name, field, f'"{field}"'),
                )

    async def _settled(self, name: str, declaration: NamespaceDeclaration) -> bool:
        """False: to be tried again."""
        try:
            return await self._configured(name, declaration)
        except (TransientConflict, StoreUnavailable, Overloaded) as error:
            _log.warning("namespaces.%s of %s is tried again: %s", name, self._file, error)
            return False
        except InvalidArgument as refused:
            _log.error("%s: namespaces.%s is refused: %s", self._file, name, refused)
        except StoreError as error:
            _log.error("%s: namespaces.%s stays as it is: %s", self._file, name, error)
        except Exception:  # noqa: BLE001 - a defect in one namespace must not hold up the others
            _log.exception("%s: namespaces.%s stays as it is", self._file, name)
        return True

    async def _configured(self, name: str, declaration: NamespaceDeclaration) -> bool:
        """Raises InvalidArgument, StoreError. False: it was configured otherwise meanwhile."""
        current = await self._namespaces.get(name)
        before = current.configuration if current else None
        strategy = declaration.strategy_for(before.strategy if before else None)
        known = strategy in self._strategies
        algorithm = self._strategies[strategy].algorithm_version if known else None
        taken = self._strategies.parameters(strategy) if known else ()
        declared = declaration.configuration(before, algorithm, taken)
        if before == declared:
            return True
        change = ChangeRequest(ACTOR, f"declared in {self._file.name}")
        version = current.version if current else 0
        outcome = await self._writer.execute(
            ConfigureNamespace(name, strategy, declared.strategy_parameters, version, change, declared.policy)
        )
        if not isinstance(outcome, NamespaceConfigured):
            return False
        changed = ", ".join(field for field, _, _ in configuration_differences(before, declared))
        _log.info("Configured namespace %s as %s declares it: %s", name, self._file, changed)
        # A change of the policy keeps the version of the algorithm: another one takes a change of its own.
        return outcome.namespace.algorithm_version == algorithm or declaration.changes_only_policy


@asynccontextmanager
async def syncing_namespaces(
    file: Path,
    namespaces: NamespaceReader,
    writer: CommandExecutor,
    strategies: Registry,
    *,
    seconds: float = SECONDS_BETWEEN_LOOKS,
) -> AsyncIterator[None]:
    """Once before it is entered, then every `seconds` until it is left."""
    sync = NamespaceSync(file, namespaces, writer, strategies)
    await sync.look()
    task = asyncio.create_task(_keep_syncing(sync, seconds), name="omnirelay-namespace-sync")
    try:
        yield
    finally:
        await end(task)


async def _keep_syncing(sync: NamespaceSync, seconds: float) -> None:
    while True:
        await asyncio.sleep(seconds)
        try:
            await sync.look()
        except Exception:  # noqa: BLE001 - a defect must not end the task: the next look may find another state
            _log.exception("Looking at the settings file failed")
