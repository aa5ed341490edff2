"""Spans of distributed traces, as what is traced sees them: where they go is not decided here."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Final, Protocol, TypeAlias

Attribute: TypeAlias = str | int | bool

Parent: TypeAlias = object
"""What a span that is begun elsewhere, in another task, hangs below: from `Tracer.current`."""


class Tracer(Protocol):
    """Each span hangs below the one that is current in its task, or below `parent`."""

    @property
    def is_on(self) -> bool:
        """False where no span is ever made."""
        ...

    @property
    def root(self) -> Parent:
        """The parent of a span that hangs below none."""
        ...

    def span(
        self, name: str, parent: Parent | None = None, /, **attributes: Attribute
    ) -> AbstractContextManager[object]:
        """Current until it ends. An error that leaves it is recorded, and raised."""
        ...

    def current(self) -> Parent | None:
        """Null where no span is current that is recorded."""
        ...

    def annotate(self, **attributes: Attribute) -> None:
        """The span that is current, if there is one."""
        ...

    def trace_id(self) -> str | None:
        """Of the span that is current, 32 hex digits; null where there is none."""
        ...

    def from_header(self, traceparent: str) -> Parent | None:
        """The span of a caller, from the header of https://www.w3.org/TR/trace-context/; null for one that is none."""
        ...


class _NoTracing:
    is_on = False

    root: Parent = None

    def span(
        self, name: str, parent: Parent | None = None, /, **attributes: Attribute
    ) -> AbstractContextManager[object]:
        del name, parent, attributes
        return _NOTHING

    def current(self) -> Parent | None:
        return None

    def annotate(self, **attributes: Attribute) -> None:
        """Nothing is traced."""

    def trace_id(self) -> str | None:
        return None

    def from_header(self, traceparent: str) -> Parent | None:
        del traceparent
        return None


_NOTHING: Final = nullcontext()

NO_TRACING: Final[Tracer] = _NoTracing()
