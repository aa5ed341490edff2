"""Which namespaces a client keeps."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Selection:
    """`namespaces` null is for all of them."""

    namespaces: frozenset[str] | None = None

    @classmethod
    def of(cls, namespaces: Iterable[str] | None) -> Self:
        """What a program asked for. Raises TypeError for one string and for what holds none, ValueError for nothing:
        a client of no namespace would answer null for every owner, and call itself live."""
        if namespaces is None:
            return cls()
        if isinstance(namespaces, str):
            raise TypeError(f"namespaces: give a list of names and not one string, for example [{namespaces!r}]")
        names = list(namespaces)
        for name in names:
            if not isinstance(name, str):
                raise TypeError(f"namespaces: {name!r} is not a name")
        if not names:
            raise ValueError("namespaces: name at least one, or leave it out to keep them all")
        return cls(frozenset(names))

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
