"""A namespace's policy as a TOML file declares it: `[namespaces.orders.policy]`, in the words of the API."""

from pydantic import AwareDatetime, BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from persistence.policy import DEFAULT_POLICY, FreezeWindow, NamespacePolicy

_STRICT = ConfigDict(frozen=True, strict=True, extra="forbid", alias_generator=to_camel)


class FreezeDeclaration(BaseModel):
    """`[[namespaces.orders.policy.freezes]]`."""

    model_config = _STRICT

    begins: AwareDatetime
    ends: AwareDatetime
    reason: str


class PolicyDeclaration(BaseModel):
    """What is left out has its default."""

    model_config = _STRICT

    ticket_required: bool = DEFAULT_POLICY.ticket_required
    ticket_pattern: str | None = DEFAULT_POLICY.ticket_pattern
    approval_required: bool = DEFAULT_POLICY.approval_required
    move_budget_percent: float = DEFAULT_POLICY.move_budget_percent
    window_seconds: int = DEFAULT_POLICY.window_seconds
    window_moves: int | None = DEFAULT_POLICY.window_moves
    shard_window_moves: int | None = DEFAULT_POLICY.shard_window_moves
    freezes: list[FreezeDeclaration] = []

    def policy(self) -> NamespacePolicy:
        return NamespacePolicy(
            self.ticket_required,
            self.ticket_pattern,
            self.approval_required,
            self.move_budget_percent,
            self.window_seconds,
            self.window_moves,
            self.shard_window_moves,
            tuple(FreezeWindow(freeze.begins, freeze.ends, freeze.reason) for freeze in self.freezes),
        )
