"""The rules of writing, without any I/O: from a command and the state that was read to what is written, or why not."""

from persistence.decisions.asking import asked_by
from persistence.decisions.deciding import Decision, decide

__all__ = ["Decision", "asked_by", "decide"]
