"""The rules of writing, without any I/O: from a command and the state that was read to what is written, or why not."""

from persistence.decisions.asking import asked_by
from persistence.decisions.deciding import Decision, decide
from persistence.decisions.shards import changed_fields

__all__ = ["Decision", "asked_by", "changed_fields", "decide"]
