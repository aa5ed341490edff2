"""`omnirelay mesh nodes evacuate`: nodes out of use, their shards planned away, and the plan applied in waves.

Nothing of it is remembered here. What was done is in the store: nodes that are out of use, and the open plan that is
narrowed to them. The same command again finds both, and goes on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Unpack

import click

from graph.cli.errors import ApiClient, Exit, Failure, committed, refused
from graph.cli.nodes.selection import Selection, node_selection, selected_nodes
from graph.cli.nodes.shared import changed_node, read_node
from graph.cli.options import change_input, change_options, force_option, server_options
from graph.cli.output import format_time, listed, pluralized, print_json, print_status, printable
from graph.cli.plans import NamedPlan, read_plan
from graph.cli.progress import StopFlag, stop_after, waiting
from graph.cli.proposals import LISTED, print_violations, proposal_of, read_violation, summary
from graph.cli.rebalance.shared import how_to_approve, report_wave
from graph.cli.suggestions import WAVE, suggest_next, suggest_retry
from graph.client.address import Address
from graph.client.http import rows
from graph.client.records import Json
from persistence.model.fields import MAX_SHARDS_PER_CHANGE
from persistence.model.plans import PlanStatus
from persistence.model.policy import PolicyRule, broken_rule_message
from persistence.model.records import NodeStatus
from persistence.planning.lifecycle import OPEN
from persistence.planning.proposal import Violation
from persistence.planning.scope import PlanScope

_SECONDS: Final = 5.0

_LOOKED_AT: Final = 50
"""Open plans, the newest first, among which the one of these nodes is looked for."""

_PLANS: Final = 10
"""One after the other, none of which was begun before it fitted no more: the mesh changes faster than it is planned."""

_ENDS_BY_ITSELF: Final = frozenset(
    {PolicyRule.APPROVAL_REQUIRED, PolicyRule.FREEZE, PolicyRule.WINDOW_BUDGET, PolicyRule.SHARD_THRASH}
)
"""What is waited for: another operator, or time."""

_OUT_OF_USE: Final = frozenset({NodeStatus.DRAINING, NodeStatus.DOWN, NodeStatus.REMOVED})


@click.command("evacuate")
@node_selection
@click.option("--down", is_flag=True, help="They do not serve any more: mark them DOWN instead of draining them.")
@click.option("--dry-run", is_flag=True, help="Say what would move and what would not; write nothing.")
@click.option("--accept-blockers", is_flag=True, help="Go on although some of their shards have to stay.")
@click.option(
    "--wave-size",
    type=click.IntRange(1, MAX_SHARDS_PER_CHANGE),
    default=WAVE,
    show_default=True,
    help="Moves of a wave at most, within the namespaces' budgets; each wave is a change.",
)
@click.option(
    "--pause", type=click.FloatRange(min=0), default=0, show_default=True, help="Seconds to wait between two waves."
)
@click.option("--resume", is_flag=True, help="Go on with their plan although it was stopped.")
@click.option(
    "--wait/--no-wait",
    default=True,
    help="Wait for an approval, the end of a freeze, room in a window; or end with how to go on. By default it waits.",
)
@click.option(
    "--poll",
    type=click.FloatRange(min=0.01),
    default=_SECONDS,
    show_default=True,
    help="While it waits: seconds between two looks at whether it may go on.",
)
@change_options
@force_option
@server_options
def evacuate_nodes(
    *,
    down: bool,
    dry_run: bool,
    accept_blockers: bool,
    wave_size: int,
    pause: float,
    resume: bool,
    wait: bool,
    poll: float,
    reason: str,
    ticket: str | None,
    actor: str | None,
    force_reason: str | None,
    server: Address,
    as_json: bool,
    **selection: Unpack[Selection],
) -> Exit:
    """Move everything off nodes: drain them, plan, wait for what is in the way, apply the plan in waves.

    Run it again to go on after Ctrl-C, which breaks no wave off, or after a failure: it goes on with the open plan of
    these nodes. A plan that does not fit any more is made anew. The exit code is 1 if shards had to stay.

    With --json JSON Lines: a document a wave, as of `rebalance apply`, and one in the end: nodes and left.
    """
    with ApiClient(server) as api, stop_after("wave") as stopping:
        nodes = selected_nodes(api, selection)
        ids = [str(node["nodeId"]) for node in nodes]
        if dry_run or not (down or accept_blockers or all(_is_out_of_use(node) for node in nodes)):
            with waiting("Looking at what would move"):
                preflight = api.execute("DrainPreflight", {"nodeIds": ids})["drainPreflight"]
            if dry_run:
                return _report_preflight(preflight, as_json=as_json)
            _require_unblocked(preflight)
        change = change_input(reason, ticket, actor, force_reason)
        pace = _Pace(stopping, wave_size, pause, poll if wait else None)
        run = _Evacuation(api, server, ids, change, pace, as_json=as_json)
        try:
            run.take_out_of_use(nodes, down=down)
            left = run.vacate(resume=resume)
        except Failure as failure:
            if failure.exit is not Exit.UNAVAILABLE:
                raise
            advice = [*failure.advice, "To go on:", f"  {suggest_retry()}"]
            raise Failure(failure.exit, failure.message, advice) from failure
        return run.report(left)


def _is_out_of_use(node: Json) -> bool:
    return node["status"] in _OUT_OF_USE


def _require_unblocked(preflight: Json) -> None:
    """Raises Failure where shards would have to stay."""
    blockers = preflight["blockers"]
    if not blockers:
        return
    problems = [f"  {printable(one['message'])}" for one in blockers[:LISTED]]
    rest = [f"  and {len(blockers) - LISTED:,} more"] if len(blockers) > LISTED else []
    advice = ["To move what can be moved, and leave those where they are:", f"  {suggest_retry(accept_blockers=True)}"]
    message = f"Not all shards of {listed(preflight['nodeIds'])} can be moved:"
    as_answered = {"__typename": "DrainBlocked", "message": message, "preflight": _without_moves(preflight)}
    raise Failure(Exit.REFUSED, message, [*problems, *rest, *advice], as_answered)


def _without_moves(preflight: Json) -> Json:
    return {name: value for name, value in preflight.items() if name != "moves"}


def _report_preflight(preflight: Json, *, as_json: bool) -> Exit:
    blockers = preflight["blockers"]
    if as_json:
        print_json({"preflight": _without_moves(preflight)})
        return Exit.NO if blockers else Exit.OK
    if blockers:
        print_violations([read_violation(one) for one in blockers], everything=False)
        click.echo()
    moves = preflight["moveCount"] + preflight["remainingMoves"]
    held = f"{pluralized(preflight['shardCount'], 'shard')}, and leadership of {preflight['leaderCount']:,}"
    click.echo(f"{listed(preflight['nodeIds'])}: {held}; {pluralized(moves, 'move')} to be made.")
    return Exit.NO if blockers else Exit.OK


@dataclass(frozen=True, slots=True)
class _Pace:
    """`poll`: seconds between two looks at what is in the way; null where it is not waited for."""

    stopping: StopFlag
    wave_size: int
    pause: float
    poll: float | None


class _Evacuation:
    """Of the nodes with these ids, which are in order."""

    def __init__(
        self, api: ApiClient, server: Address, ids: list[str], change: Json, pace: _Pace, *, as_json: bool
    ) -> None:
        self._api = api
        self._server = server
        self._ids = ids
        self._change = change
        self._pace = pace
        self._as_json = as_json
        self._printed: object = None
        self._given_up: set[str] = set()

    def take_out_of_use(self, nodes: Sequence[Json], *, down: bool) -> None:
        """Those that are not yet, one after the other. What stands in the way of all of them together is known or
        accepted by now. What is moved by force is no reason to drain by force."""
        change = {name: value for name, value in self._change.items() if name != "force"}
        for node in nodes:
            node_id, version = node["nodeId"], node["version"]
            given = {"nodeId": node_id, "expectedVersion": version, "change": change}
            if down and node["status"] not in (NodeStatus.DOWN, NodeStatus.REMOVED):
                done = changed_node(self._api.change("UpdateNode", given | {"status": str(NodeStatus.DOWN)}))
            elif node["status"] not in _OUT_OF_USE:
                done = changed_node(self._api.change("TakeNodeOut", given | {"acceptBlockers": True}))
            else:
                continue
            self._print(f"{printable(node_id)} is {done['node']['status']} now, change {done['change']['id']}.")

    def vacate(self, *, resume: bool) -> Sequence[Violation]:
        """Until nothing is left there that can be moved. Why the rest cannot be; raises Failure."""
        idle = 0
        while any(map(_holds, self._nodes())):
            self._stop_if_requested()
            plan = self._open_plan()
            if plan is None:
                made = self._plan()
                if made["__typename"] == "PlacementImpossible":
                    return [read_violation(one) for one in made["violations"]]
                plan = committed(made)["plan"]
                proposal = proposal_of(plan["proposal"]["document"])
                if not proposal.moves:
                    return proposal.violations
                self._print(f"Plan {plan['id']}: {summary(proposal, 'move')}")
            else:
                done = f"{plan['movesMade']:,} of {pluralized(plan['moveCount'], 'move')} made"
                self._print(f"Plan {plan['id']} is {plan['status']}: {done}.")
            idle = 0 if self._carry_out(plan, resume=resume) else idle + 1
            resume = False
            if idle == _PLANS:
                message = f"{_PLANS} plans did not fit any more before they were begun: the mesh changes too fast."
                raise Failure(Exit.REFUSED, message, ["To go on:", f"  {suggest_retry()}"])
        return ()

    def report(self, left: Sequence[Violation]) -> Exit:
        """What is left there and why. `left` is as of `vacate`."""
        nodes = self._nodes()
        if self._as_json:
            print_json({"nodes": nodes, "left": [_violation_document(one) for one in left]})
        elif left:
            click.echo()
            print_violations(left, everything=False)
            click.echo()
        holding = [node for node in nodes if _holds(node)]
        self._print(*(_left_on(node) for node in holding))
        if holding:
            if not self._as_json:
                print_status("Once that is settled, to go on:")
                print_status(f"  {suggest_retry()}")
            return Exit.NO
        self._print(f"Nothing is left on {listed(self._ids)}.")
        draining = [node["nodeId"] for node in nodes if node["status"] == NodeStatus.DRAINING]
        if draining and not self._as_json:
            print_status("To take what is DRAINING into use again:")
            print_status(f"  {suggest_next('omnirelay mesh nodes undrain', arguments=draining)}")
        return Exit.OK

    def _print(self, *lines: str) -> None:
        for line in () if self._as_json else lines:
            click.echo(line)

    def _nodes(self) -> list[Json]:
        return [read_node(self._api, node_id) for node_id in self._ids]

    def _open_plan(self) -> Json | None:
        """The one that is narrowed to these nodes and to nothing else: first one that was begun, then the newest."""
        where = {"statuses": [str(status) for status in OPEN], "kinds": ["REBALANCE"]}
        plans = list(rows(self._api, "ListRebalancePlans", {"filter": where}, _LOOKED_AT))
        for plan in sorted(plans, key=lambda plan: not plan["movesMade"]):
            if plan["moveCount"] and plan["id"] not in self._given_up:
                found = read_plan(self._api, NamedPlan(plan["id"]))
                if proposal_of(found["proposal"]["document"]).scope == PlanScope(tuple(self._ids)):
                    return found
        return None

    def _plan(self) -> Json:
        """The answer."""
        change = {name: value for name, value in self._change.items() if name != "force"}
        with waiting("Planning"):
            given = {"vacate": list(self._ids), "change": change}
            return self._api.change("PlanRebalance", given, details=False)

    def _carry_out(self, plan: Json, *, resume: bool) -> bool:
        """Wave after wave. Whether any was made; not all are where the plan has given way to the mesh, or to another
        plan. Raises Failure."""
        made = False
        while plan["status"] != PlanStatus.APPLIED:
            refusal = self._awaited(plan, resume=resume)
            if refusal is None:
                with waiting(f"Moving shards, {plan['movesMade']:,} of {plan['moveCount']:,} moved"):
                    answer = self._api.change(
                        "ApplyPlan", self._wave(plan) | {"change": self._change, "resume": resume}
                    )
                if answer["__typename"] == "PlanApplied":
                    plan = committed(answer)["plan"]
                    report_wave(plan, answer, as_json=self._as_json)
                    made, resume = True, False
                    self._rest(plan)
                    continue
                refusal = self._awaited(plan, resume=resume, after=answer)
            if refusal is not None and _gives_way(refusal):
                print_status(f"Planning again: {printable(refusal['message'])}.")
                self._given_up.add(plan["id"])
                return made
        return made

    def _wave(self, plan: Json) -> Json:
        return {"planId": plan["id"], "maxMoves": self._pace.wave_size}

    def _rest(self, plan: Json) -> None:
        """Between two waves."""
        if plan["status"] != PlanStatus.APPLIED and self._pace.stopping.wait(self._pace.pause):
            raise _interrupted()

    def _stop_if_requested(self) -> None:
        if self._pace.stopping.is_set():
            raise _interrupted()

    def _awaited(self, plan: Json, *, resume: bool, after: Json | None = None) -> Json | None:
        """What refuses the next wave, once nothing does that ends by itself; null for nothing. Raises Failure.

        `after` is a refusal that was met already. It is looked whether a wave would be refused, so that waiting leaves
        none on record.
        """
        self._stop_if_requested()
        refusal = self._obstacle(plan, resume=resume) if after is None else after
        if refusal is None or not _ends_by_itself(refusal):
            return refusal
        if "force" in self._change:
            raise refused(refusal)  # force does not go past it, and each look would leave a refusal on record
        with waiting(f"Waiting to move shards, {plan['movesMade']:,} of {plan['moveCount']:,} moved"):
            while refusal is not None and _ends_by_itself(refusal):
                self._explain(plan, refusal)
                if self._pace.poll is None:
                    advice = ["To go on then:", f"  {suggest_retry()}"]
                    made = f"{plan['movesMade']:,} of {pluralized(plan['moveCount'], 'move')}"
                    raise Failure(Exit.REFUSED, f"Not waited for: {made} of the plan were made.", advice, refusal)
                if self._pace.stopping.wait(self._pace.poll):
                    raise _interrupted()
                try:
                    refusal = self._obstacle(plan, resume=resume)
                except Failure as failure:
                    if failure.exit is not Exit.UNAVAILABLE:
                        raise
        return refusal

    def _obstacle(self, plan: Json, *, resume: bool) -> Json | None:
        """A forced wave is refused by what it meets, if at all."""
        if "force" in self._change:
            return None
        given = {"id": plan["id"], "maxMoves": self._pace.wave_size, "resume": resume}
        ticket = self._change["changeTicket"]
        found: Json | None = self._api.execute("PlanPreflight", given | {"changeTicket": ticket})["planPreflight"]
        return found

    def _explain(self, plan: Json, refusal: Json) -> None:
        """What is waited for, once; times of now are not part of that."""
        broken = refusal["violations"]
        shown = [(one["rule"], one["namespace"], one["shardId"], one["allowed"]) for one in broken[:LISTED]]
        if shown == self._printed:
            return
        self._printed = shown
        print_status(f"Plan {plan['id']} waits:")
        for one in broken[:LISTED]:
            names = ("rule", "namespace", "shardId", "actual", "allowed", "remedy")
            print_status(f"  {printable(broken_rule_message(*(one[name] for name in names)))}")
        for name in sorted({one["namespace"] for one in broken if one["rule"] == PolicyRule.WINDOW_BUDGET}):
            found = self._api.execute("NamespaceWindow", {"name": name})["namespace"]
            if found and found["windowUse"] and (free_at := found["windowUse"]["freeAt"]):
                print_status(f"  {printable(name)} has room for the next move at {format_time(free_at)}.")
        if any(one["rule"] == PolicyRule.APPROVAL_REQUIRED for one in broken):
            print_status("\n".join(how_to_approve(plan, self._server)))


def _ends_by_itself(refusal: Json) -> bool:
    broken = refusal.get("violations", ())
    return bool(broken) and all(one["rule"] in _ENDS_BY_ITSELF for one in broken)


def _gives_way(refusal: Json) -> bool:
    """Whether another plan is to be made. Raises Failure for what another plan would not mend."""
    if refusal["__typename"] == "StalePlan":
        return True
    if refusal["__typename"] == "PlanClosed":
        status = refusal["plan"]["status"]
        if status == PlanStatus.STOPPED:
            raise refused(refusal, ["If it shall go on:", f"  {suggest_retry(resume=True)}"])
        if status != PlanStatus.REJECTED:
            return True
    raise refused(refusal)


def _interrupted() -> Failure:
    return Failure(Exit.INTERRUPTED, "Stopped between waves.", ["To go on:", f"  {suggest_retry(resume=False)}"])


def _holds(node: Json) -> bool:
    return bool(node["shardCount"] or node["leaderCount"])


def _left_on(node: Json) -> str:
    held = f"{printable(node['nodeId'])} is {node['status']} and owns {pluralized(node['shardCount'], 'shard')}"
    return f"{held}, and leads {node['leaderCount']:,}." if node["leaderCount"] else f"{held}."


def _violation_document(violation: Violation) -> Json:
    """As the API has it."""
    return {
        "code": violation.code,
        "namespace": violation.namespace,
        "shardId": violation.shard_id,
        "nodeId": violation.node_id,
        "message": violation.message,
    }
