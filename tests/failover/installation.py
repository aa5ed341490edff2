"""What a cluster needs and the project does not bring: Debian's etcd and PostgreSQL, Patroni, a user besides root."""

from __future__ import annotations

import os
import pwd
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PATRONI: Final = ROOT / ".failover"
"""Where `make .failover/installed` puts Patroni, for the interpreter named next."""

PYTHON: Final = Path("/usr/bin/python3")
"""Patroni's interpreter: one that every user may run. With one in root's home Patroni starts and its children fail."""

_POSTGRES: Final = Path("/usr/lib/postgresql")
_OWNER: Final = "postgres"
_OLDEST: Final = 14


class NotInstalledError(Exception):
    """One line: what is missing, and how it is installed."""


@dataclass(frozen=True, slots=True)
class Installation:
    """`prefix` goes before every command: it becomes the user `owner`, whom PostgreSQL and Patroni run as."""

    bin_dir: Path
    etcd: Path
    owner: pwd.struct_passwd
    prefix: Sequence[str]


def find_installation() -> Installation:
    """Raises NotInstalledError."""
    if not sys.platform.startswith("linux"):
        raise NotInstalledError("a cluster is run on Linux only: nodes are frozen and killed by what /proc shows")
    bin_dirs = [path for path in _POSTGRES.glob("*/bin") if (path / "postgres").exists()]
    bin_dirs = [path for path in bin_dirs if path.parent.name.isdecimal() and int(path.parent.name) >= _OLDEST]
    etcd = shutil.which("etcd")
    packages = [*(["etcd-server"] if etcd is None else []), *([] if bin_dirs else ["postgresql"])]
    if packages:
        raise NotInstalledError(f"missing, on Debian: apt-get install {' '.join(packages)}")
    assert etcd is not None
    if not PYTHON.exists():
        raise NotInstalledError(f"missing: {PYTHON}, on Debian: apt-get install python3")
    owner, prefix = _owner()
    return Installation(max(bin_dirs, key=lambda path: int(path.parent.name)), Path(etcd), owner, prefix)


def _owner() -> tuple[pwd.struct_passwd, Sequence[str]]:
    if os.geteuid() != 0:
        return pwd.getpwuid(os.geteuid()), ()
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise NotInstalledError("missing, on Debian: apt-get install util-linux (setpriv)")
    try:
        owner = pwd.getpwnam(_OWNER)
    except KeyError:
        raise NotInstalledError(f"PostgreSQL does not run as root, and there is no user {_OWNER}") from None
    return owner, (setpriv, f"--reuid={owner.pw_uid}", f"--regid={owner.pw_gid}", "--clear-groups")
