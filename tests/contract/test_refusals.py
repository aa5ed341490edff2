"""What is refused is stored: the actor, the request and the answer, in a chain of its own."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

import pytest

from persistence.codec import hash_chain as audit
from persistence.commands.command import ChangeRequest, request_digest
from persistence.commands.refusals import BURST, MAX_DOCUMENT, RefusalWrite, TokenBucket
from persistence.commands.shards import CreateShards, UpdateShards
from persistence.errors import InvalidArgument, StoreUnavailable
from persistence.model.fields import canonical_json
from persistence.model.outcomes import IdempotencyKeyReused, NotFound, VersionConflict
from persistence.model.paging import Page, PageRequest
from persistence.model.queries import RefusalFilter
from persistence.model.records import ChangeKind, Refusal
from persistence.ports.writes import Refusals
from persistence.service.executor import CommandExecutor
from tests.support.mesh import BILLING, CHANGE, COUNTED, SEARCH, because, everything, new, patch
from tests.support.planned_mesh import PlannedMesh


async def kept(mesh: PlannedMesh, where: RefusalFilter | None = None) -> list[Refusal]:
    """Oldest first."""

    async def fetch(request: PageRequest[int]) -> Page[Refusal]:
        return await mesh.store.refusals.page(where or RefusalFilter(), request, newest_first=False)

    return await everything(fetch, lambda refusal: refusal.id)


async def refuse(mesh: PlannedMesh, change: ChangeRequest = CHANGE, namespace: str = BILLING) -> None:
    outcome = await mesh.execute(CreateShards([new("s1", namespace=namespace)], change))
    assert isinstance(outcome, NotFound | VersionConflict), outcome


async def test_a_refusal_says_who_asked_for_what_and_what_the_answer_was(mesh: PlannedMesh) -> None:
    shard = await mesh.created("s1")
    await mesh.updated(shard, owner_node_id="node-b")
    why = because("hot shard", actor="alice", change_ticket="CHG-7")
    outcome = await mesh.execute(UpdateShards([patch(shard, owner_node_id="node-c")], why))
    assert isinstance(outcome, VersionConflict)
    (refusal,) = await kept(mesh)
    assert (refusal.id, refusal.kind, refusal.outcome) == (1, ChangeKind.UPDATE_SHARDS, "VersionConflict")
    assert (refusal.actor, refusal.reason, refusal.change_ticket) == ("alice", "hot shard", "CHG-7")
    assert (refusal.namespaces, refusal.left_out) == ((BILLING,), 0)
    asked = {"namespace": BILLING, "shardId": "s1", "expectedVersion": 1, "ownerNodeId": "node-c"}
    assert refusal.request["shards"] == [asked]
    (stale,) = refusal.details["stale"]
    assert (stale["expected"], stale["actual"], stale["key"]["shardId"]) == (1, 2, "s1")


async def test_a_refusal_writes_no_change_and_takes_no_revision(mesh: PlannedMesh) -> None:
    before = await mesh.everything_kept()
    await refuse(mesh, namespace="nowhere")
    assert await mesh.everything_kept() == before
    assert len(await kept(mesh)) == 1


async def test_what_is_carried_out_or_malformed_is_not_a_refusal(mesh: PlannedMesh) -> None:
    await mesh.plan_to_rescue(1)
    await mesh.plan()
    with pytest.raises(InvalidArgument):
        await mesh.create(new("not an identifier"))
    assert await kept(mesh) == []


async def test_a_plan_that_was_refused_names_its_namespaces(mesh: PlannedMesh) -> None:
    plan = (await mesh.plan_to_rescue(2)).plan
    await mesh.mark("node-a", zone="eu-2")
    await mesh.ask_to_apply(plan)
    await mesh.ask_to_apply(replace(plan, id="f" * 32))
    stale, missing = await kept(mesh)
    assert (stale.kind, stale.outcome, stale.namespaces) == (ChangeKind.APPLY_PLAN, "StalePlan", (BILLING,))
    assert (stale.details["nodeIds"], stale.details["plan"]) == (["node-a"], {"id": plan.id, "status": "PROPOSED"})
    assert stale.details["nodeConflicts"] == [{"name": "node-a", "expected": 1, "actual": 2}]
    assert (missing.outcome, missing.details["plans"], missing.namespaces) == ("NotFound", ["f" * 32], ())


async def test_a_key_that_was_used_for_another_request_is_a_refusal(mesh: PlannedMesh) -> None:
    key = because("import", idempotency_key="k1")
    await mesh.create(new("s1"), change=key)
    assert isinstance(await mesh.execute(CreateShards([new("s2")], key)), IdempotencyKeyReused)
    (refusal,) = await kept(mesh)
    assert (refusal.outcome, refusal.details["key"]) == ("IdempotencyKeyReused", "k1")


async def test_however_large_a_request_is_what_is_kept_of_it_is_bounded(mesh: PlannedMesh) -> None:
    many = [new(f"s{number:04}", namespace="nowhere") for number in range(2_000)]
    await mesh.execute(CreateShards(many, CHANGE))
    wide = [
        new(f"{number:0128}", "o" * 128, namespace="n" * 128, leader_id="l" * 128, locality_hint="z" * 128)
        for number in range(10)
    ]
    await mesh.execute(CreateShards(wide, CHANGE))
    first, second = await kept(mesh)
    assert (len(first.request["shards"]), first.request["shardsCount"]) == (10, 2_000)
    assert second.request["omittedCharacters"] > MAX_DOCUMENT
    assert all(len(canonical_json(each.request)) <= MAX_DOCUMENT for each in (first, second))


async def test_the_chain_of_refusals_follows_also_under_concurrent_writers(mesh: PlannedMesh) -> None:
    await asyncio.gather(*(refuse(mesh, because(f"try {number}"), "nowhere") for number in range(12)))
    link = audit.GENESIS
    for number, refusal in enumerate(await kept(mesh), 1):
        content = written(refusal).content_digest
        link = audit.refusal_hash(link, number, refusal.refused_at, content)
        assert (refusal.id, refusal.hash) == (number, link.hex())


def written(refusal: Refusal) -> RefusalWrite:
    """What was to be kept, from what is: the request's digest is all that is not shown."""
    command = CreateShards([new("s1", namespace="nowhere")], because(refusal.reason))
    return RefusalWrite(
        refusal.kind,
        refusal.actor,
        refusal.reason,
        refusal.change_ticket,
        refusal.namespaces,
        refusal.outcome,
        request_digest(command),
        canonical_json(refusal.request),
        canonical_json(refusal.details),
        refusal.left_out,
    )


async def test_refusals_are_found_by_namespace_actor_ticket_and_time(mesh: PlannedMesh) -> None:
    await refuse(mesh, because("one", actor="alice", change_ticket="CHG-1"), "nowhere")
    await refuse(mesh, because("two", actor="bob"), SEARCH)
    first, second = await kept(mesh)
    for where, found in (
        (RefusalFilter(namespace="nowhere"), [first]),
        (RefusalFilter(actor="bob"), [second]),
        (RefusalFilter(change_ticket="CHG-1"), [first]),
        (RefusalFilter(since=second.refused_at), [second]),
        (RefusalFilter(until=second.refused_at), [first]),
        (RefusalFilter(actor="alice", namespace=SEARCH), []),
    ):
        assert await kept(mesh, where) == found
        assert (await mesh.store.refusals.page(where, COUNTED, newest_first=True)).total == len(found)
    page = await mesh.store.refusals.page(RefusalFilter(), PageRequest(1), newest_first=True)
    assert (list(page.items), page.has_next) == ([second], True)


class Broken:
    """Refusals that cannot be kept."""

    def __init__(self, refusals: Refusals) -> None:
        self.page = refusals.page

    async def append(self, refusal: RefusalWrite) -> Refusal:
        raise StoreUnavailable(f"no room for {refusal.outcome}")


async def test_a_refusal_that_cannot_be_kept_is_still_the_answer(
    mesh: PlannedMesh, caplog: pytest.LogCaptureFixture
) -> None:
    writer = CommandExecutor(mesh.store.unit_of_work, refusals=Broken(mesh.store.refusals))
    with caplog.at_level(logging.ERROR):
        outcome = await writer.execute(CreateShards([new("s1", namespace="nowhere")], CHANGE))
    assert isinstance(outcome, NotFound)
    assert "a refusal (NotFound) was not stored in the audit log" in caplog.text


def test_a_loop_of_refusals_is_kept_in_bounds_and_what_is_left_out_is_counted() -> None:
    now = 0.0
    bucket = TokenBucket(lambda: now)
    assert [bucket.take() for _ in range(BURST)] == [0] * BURST
    assert [bucket.take() for _ in range(3)] == [None] * 3
    now = 1.5
    assert (bucket.take(), bucket.take()) == (3, None)
    now = 2.5
    assert (bucket.take(), bucket.take()) == (1, None)
