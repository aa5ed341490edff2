"""Look the packages that a server may have up in an index of known vulnerabilities: `make audit`.

Ends with 1 if there are any. pip-audit itself finds nothing wrong where an index knows none of the packages; what it
could not look up is told here.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

_ROOT: Final = Path(__file__).parents[1]
_LOCKS: Final = ("--requirement", _ROOT / "requirements.lock", "--requirement", _ROOT / "requirements-tracing.lock")
_COMMAND: Final = (sys.executable, "-m", "pip_audit", *_LOCKS, "--require-hashes", "--disable-pip")
_FORM: Final = ("--progress-spinner", "off", "--timeout", "15", "--format", "json")
_UNREACHABLE: Final = ("connect", "timed out", "timeout", "resolve", "unreachable", "http error", "service unavailable")
"""In what pip-audit prints where no index answers; else it has failed."""


def verdict(answered: str, printed: str) -> tuple[int, Sequence[str]]:
    """The exit code and the lines to print, from what pip-audit wrote to stdout and to stderr."""
    try:
        packages: list[dict[str, Any]] = json.loads(answered)["dependencies"]
    except ValueError:
        reason = printed.strip().splitlines()[-1] if printed.strip() else "pip-audit printed nothing"
        if any(sign in printed.lower() for sign in _UNREACHABLE):
            return 0, [f"make audit is left out: no index answers: {reason}"]
        return 1, [printed.strip() or reason]
    unknown = [package for package in packages if "skip_reason" in package]
    if len(unknown) == len(packages):
        return 0, ["make audit is left out: the index that answers knows none of the packages"]
    found = [
        f"{package['name']} {package['version']}: {vulnerability['id']}, mended in "
        f"{', '.join(vulnerability['fix_versions']) or 'no version'}"
        for package in packages
        for vulnerability in package.get("vulns", ())
    ]
    known = len(packages) - len(unknown)
    lines = [*found, *(f"not looked up: {package['skip_reason']}" for package in unknown)]
    lines.append(f"{known} of {len(packages)} packages were looked up, and have {len(found)} known vulnerabilities")
    return (1 if found else 0), lines


def main() -> int:
    ended = subprocess.run([*_COMMAND, *_FORM], capture_output=True, text=True, check=False)  # noqa: S603 - of this environment
    code, lines = verdict(ended.stdout, ended.stderr)
    print(*lines, sep="\n")  # noqa: T201 - a program
    return code


if __name__ == "__main__":
    sys.exit(main())
