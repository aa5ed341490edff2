"""Become an ordinary user, then run a command: how a server started by root starts PostgreSQL, which refuses root.

A script: `python -I drop_privileges.py UID GID REACH... -- COMMAND...` replaces itself with COMMAND. It is a process of
its own because a user cannot be changed back, and must not be changed in a process that has threads.

The command has to reach the paths REACH (its program, its data). An unprivileged user often cannot: the clone may lie
under /root, or under any folder with mode 0700, and opening those folders to others is not for this program to do. So
the process keeps the least capability of Linux that suffices: none, else "read and search any folder", else "override
file modes" (containers by default grant only the latter). The others are dropped.

Sources: capabilities(7), "Ambient capability set" and "Effect of user ID changes on capabilities"; capset(2).
"""

import ctypes
import os
import sys

CAP_DAC_OVERRIDE = 1

CAP_DAC_READ_SEARCH = 2

_PR_SET_SECUREBITS = 28

_PR_CAP_AMBIENT = 47

_PR_CAP_AMBIENT_RAISE = 2

_SECBIT_NO_SETUID_FIXUP = 1 << 2

_CAPABILITY_VERSION_3 = 0x20080522

_EXIT_CANNOT_DROP = 77  # EX_NOPERM of sysexits.h


def main(arguments: list[str]) -> str:
    """Replace this process with the command. Returns an error message if that cannot be."""
    uid, gid = int(arguments[0]), int(arguments[1])
    split = arguments.index("--")
    reach, command = arguments[2:split], arguments[split + 1 :]
    os.umask(0o077)
    os.chdir("/")  # the folder root stood in may be closed to the user
    keeps_capabilities = _keep_capabilities_across_setuid()
    try:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    except PermissionError as error:
        return f"root may not become another user here ({error}); run as an ordinary user instead"
    for capability in (None, CAP_DAC_READ_SEARCH, CAP_DAC_OVERRIDE) if keeps_capabilities else (None,):
        if keeps_capabilities and not _keep_only(capability):
            continue
        if os.access(command[0], os.X_OK) and all(os.access(path, os.R_OK) for path in reach):
            os.execv(command[0], command)  # noqa: S606 - replacing this process is the purpose; no shell is involved
    paths = " and ".join([command[0], *reach])
    return f"user {uid} cannot reach {paths}; open the folders above them to others, or run as an ordinary user"


def _keep_capabilities_across_setuid() -> bool:
    # Without this bit access(2), which PostgreSQL uses to find its own files, ignores capabilities of non-root users.
    return sys.platform == "linux" and bool(
        ctypes.CDLL(None).prctl(_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP, 0, 0, 0) == 0
    )


def _keep_only(capability: int | None) -> bool:
    """Whether this process now has `capability` in effect and no other, and will hand it on to the command.

    What is merely permitted stays so until the command starts: exec takes everything but the ambient set away.
    """
    libc = ctypes.CDLL(None)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; low 32 capabilities, then the high ones
    if libc.capget(header, sets) != 0:
        return False
    wanted = 0 if capability is None else 1 << capability
    sets[0] = sets[2] = wanted
    sets[3] = sets[5] = 0
    if libc.capset(header, sets) != 0:
        return False
    return capability is None or bool(libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability, 0, 0) == 0)


if __name__ == "__main__":
    sys.stderr.write(f"{main(sys.argv[1:])}\n")
    sys.exit(_EXIT_CANNOT_DROP)
