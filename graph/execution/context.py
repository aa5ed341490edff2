"""What a resolver may reach: the services of the process, and the caller. Safe to share between resolvers.

Readers and writers open their own session per call, and none is carried here: a socket stays open for days, and two
resolvers of one request run at the same time.
"""

from typing import Any, NamedTuple, TypeAlias

from strawberry.types import Info as StrawberryInfo

from graph.auth.principal import Principal
from graph.execution.services import Services


class Outcome(NamedTuple):
    """What a resolver of a root field gave, or raised."""

    value: Any
    error: Exception | None = None


class Recorded(NamedTuple):
    """Of an operation that was begun at `started`, in seconds of `perf_counter`, and is executed from here on by
    graphql-core: outcomes by the names that root fields have in the answer. Those are not resolved again."""

    started: float
    outcomes: dict[str, Outcome]


class Context(NamedTuple):
    """Of one HTTP request or one socket. `request_id` names it in logs and in masked errors. `resume_after` is the
    cursor of the last event that a client of an event stream has seen; it takes precedence over the document's `after`.
    `recorded` is null but for an operation that was begun by its plan. `is_encoded`: answers are encoded by
    `encoding.encode_json`, and may hold what that alone encodes.
    """

    services: Services
    principal: Principal
    request_id: str
    resume_after: str | None = None
    recorded: Recorded | None = None
    is_encoded: bool = False


Info: TypeAlias = StrawberryInfo[Context, None]
