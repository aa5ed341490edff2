"""The caller, and what it may do."""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final


class Scope(StrEnum):
    """What a token may allow. None includes another, but that each includes READ."""

    READ = "mesh.read"
    OPERATE = "mesh.operate"
    APPROVE = "mesh.approve"
    ADMIN = "mesh.admin"
    AUDIT = "mesh.audit"


class Forbidden(Exception):
    """The caller is known, and may not do this. Names the scope that is missing."""

    def __init__(self, scope: Scope, what: str) -> None:
        super().__init__(f"{what} needs a token with the scope {scope}")
        self.scope = scope


class Unauthenticated(Exception):
    """No token, or one that is not good. The message is the reason, and never holds any of the token.

    `shown`: whether there was one at all. `may_pass`: whether the next token of the same issuer, or this one later, may
    be good; else another attempt is useless.
    """

    def __init__(self, message: str, *, shown: bool = True, may_pass: bool = False) -> None:
        super().__init__(message)
        self.shown = shown
        self.may_pass = may_pass


@dataclass(frozen=True, slots=True)
class Principal:
    """`subject` is null without authentication: then a change names its actor itself. `expires_at`: unix seconds, null
    for never."""

    subject: str | None
    scopes: frozenset[Scope]
    expires_at: float | None = None

    def supposing(self, scope: Scope) -> "Principal":
        """The same caller with this scope: to record what was refused, never to carry it out."""
        return replace(self, scopes=self.scopes | {scope})

    def require(self, scope: Scope, what: str = "this") -> None:
        """Raises Forbidden. `what` is what needs the scope, as its message begins."""
        if scope not in self.scopes:
            raise Forbidden(scope, what)


UNRESTRICTED: Final = Principal(None, frozenset(Scope))
"""Every caller of a server without authentication."""

ANONYMOUS: Final = Principal(None, frozenset())
"""The caller of a socket before `connection_init`."""
