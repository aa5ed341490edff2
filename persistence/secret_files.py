"""Files that hold secrets: they are read only if no other user may read them.

The rule is PostgreSQL's for the keys of its own server, for it fits how secrets come: a file of a user is for that
user alone, and one of root's may be for a group as well, as Kubernetes mounts them.
https://www.postgresql.org/docs/current/ssl-tcp.html#SSL-SETUP
"""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path
from typing import Final

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO

_OTHERS_OF_ROOT: Final = stat.S_IWGRP | stat.S_IXGRP | stat.S_IRWXO

_log = logging.getLogger(__name__)


class SecretExposed(Exception):
    """Others may read, or write, the file. The message is what is wrong and what to do, without the path."""


def read_secret(path: Path) -> bytes:
    """Raises SecretExposed, OSError. Where files have no modes it is read, and a warning logged."""
    with path.open("rb") as file:
        require_hidden(path, os.fstat(file.fileno()))
        return file.read()


def require_hidden(path: Path, found: os.stat_result | None = None, *, group_of_root: bool = True) -> None:
    """Raises SecretExposed, OSError. `found` is what is known of the file already; `group_of_root` is false
    where a file of root's may not be for a group either."""
    if os.name != "posix":
        _log.warning("%s holds a secret, and this platform does not show who may read it", path)
        return
    found = path.stat() if found is None else found
    if found.st_mode & (_OTHERS_OF_ROOT if found.st_uid == 0 and group_of_root else _OTHERS):
        raise SecretExposed(
            f"may be read by others (mode {stat.S_IMODE(found.st_mode):04o}), and holds a secret: chmod 600 it"
        )
