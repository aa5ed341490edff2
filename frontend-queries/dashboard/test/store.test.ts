import { expect, test } from "vitest";

import { matches, rowsOf } from "../src/pages/live/rows.js";
import { ChangeLog } from "../src/store/changes.js";
import { MeshStore, NONE, totalsOf } from "../src/store/mesh.js";
import type { MeshDiff } from "../src/store/mesh.js";

const shard = (shardId: string, ownerNodeId: string, revision: number, more: object = {}): any => ({
  namespace: "orders",
  shardId,
  ownerNodeId,
  capacityHint: 2,
  status: "ACTIVE",
  pinned: null,
  revision: String(revision),
  ...more,
});

const diff = (revision: number, from: any, to: any, change = "c1", committedAt = "2026-11-29T10:00:00Z"): MeshDiff =>
  ({
    revision: String(revision),
    kind: from === null ? "CREATED" : to === null ? "DELETED" : "UPDATED",
    namespace: "orders",
    shardId: (to ?? from).shardId,
    changedFields: ["ownerNodeId"],
    moveReason: null,
    previous: from,
    current: to,
    change: { id: change, kind: "UPDATE_SHARDS", actor: "alice", reason: "hot", changeTicket: "CHG-1", committedAt, forced: null, shardCount: 1, rebalance: null },
  }) as MeshDiff;

test("a move is known with its owner before and after, and when it was", () => {
  const store = new MeshStore();
  const moves: unknown[] = [];
  store.add([shard("a", "n1", 1), shard("b", "n1", 2)]);
  store.onChange = (...move) => moves.push(move);
  store.apply([diff(3, shard("a", "n1", 1), shard("a", "n2", 3))], 50);
  const row = store.find("orders", "a")!;
  expect(moves).toEqual([[row, 0, 1]]);
  expect(store.movedAt[row]).toBe(50);
  expect(totalsOf(store).nodes.map(({ shards, load }) => [shards, load])).toEqual([[1, 2], [1, 2]]);
});

test("a record that is older than what is there is not taken", () => {
  const store = new MeshStore();
  store.add([shard("a", "n2", 5)]);
  store.apply([diff(3, shard("a", "n1", 1), shard("a", "n1", 3))], 1);
  expect(store.nodeNames.list[store.owner[store.find("orders", "a")!]!]).toBe("n2");
});

test("a deleted shard frees its row for the next", () => {
  const store = new MeshStore();
  store.add([shard("a", "n1", 1), shard("b", "n1", 2)]);
  const row = store.find("orders", "a")!;
  store.apply([diff(3, shard("a", "n1", 1), null)], 1);
  expect(store.size).toBe(1);
  expect(store.owner[row]).toBe(NONE);
  store.apply([diff(4, null, shard("c", "n1", 4))], 1);
  expect(store.find("orders", "c")).toBe(row);
  expect(totalsOf(store).shards).toBe(2);
});

test("more shards than there were rows for are all there", () => {
  const store = new MeshStore();
  store.add(Array.from({ length: 5_000 }, (_, index) => shard(`s${index}`, `n${index % 7}`, index + 1)));
  expect(totalsOf(store).shards).toBe(5_000);
  expect(store.ids[store.find("orders", "s4999")!]).toBe("s4999");
});

test("diffs of one change are one row, each once, however often they come", () => {
  const log = new ChangeLog();
  const both = [diff(3, null, shard("a", "n1", 3)), diff(4, null, shard("b", "n1", 4))];
  log.addDiffs(both);
  log.addDiffs([both[1]!]);
  expect(log.rows).toHaveLength(1);
  expect(log.rows[0]!.diffs).toHaveLength(2);
  expect(log.rows[0]!.revision).toBe("4");
});

test("what is listed backwards is in order beside what came live", () => {
  const log = new ChangeLog();
  log.addDiffs([diff(9, null, shard("a", "n1", 9), "live", "2026-11-29T10:00:03Z")]);
  const listed = (id: string, at: string): any => ({ id, kind: "DRAIN_NODE", actor: "a", reason: "r", changeTicket: null, forced: null, committedAt: at, namespaces: [], shardCount: 0, lastRevision: null, configuration: { nodeId: "n1", namespace: null }, rebalance: null });
  log.addListed([listed("live", "2026-11-29T10:00:03Z"), listed("second", "2026-11-29T10:00:02Z"), listed("first", "2026-11-29T10:00:01Z")]);
  expect(log.rows.map(({ id }) => id)).toEqual(["first", "second", "live"]);
});

test("a change of one shard that was listed is completed by its row of history, once", () => {
  const log = new ChangeLog();
  log.addListed([{ id: "c1", kind: "UPDATE_SHARDS", actor: "a", reason: "r", changeTicket: null, forced: null, committedAt: "2026-11-29T10:00:00Z", namespaces: ["orders"], shardCount: 1, lastRevision: "4", configuration: null, rebalance: null } as any]);
  const row = diff(4, shard("a", "n1", 3), shard("a", "n2", 4));
  log.complete([row, diff(5, null, shard("b", "n1", 5), "unknown")]);
  log.complete([row]);
  log.addDiffs([row]);
  expect(log.rows.map(({ diffs }) => diffs.length)).toEqual([1]);
});

test("what is cleared may come again", () => {
  const log = new ChangeLog();
  const first = diff(9, null, shard("a", "n1", 9));
  log.addDiffs([first]);
  log.clear();
  expect(log.rows).toEqual([]);
  log.addDiffs([first]);
  expect(log.rows).toHaveLength(1);
});

test("no more than 5,000 diffs are kept, the newest", () => {
  const log = new ChangeLog();
  for (let each = 1; each <= 6_000; each += 1) log.addDiffs([diff(each, null, shard(`s${each}`, "n1", each), `c${each}`)]);
  expect(log.rows).toHaveLength(5_000);
  expect(log.rows.at(-1)!.id).toBe("c6000");
});

test("the ticker has the newest first, a row for a time without changes, and shards of what is open", () => {
  const log = new ChangeLog();
  log.addDiffs([diff(1, null, shard("a", "n1", 1), "c1", "2026-11-29T10:00:00Z")]);
  log.addDiffs([diff(2, shard("a", "n1", 1), shard("a", "n2", 2), "c2", "2026-11-29T10:12:00Z")]);
  const none = { namespace: "", node: "", actor: "", ticket: "", kind: "" };
  const of = (today: string) => rowsOf(log.rows, none, new Set(["c2"]), new Map(), (instant) => instant.slice(0, 10), today);
  expect(of("2026-11-29").map(({ type }) => type)).toEqual(["change", "shard", "gap", "change"]);
  expect(of("2026-11-30").map(({ type }) => type)).toEqual(["day", "change", "shard", "gap", "change"]);
  expect(matches(log.rows[1]!, { ...none, node: "n1" })).toBe(true);
  expect(matches(log.rows[1]!, { ...none, node: "n3" })).toBe(false);
  expect(matches(log.rows[1]!, { ...none, ticket: "chg" })).toBe(true);
});
