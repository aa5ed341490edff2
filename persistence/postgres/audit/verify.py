"""Verifying a database: its two chains, and the tables that must follow from them. Changes nothing."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeAlias

from persistence.audit.chain import ChainPosition, RefusalVerifier
from persistence.audit.checkpoints import Checkpoint, Verdict
from persistence.audit.entries import Findings, Table, span
from persistence.codec import hash_chain
from persistence.postgres.audit.boundaries import Boundaries
from persistence.postgres.audit.current_state import CurrentState, verify_tables
from persistence.postgres.audit.reader import AuditReader, Heads, Mark, open_reader, with_current_heads
from persistence.postgres.audit.segments import Segment, SegmentVerdict, cut, verify_in_process, verify_segment

Progress: TypeAlias = Callable[[int, int], None]

Task: TypeAlias = Callable[[], Awaitable[None]]

MAX_PROCESSES: Final = 8

WORTH_PROCESSES: Final = 3
"""From so many segments on, starting processes takes less time than it saves."""


async def verify(
    url: str,
    since: Checkpoint | None = None,
    checkpoint: Checkpoint | None = None,
    *,
    processes: int | None = None,
    progress: Progress = lambda _done, _total: None,
) -> Verdict:
    """All of it, or what came after `since`, which was verified before. `checkpoint` must be in the chains.

    In so many processes, by default one for each processor, at most 8. `progress` is called with rows done and in all.
    What was committed up to the beginning is verified, and while it is, commits and compactions go on. Raises
    StoreError; StaleHeads if there are too many compactions.
    """
    count = min(processes or os.cpu_count() or 1, MAX_PROCESSES)
    async with open_reader(url) as reader:
        parallel = ParallelVerifier(url, reader, count) if count > 1 else None
        return await with_current_heads(partial(verify_on, reader, since, checkpoint, parallel, progress))


async def verify_on(
    reader: AuditReader,
    since: Checkpoint | None = None,
    checkpoint: Checkpoint | None = None,
    parallel: ParallelVerifier | None = None,
    progress: Progress = lambda _done, _total: None,
) -> Verdict:
    """`verify` on a reader's connection; without `parallel` in this process. Raises StaleHeads."""
    start = since or Checkpoint()
    heads = await reader.heads()
    if heads is None:
        verdict = Verdict(start)
        verdict.findings.add(Table.HEAD, 1, "the row of stream_head or of refusal_head is not there")
        return verdict
    verdict = Verdict(heads.end)
    for earlier in (since, checkpoint):
        if earlier is not None:
            await _verify_checkpoint(reader, earlier, verdict.findings)
    if since is not None and verdict.findings.count:
        return verdict
    for table in (Table.CHANGES, Table.REFUSALS):
        for number in await reader.below_one(table):
            verdict.findings.add(table, number, "stands before the first there can be: it was put in", "id")
    floor = _verify_floor(heads, verdict.findings)
    chain = _Chain(start.change, Boundaries(start.change.revision))
    segments = await cut(reader, start.change, heads.end.change, floor.revision, heads.newest)
    current = CurrentState()
    tables = partial(verify_tables, reader, heads, current)
    async for segment in _verdicts(reader, heads.mark, segments, parallel, tables):
        chain.add(segment)
        verdict.findings.extend(segment.findings.listed, segment.findings.count)
        verdict.changes += segment.changes
        verdict.rows += segment.rows
        progress(verdict.rows, heads.end.change.revision - start.change.revision)
    await chain.boundaries.verify(reader, heads.mark, verdict.findings)
    if start.change.revision < floor.revision:
        _verify_retained(floor, chain.retained_rows, verdict.findings)
    _verify_head(heads, chain.end, await _last_time(reader, heads), verdict.findings)
    await _verify_refusals(reader, start, heads, verdict)
    found = current.compare(chain.boundaries.newest, chain.namespaces)
    verdict.findings.extend(found.listed, found.count)
    await reader.require_current(heads.mark)
    return verdict


@dataclass
class _Chain:
    """The verdicts of the segments, joined in order."""

    end: ChainPosition
    boundaries: Boundaries
    namespaces: dict[str, int] = field(default_factory=dict)
    retained_rows: list[bytes] = field(default_factory=list)

    def add(self, segment: SegmentVerdict) -> None:
        self.end = segment.end
        self.boundaries.add(segment)
        self.namespaces.update(segment.namespaces)
        self.retained_rows += segment.retained


@dataclass(frozen=True, slots=True)
class _Floor:
    """The newest revision up to which rows were compacted away, by which change, and the digest of rows retained."""

    revision: int = 0
    change_id: int = 0
    retained_digest: str = ""


def _verify_floor(heads: Heads, findings: Findings) -> _Floor:
    floor = _Floor()
    if heads.compaction is not None:
        change_id, details = heads.compaction
        try:
            document = json.loads(details)
            floor = _Floor(int(document["floor"]), change_id, document["keptDigest"])
        except (KeyError, TypeError, ValueError):
            findings.add(Table.CHANGES, change_id, "says nothing of what it compacted", "configuration")
    if heads.floor != floor.revision:
        problem = f"says {heads.floor}, the last compaction {floor.revision}"
        findings.add(Table.HEAD, "floor", problem, "floor")
    return floor


def _verify_retained(floor: _Floor, retained: Sequence[bytes], findings: Findings) -> None:
    if hash_chain.compacted_digest(retained).hex() != floor.retained_digest:
        problem = f"rows are not those that the compaction kept (change {floor.change_id})"
        findings.add(Table.HISTORY, span(1, floor.revision), problem, "previous", "current")


async def _verify_checkpoint(reader: AuditReader, checkpoint: Checkpoint, findings: Findings) -> None:
    """What was there must still be there: a database that was cut off, or written anew, is consistent in itself."""
    position = checkpoint.change
    if position.change_id:
        change = await reader.change(position.change_id)
        if change is None:
            problem = f"change {position.change_id} is not there any more: the chain was cut off before it"
            findings.add(Table.CHECKPOINT, f"change {position.change_id}", problem)
        elif change.hash != position.hash:
            problem = f"change {position.change_id} has another hash: it, or changes before it, were written anew"
            findings.add(Table.CHECKPOINT, f"change {position.change_id}", problem, "hash")
    if checkpoint.refusal_id:
        link = await reader.connection.fetchval("SELECT hash FROM refusals WHERE id = $1", checkpoint.refusal_id)
        if link != checkpoint.refusal_hash:
            missing = "is not there any more" if link is None else "has another hash"
            problem = f"refusal {checkpoint.refusal_id} {missing}: the chain was cut off or written anew"
            findings.add(Table.CHECKPOINT, f"refusal {checkpoint.refusal_id}", problem, "hash")


@dataclass(frozen=True, slots=True)
class ParallelVerifier:
    """Verifies segments in so many processes, this one among them, each on a connection of its own."""

    url: str
    reader: AuditReader
    processes: int

    async def verdicts(self, mark: Mark, segments: Sequence[Segment], first: Task) -> AsyncIterator[SegmentVerdict]:
        """In the segments' order. This process begins with the task `first`, while the others start."""
        loop = asyncio.get_running_loop()
        # Removed as they are yielded: the states of a segment's shards come to megabytes.
        verdicts: dict[int, asyncio.Future[SegmentVerdict]] = {
            number: loop.create_future() for number in range(len(segments))
        }
        pending = deque(enumerate(segments))

        async def work(verify: Callable[[Segment], Awaitable[SegmentVerdict]], first: Task | None = None) -> None:
            if first is not None:
                await first()
            while pending:
                number, segment = pending.popleft()
                verdicts[number].set_result(await verify(segment))

        # Spawned: a fork would copy this process's connection. Each is given its next segment when it has finished the
        # one before; a pool's own queue would hold several for a process that has not started yet.
        with ProcessPoolExecutor(self.processes - 1, multiprocessing.get_context("spawn")) as pool:

            async def in_pool(segment: Segment) -> SegmentVerdict:
                return await loop.run_in_executor(pool, verify_in_process, self.url, mark, segment)

            try:
                async with asyncio.TaskGroup() as workers:
                    workers.create_task(work(partial(verify_segment, self.reader, mark), first))
                    for _ in range(self.processes - 1):
                        workers.create_task(work(in_pool))
                    for number in range(len(segments)):
                        yield await verdicts[number]
                        del verdicts[number]
            except ExceptionGroup as failures:
                raise failures.exceptions[0] from failures


async def _verdicts(
    reader: AuditReader, mark: Mark, segments: Sequence[Segment], parallel: ParallelVerifier | None, first: Task
) -> AsyncIterator[SegmentVerdict]:
    if parallel is None or len(segments) < WORTH_PROCESSES:
        await first()
        for segment in segments:
            yield await verify_segment(reader, mark, segment)
        return
    async for verdict in parallel.verdicts(mark, segments, first):
        yield verdict


async def _last_time(reader: AuditReader, heads: Heads) -> object:
    """When the newest change was committed that there was; null if there was none."""
    change = await reader.change(heads.newest.change_id)
    return None if change is None else change.committed_at


def _verify_head(heads: Heads, end: ChainPosition, last_time: object, findings: Findings) -> None:
    head = heads.end.change
    for column, stored, last in (
        ("change_id", head.change_id, end.change_id),
        ("revision", head.revision, end.revision),
        ("hash", head.hash.hex(), end.hash.hex()),
        ("committed_at", heads.committed_at, last_time or heads.committed_at),
    ):
        if stored != last:
            findings.add(Table.HEAD, column, f"says {stored}, the last change there is says {last}", column)


async def _verify_refusals(reader: AuditReader, start: Checkpoint, heads: Heads, verdict: Verdict) -> None:
    verifier = RefusalVerifier(start.refusal_id, start.refusal_hash)
    last_time = None
    async for refusal in reader.refusals(start.refusal_id, heads.newest.refusal_id):
        verifier.add(refusal)
        last_time = refusal.refused_at
    verifier.finish(heads.end.refusal_hash)
    for column, stored, last in (
        ("refusal_id", heads.end.refusal_id, verifier.refusal_id),
        ("hash", heads.end.refusal_hash.hex(), verifier.hash.hex()),
        ("refused_at", heads.refused_at, last_time or heads.refused_at),
    ):
        if stored != last:
            verifier.findings.add(Table.REFUSAL_HEAD, column, f"says {stored}, the last refusal says {last}", column)
    verdict.refusals = verifier.refusals
    verdict.findings.extend(verifier.findings.listed, verifier.findings.count)
