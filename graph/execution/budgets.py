"""What callers may ask for: of one operation, and over time.

Each caller has a budget of records, a token bucket that is filled again at a steady rate. What a client is shown of it
are the words of https://docs.github.com/en/graphql (`rateLimit`) and the leaky bucket of
https://shopify.dev/docs/api/usage/limits (`throttleStatus`). docs/decisions/0047-what-an-operation-costs.md.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final, NamedTuple

from strawberry.types import ExecutionResult

from graph.auth.principal import Principal
from graph.execution.cost import OperationCost
from graph.execution.documents import Document, DocumentCache
from graph.execution.errors import Code
from persistence.errors import Overloaded

CALLERS: Final = 10_000
"""Whose budgets are remembered; of the rest, the most recent."""

CHARACTERS_A_RECORD: Final = 3
"""Of a document that is not known: parsing and validating so many takes as long as reading a record."""

_NAMED: Final = 3


@dataclass(frozen=True, slots=True)
class CostLimits:
    """`operation`: records that one operation may ask for. `burst`: what a caller's budget holds, `rate`: what comes
    back to it each second. Zero is no limit; without a rate there are no budgets."""

    operation: int = 10_000
    burst: int = 6_000_000
    rate: int = 100_000


DEFAULT_COSTS: Final = CostLimits()


class Budget(NamedTuple):
    """Of one caller: `remaining` of `limit`, all of it again in `reset` seconds, once nothing more is asked for."""

    limit: int
    remaining: int
    reset: int


class Charge(NamedTuple):
    """What an operation asked for, and what was taken for it. `limit` is that of an operation, null for none; `budget`
    is null where there are none."""

    requested: int
    taken: int
    limit: int | None
    budget: Budget | None

    def extension(self) -> Mapping[str, Any]:
        """For `extensions.cost`."""
        budget = None if self.budget is None else self.budget._asdict()
        return {"requested": self.requested, "taken": self.taken, "limit": self.limit, "budget": budget}

    def attach(self, result: ExecutionResult, *, requested: bool) -> Mapping[str, str]:
        """The headers of an answer: none where nothing was taken, unless the cost was `requested`. Then the result has
        it as an extension, too."""
        if requested:
            result.extensions = {**(result.extensions or {}), "cost": self.extension()}
        return self.headers() if requested or self.taken else {}

    def headers(self) -> Mapping[str, str]:
        """Of an answer, or a refusal; none where there are no budgets."""
        if self.budget is None:
            return {}
        limit, remaining, reset = self.budget
        return {
            "x-ratelimit-limit": str(limit),
            "x-ratelimit-remaining": str(remaining),
            "x-ratelimit-reset": str(reset),
            "x-ratelimit-used": str(self.taken),
        }


def requests_cost(extensions: Mapping[str, Any] | None) -> bool:
    """Whether the answer is to hold what the operation cost: `extensions: {"cost": true}` in the request."""
    return extensions is not None and extensions.get("cost") is True


class CostExceeded(Exception):
    """The operation was not executed. `retry_after`: seconds until the budget has enough; null where it never will."""

    code: Final = Code.COST_EXCEEDED

    def __init__(
        self, message: str, charge: Charge, retry_after: int | None = None, fields: list[tuple[str, int]] | None = None
    ) -> None:
        super().__init__(message)
        self.charge = charge
        self.retry_after = retry_after
        self._fields = fields or []

    @property
    def extensions(self) -> Mapping[str, Any]:
        """With the root fields that ask for most, by their names in the answer."""
        fields = {"fields": [{"field": name, "requested": records} for name, records in self._fields]}
        again = {} if self.retry_after is None else {"retryAfter": self.retry_after}
        return {"cost": {**self.charge.extension(), **(fields if self._fields else {})}, **again}

    @property
    def headers(self) -> Mapping[str, str]:
        return {} if self.retry_after is None else {**self.charge.headers(), "retry-after": str(self.retry_after)}


class Budgets:
    """Of the callers of one process, at most CALLERS. A caller that is not remembered has all of its budget."""

    def __init__(self, limits: CostLimits, clock: Callable[[], float] = monotonic) -> None:
        self._burst = max(limits.burst, 1)
        self._rate = limits.rate
        self._clock = clock
        # By caller, the least recent first: what is left, and when that was.
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._left)

    def take(self, caller: str, records: int) -> tuple[Budget, int | None]:
        """The budget after so many were taken; or as it is, with the seconds until it has as many. An operation for
        which no budget would suffice takes a full one."""
        now = self._clock()
        left, at = self._left.get(caller, (self._burst, now))
        left = min(self._burst, left + max(now - at, 0.0) * self._rate)
        wanted = min(records, self._burst)
        missing = wanted - left
        if missing > 0:
            return self._budget(left), math.ceil(missing / self._rate)
        if records or caller in self._left:
            self._left[caller] = min(self._burst, left - wanted), now
            self._left.move_to_end(caller)
            if len(self._left) > CALLERS:
                self._left.popitem(last=False)
        return self._budget(min(self._burst, left - wanted)), None

    def give_back(self, caller: str, records: int) -> Budget:
        """The budget with what was taken for an operation that is not executed after all."""
        return self.take(caller, -min(records, self._burst))[0]

    def _budget(self, left: float) -> Budget:
        return Budget(self._burst, int(left), math.ceil((self._burst - left) / self._rate))


class CostControl:
    """Of one application. `refused` is called with why, `operation` or `budget`."""

    def __init__(
        self,
        limits: CostLimits,
        documents: DocumentCache,
        refused: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._limits = limits
        self._documents = documents
        self._budgets = Budgets(limits, clock) if limits.rate else None
        self._refused = refused

    async def admit(
        self,
        text: str,
        operation_name: str | None,
        variables: Mapping[str, Any] | None,
        principal: Principal,
        caller: str,
    ) -> tuple[Document, Charge | None]:
        """The document, read unless it is known, and what was taken for its operation; null for one that is not going
        to be executed: not valid, not there, or forbidden. Raises CostExceeded, Overloaded."""
        characters = self._documents.to_read(text)
        self.take_document(characters, caller)
        try:
            document = await self._documents.read(text, operation_name)
        except Overloaded:
            self.refund(caller, characters // CHARACTERS_A_RECORD)
            raise
        cost = self._documents.cost(document, operation_name, principal)
        return document, None if cost is None else self.take(cost, variables or {}, caller)

    def take(self, cost: OperationCost, variables: Mapping[str, Any], caller: str) -> Charge:
        """For an operation that is about to be executed. Raises CostExceeded."""
        requested = cost.records(variables)
        limit = self._limits.operation or None
        if limit is not None and requested > limit:
            self._refused("operation")
            raise CostExceeded(
                *_too_much(cost, variables, Charge(requested, 0, limit, self._budget(caller))),
            )
        taken = cost.charge(variables)
        budget, wait = (None, None) if self._budgets is None else self._budgets.take(caller, taken)
        if budget is not None and wait is not None:
            self._refused("budget")
            raise _used_up(f"The operation costs {taken:,} records", Charge(requested, 0, limit, budget), wait, caller)
        return Charge(requested, taken, limit, budget)

    def refund(self, caller: str, records: int) -> None:
        """What was taken for an operation that a queue has refused."""
        if self._budgets is not None and records:
            self._budgets.give_back(caller, records)

    def take_document(self, characters: int, caller: str) -> None:
        """For a document that has to be parsed and validated. Raises CostExceeded."""
        if self._budgets is None:
            return
        records = characters // CHARACTERS_A_RECORD
        budget, wait = self._budgets.take(caller, records)
        if wait is not None:
            self._refused("budget")
            charge = Charge(0, 0, self._limits.operation or None, budget)
            raise _used_up(
                f"To read a document of {characters:,} characters costs as much as {records:,} records",
                charge,
                wait,
                caller,
            )

    def _budget(self, caller: str) -> Budget | None:
        return None if self._budgets is None else self._budgets.take(caller, 0)[0]


def _too_much(
    cost: OperationCost, variables: Mapping[str, Any], charge: Charge
) -> tuple[str, Charge, None, list[tuple[str, int]]]:
    greatest = cost.greatest(variables, _NAMED)
    name, records = greatest[0]
    message = (
        f"The operation asks for {charge.requested:,} records; at most {charge.limit:,} are allowed at once. "
        f"`{name}` alone asks for {records:,}. Ask for smaller pages (`first`), for fewer lists within lists, or for "
        "fewer fields at once, page after page."
    )
    return message, charge, None, greatest


def _used_up(what: str, charge: Charge, wait: int, caller: str) -> CostExceeded:
    remaining = 0 if charge.budget is None else charge.budget.remaining
    kind = caller.partition(" ")[0]
    message = (
        f"{what}, and {remaining:,} are left of the budget of this {kind}. Nothing was executed. "
        f"Try again in {wait} s, or ask for smaller pages, less often: shards as they are now cost nothing."
    )
    return CostExceeded(message, charge, wait)
