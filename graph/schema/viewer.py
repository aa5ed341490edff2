"""The caller, as it is authenticated."""

from datetime import UTC, datetime

import strawberry

from graph.execution.context import Info


@strawberry.type(description="The caller, by its token, or what it may do without one.")
class Viewer:
    subject: str | None = strawberry.field(
        description="The subject of the token, who its changes are by; null where no token is needed."
    )
    scopes: list[str] = strawberry.field(
        description="What it may do: of `mesh.admin`, `mesh.approve`, `mesh.audit`, `mesh.operate` and `mesh.read`."
    )
    expires_at: datetime | None = strawberry.field(description="When the token expires; null without one.")
    auth_required: bool = strawberry.field(
        description="Whether this server needs a token. If not, `actor` of each change is whom its caller names."
    )


async def viewer(info: Info) -> Viewer:
    principal = info.context.principal
    return Viewer(
        subject=principal.subject,
        scopes=sorted(scope.value for scope in principal.scopes),
        expires_at=_time(principal.expires_at),
        # A token has a subject: it is refused without one.
        auth_required=principal.subject is not None,
    )


def _time(seconds: float | None) -> datetime | None:
    """Null also for one that no calendar has: such a token does not expire."""
    try:
        return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return None
