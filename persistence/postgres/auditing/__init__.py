"""Reading the audit log of a database whole: to verify it, to export it, and to check it against the rules."""
