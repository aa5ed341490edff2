"""What operators do to the namespace `orders`, and two desks to do it at: GraphQL, and the command line.

At either desk the same tasks end the same way: done, or refused with the same message.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, Protocol, TypeAlias

import httpx2

from graph.cli.errors import Exit
from graph.operations import operation
from persistence.codec.json_documents import write_policy
from persistence.model.policy import NamespacePolicy
from persistence.model.records import ChangeKind
from persistence.planning.proposal import document_id
from tests.support.command_line import omnirelay, started
from tests.support.secret_file import write_secret

NAMESPACE: Final = "orders"
STRATEGY: Final = "ring"
MANY: Final = 1_000
"""More moves than any wave makes: what ends a wave here is the budget."""

Json: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Because:
    """Under which ticket; `forced` is why past the rules, null where they shall hold."""

    ticket: str | None
    forced: str | None = None
    reason: ClassVar = "all in a day's work"


@dataclass(frozen=True)
class Configure:
    policy: NamespacePolicy
    expected_version: int
    kind: ClassVar = ChangeKind.CONFIGURE_NAMESPACE


@dataclass(frozen=True)
class Edit:
    """Gives a shard another capacity, which moves nothing."""

    shard_id: str
    expected_version: int
    capacity: float
    kind: ClassVar = ChangeKind.UPDATE_SHARDS


@dataclass(frozen=True)
class MakePlan:
    kind: ClassVar = ChangeKind.PLAN_REBALANCE


@dataclass(frozen=True)
class RollBack:
    """A plan that takes back what was done under a ticket."""

    ticket: str
    kind: ClassVar = ChangeKind.ROLLBACK_CHANGE


@dataclass(frozen=True)
class Approve:
    plan_id: str
    kind: ClassVar = ChangeKind.APPROVE_PLAN


@dataclass(frozen=True)
class ApplyOneWave:
    plan_id: str
    kind: ClassVar = ChangeKind.APPLY_PLAN


@dataclass(frozen=True)
class ApplyTheRest:
    """Wave after wave, until the plan is applied."""

    plan_id: str
    resume: bool = False
    kind: ClassVar = ChangeKind.APPLY_PLAN


@dataclass(frozen=True)
class Stop:
    plan_id: str
    kind: ClassVar = ChangeKind.STOP_PLAN


Task: TypeAlias = Configure | Edit | MakePlan | RollBack | Approve | ApplyOneWave | ApplyTheRest | Stop


@dataclass
class Refused(Exception):
    """`forbidden`: by the token's scopes, not by the store's rules."""

    message: str
    forbidden: bool


class Desk(Protocol):
    def do(self, who: str, task: Task, why: Because) -> Sequence[Json]:
        """What was done: a document a change. That of a plan that was made is its proposal, with its `id`.

        Raises Refused.
        """
        ...


class GraphQLDesk:
    """Operations of frontend-queries, sent over HTTP. `tokens` are by name."""

    def __init__(self, url: str, http: httpx2.Client, tokens: dict[str, str]) -> None:
        self._url = url
        self._http = http
        self._tokens = tokens

    def do(self, who: str, task: Task, why: Because) -> Sequence[Json]:  # noqa: PLR0911 - one for each task
        match task:
            case Configure(policy, version):
                given: Json = {"name": NAMESPACE, "strategy": STRATEGY, "policy": write_policy(policy)}
                return [self.change(who, "ConfigureNamespace", why, expectedVersion=str(version), **given)]
            case Edit(shard, version, capacity):
                given = {"namespace": NAMESPACE, "shardId": shard, "capacityHint": capacity}
                return [self.change(who, "UpdateShard", why, expectedVersion=str(version), **given)]
            case MakePlan():
                made = self.change(who, "PlanRebalance", why, namespaces=[NAMESPACE])
                return [planned(made["plan"]["proposal"]["document"])]
            case RollBack(ticket):
                made = self.change(who, "RollbackChange", why, changeTicket=ticket)
                return [planned(made["plan"]["proposal"]["document"])]
            case Approve(plan):
                return [self.change(who, "ApprovePlan", why, planId=plan)]
            case ApplyOneWave(plan):
                return [self.change(who, "ApplyPlan", why, planId=plan, maxMoves=MANY)]
            case ApplyTheRest(plan, resume):
                waves = [self.change(who, "ApplyPlan", why, planId=plan, maxMoves=MANY, resume=resume)]
                while waves[-1]["plan"]["status"] != "APPLIED":
                    waves.append(self.change(who, "ApplyPlan", why, planId=plan, maxMoves=MANY))
                return waves
            case Stop(plan):
                return [self.change(who, "StopPlan", why, planId=plan)]

    def change(self, who: str, name: str, why: Because, /, **given: Any) -> Json:
        """Any mutation. Raises Refused."""
        force = None if why.forced is None else {"reason": why.forced}
        change = {"reason": why.reason, "changeTicket": why.ticket, "force": force}
        answer = self.ask(who, name, input={**given, "change": change})
        if "message" in answer:
            raise Refused(answer["message"], forbidden=False)
        return answer

    def ask(self, who: str, name: str, /, **variables: Any) -> Json:
        """The one field of any operation. Raises Refused."""
        (field,) = self.page(who, name, **variables).values()
        found: Json = field
        return found

    def page(self, who: str, name: str, /, **variables: Any) -> Json:
        """All fields of any operation. Raises Refused."""
        headers = {"authorization": f"Bearer {self._tokens[who]}"}
        request = {"query": operation(name), "variables": variables}
        answer = self._http.post(f"{self._url}/graphql", json=request, headers=headers).json()
        for error in answer.get("errors", ()):
            assert error["extensions"]["code"] == "FORBIDDEN", error
            raise Refused(error["message"], forbidden=True)
        data: Json = answer["data"]
        return data


class CommandLineDesk:
    """Commands as they are typed, with `--json`. Tokens and settings are files in `folder`."""

    def __init__(self, url: str, folder: Path, tokens: dict[str, str]) -> None:
        self._url = url
        self._folder = folder
        for who, shown in tokens.items():
            write_secret(folder / f"{who}.token", shown)

    def do(self, who: str, task: Task, why: Because) -> Sequence[Json]:
        words = [*self._words(task), *self._options(who, why)]
        if isinstance(task, ApplyOneWave):
            return [_until_interrupted(words)]
        answer = omnirelay(*words)
        if answer.exit in (Exit.REFUSED, Exit.DENIED):
            raise Refused(answer.err, forbidden=answer.exit == Exit.DENIED)
        assert answer.exit == Exit.OK, answer
        if isinstance(task, MakePlan | RollBack):
            return [planned(answer.out.rstrip("\n"))]
        return answer.documents

    def _words(self, task: Task) -> Sequence[object]:  # noqa: PLR0911 - same
        match task:
            case Configure(policy, _):  # the command expects the version that it finds
                file = self._folder / "namespaces.toml"
                file.write_text(_declaration(policy))
                return "mesh", "namespaces", "apply", file
            case Edit(shard, version, capacity):
                edit = "--expected-version", version, "--capacity", capacity
                return "mesh", "shards", "set", NAMESPACE, shard, *edit
            case MakePlan():
                return "mesh", "rebalance", "plan", "--namespace", NAMESPACE
            case RollBack(ticket):
                return "mesh", "rebalance", "rollback", "--of-ticket", ticket
            case Approve(plan):
                return "mesh", "rebalance", "approve", plan
            case ApplyOneWave(plan):
                return "mesh", "rebalance", "apply", plan, "--wave-size", MANY, "--pause", 600
            case ApplyTheRest(plan, resume):
                return "mesh", "rebalance", "apply", plan, "--wave-size", MANY, *(("--resume",) if resume else ())
            case Stop(plan):
                return "mesh", "rebalance", "stop", plan

    def _options(self, who: str, why: Because) -> Sequence[object]:
        ticket = () if why.ticket is None else ("--ticket", why.ticket)
        forced = () if why.forced is None else ("--force-reason", why.forced)
        shown = "--server", self._url, "--token-file", self._folder / f"{who}.token", "--json"
        return "--reason", why.reason, *ticket, *forced, *shown


def planned(document: str) -> Json:
    """A plan's document, read, with the id that it is known by."""
    return {**json.loads(document), "id": document_id(document)}


def _until_interrupted(words: Sequence[object]) -> Json:
    """The first wave. The operator who applies it presses Ctrl-C in the pause after it."""
    with started(*words) as applying:
        wave: Json = json.loads(applying.line())
        applying.send(signal.SIGINT)
        left = applying.finish()
    assert left.exit == Exit.INTERRUPTED, left
    assert json.loads(left.out)["error"]["code"] == "INTERRUPTED", left
    return wave


def _declaration(policy: NamespacePolicy) -> str:
    """The namespace in the words of a settings file."""
    document = write_policy(policy)
    freezes = document.pop("freezes")
    rules = [f"{name} = {json.dumps(value)}" for name, value in document.items() if value is not None]
    frozen = [
        f"[[namespaces.{NAMESPACE}.policy.freezes]]\n"
        f"begins = {freeze['begins']}\nends = {freeze['ends']}\nreason = {json.dumps(freeze['reason'])}"
        for freeze in freezes
    ]
    lines = f"[namespaces.{NAMESPACE}]", f'strategy = "{STRATEGY}"', f"[namespaces.{NAMESPACE}.policy]", *rules, *frozen
    return "\n".join(lines)
