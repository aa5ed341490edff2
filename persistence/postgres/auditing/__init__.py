"""Reading the audit log of a database whole: to verify it, to export it, and to check it against the rules."""

from persistence.postgres.auditing.checking import CheckFilter, Report, check
from persistence.postgres.auditing.exporting import export
from persistence.postgres.auditing.reading import AuditReader, Heads, reading
from persistence.postgres.auditing.verifying import Verdict, verify, verify_on

__all__ = [
    "AuditReader",
    "CheckFilter",
    "Heads",
    "Report",
    "Verdict",
    "check",
    "export",
    "reading",
    "verify",
    "verify_on",
]
