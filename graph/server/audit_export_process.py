"""The process that writes an export of the audit log for a server, as `graph/server/audit_export` starts it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from datetime import datetime
from typing import Final

from graph.server.composition import export_audit
from migrations import require_compatible
from persistence.audit.export import Csv, ExportFilter, ExportForm, JsonLines, line
from persistence.errors import StoreError

_NICE: Final = 10

_FORMS: Final[dict[str, type[ExportForm]]] = {"jsonl": JsonLines, "csv": Csv}


def main() -> int:
    """From the request on the standard input to the export on the standard output, its manifest at the end of JSON
    Lines. The exit status is 1 where that failed; why is on the standard error."""
    os.nice(_NICE)
    request = json.load(sys.stdin)
    since, until = (None if request[name] is None else datetime.fromisoformat(request[name]) for name in _TIMES)
    where = ExportFilter(request["namespace"], request["actor"], request["change_ticket"], since, until)
    try:
        asyncio.run(_export(request["url"], where, request["form"]))
    except BrokenPipeError:
        sys.stdout = None  # which the interpreter would flush again
    except (StoreError, OSError, TimeoutError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


_TIMES: Final = ("since", "until")


async def _export(url: str, where: ExportFilter, form: str) -> None:
    output = sys.stdout.buffer
    await require_compatible(url)
    manifest = await export_audit(url, where, _FORMS[form](), output.write, lambda _done, _total: None)
    if form == "jsonl":
        output.write(line(manifest.document()))
    output.flush()


if __name__ == "__main__":
    sys.exit(main())
