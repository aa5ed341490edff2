"""Keys from a file, read again whenever it changes: they are rotated without a restart."""

import logging
from collections.abc import Callable
from pathlib import Path

from graph.auth.keys import Keys, KeysUnusable

_log = logging.getLogger(__name__)

_Stamp = tuple[int, int, int]


class KeyFile:
    """The keys of a file. One that has become unusable is logged, once, and the last good keys stay."""

    def __init__(self, path: Path, read: Callable[[bytes], Keys]) -> None:
        """`read` makes keys of what the file holds. Raises OSError, and KeysUnusable as it does."""
        self._path = path
        self._read = read
        self._stamp: _Stamp | None = self._stamped()
        self._keys = read(path.read_bytes())

    def __call__(self) -> Keys:
        """The same object until the file changes. Looks at the file's time, size and identity: a microsecond or two."""
        try:
            # Before what it holds: a change in between is seen the next time.
            stamp = self._stamped()
        except OSError as error:
            self._lost(None, error.strerror)
            return self._keys
        if stamp != self._stamp:
            try:
                self._keys = self._read(self._path.read_bytes())
            except (OSError, KeysUnusable) as error:
                self._lost(stamp, error)
            else:
                self._stamp = stamp
                _log.info("%s has changed: tokens are checked with what it holds now", self._path)
        return self._keys

    def _lost(self, stamp: _Stamp | None, why: object) -> None:
        if stamp != self._stamp:
            self._stamp = stamp
            _log.error("%s: %s. Tokens are checked with the keys it held before", self._path, why)

    def _stamped(self) -> _Stamp:
        # Through links, and by the file's identity: secrets of Kubernetes are links that are pointed elsewhere.
        found = self._path.stat()
        return found.st_mtime_ns, found.st_size, found.st_ino
