"""Which namespaces a client keeps."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Selection:
    """`namespaces` null is for all of them."""

    namespaces: frozenset[str] | None = None

    def __contains__(self, namespace: str) -> bool:
        return self.namespaces is None or namespace in self.namespaces

    @property
    def asked_for(self) -> str | None:
        """What the server is asked to send: one namespace, or null for everything.

        Of several namespaces everything is taken and most of it left: one stream has one order.
        """
        return next(iter(self.namespaces)) if self.namespaces is not None and len(self.namespaces) == 1 else None

    @property
    def lists(self) -> list[str | None]:
        """The lists that make up the table, by namespace; null is for the one of everything."""
        return [None] if self.namespaces is None else [*sorted(self.namespaces)]
