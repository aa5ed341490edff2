/** The newest changes, each once, with the shards that were seen of it: what the ticker shows. At most 5,000 diffs. */
import type { FollowMeshSubscription, WatchChangesSubscription } from "@omnirelay/mesh-queries/trusted";

import type { MeshDiff } from "./mesh.js";

/** Of a page of the audit log as well. */
type ListedChange = WatchChangesSubscription["changes"]["changes"][number];
type DiffChange = FollowMeshSubscription["shardDiffs"]["diffs"][number]["change"];

export interface ChangeRow {
  readonly id: string;
  readonly kind: ListedChange["kind"];
  readonly actor: string;
  readonly reason: string;
  readonly ticket: string | null;
  readonly forced: string | null;
  readonly committedAt: string;
  readonly planId: string | null;
  /** Null for a change of no shard. */
  revision: string | null;
  /** How many shards it changed, of which `diffs` has those that were seen. */
  shardCount: number;
  readonly diffs: MeshDiff[];
  /** Of a change of a node or a namespace, its name. */
  readonly subject: string | null;
  namespaces: readonly string[];
}

const MOST_DIFFS = 5_000;
const MOST_CHANGES = 5_000;

export class ChangeLog {
  /** The newest last. Another array after each change. */
  rows: readonly ChangeRow[] = [];
  readonly #byId = new Map<string, ChangeRow>();
  readonly #listeners = new Set<() => void>();
  #diffs = 0;
  #published: readonly ChangeRow[] = [];
  #isDirty = false;

  addDiffs(diffs: readonly MeshDiff[]): void {
    const added: ChangeRow[] = [];
    for (const diff of diffs) {
      let row = this.#byId.get(diff.change.id);
      if (row === undefined) {
        row = ofDiff(diff.change);
        this.#byId.set(row.id, row);
        added.push(row);
      }
      if (row.diffs.at(-1)?.revision === diff.revision) continue;
      row.diffs.push(diff);
      row.revision = diff.revision;
      row.shardCount = Math.max(row.shardCount, row.diffs.length);
      if (!row.namespaces.includes(diff.namespace)) row.namespaces = [...row.namespaces, diff.namespace];
      this.#diffs += 1;
    }
    if (diffs.length > 0) this.#insert(added);
  }

  /** A page of the audit log, in any order. What is there already stays. Returns how many were new. */
  addListed(changes: readonly ListedChange[]): number {
    const added: ChangeRow[] = [];
    for (const change of changes) {
      if (this.#byId.has(change.id)) continue;
      const row = ofListed(change);
      this.#byId.set(row.id, row);
      added.push(row);
    }
    if (added.length > 0) this.#insert(added);
    return added.length;
  }

  /** Rows of history: what they say of changes of one shard that were listed without it. */
  complete(rows: readonly MeshDiff[]): void {
    for (const diff of rows) {
      if (!this.isUnnamed(diff.change.id)) continue;
      this.#byId.get(diff.change.id)?.diffs.push(diff);
      this.#diffs += 1;
      this.#isDirty = true;
    }
    if (this.#isDirty) this.rows = [...this.rows];
  }

  /** Whether it is a change of one shard, and not known of which. */
  isUnnamed(changeId: string): boolean {
    const row = this.#byId.get(changeId);
    return row?.shardCount === 1 && row.diffs.length === 0;
  }

  clear(): void {
    this.rows = [];
    this.#byId.clear();
    this.#diffs = 0;
    this.#isDirty = true;
  }

  publish(): void {
    if (!this.#isDirty) return;
    this.#isDirty = false;
    this.#published = this.rows;
    for (const listener of this.#listeners) listener();
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  readonly snapshot = (): readonly ChangeRow[] => this.#published;

  #insert(added: ChangeRow[]): void {
    const rows = [...this.rows, ...added];
    // What comes live is in order and the newest; what is listed comes backwards and may lie in between.
    let isSorted = true;
    for (let index = Math.max(1, this.rows.length); index < rows.length && isSorted; index += 1) {
      isSorted = (rows[index - 1] as ChangeRow).committedAt <= (rows[index] as ChangeRow).committedAt;
    }
    if (!isSorted) rows.sort((left, right) => (left.committedAt < right.committedAt ? -1 : left.committedAt > right.committedAt ? 1 : 0));
    let first = 0;
    while (rows.length - first > 1 && (this.#diffs > MOST_DIFFS || rows.length - first > MOST_CHANGES)) {
      const oldest = rows[first] as ChangeRow;
      this.#diffs -= oldest.diffs.length;
      this.#byId.delete(oldest.id);
      first += 1;
    }
    this.rows = first > 0 ? rows.slice(first) : rows;
    this.#isDirty = true;
  }
}

function ofDiff(change: DiffChange): ChangeRow {
  return {
    id: change.id,
    kind: change.kind,
    actor: change.actor,
    reason: change.reason,
    ticket: change.changeTicket,
    forced: change.forced,
    committedAt: change.committedAt,
    planId: change.rebalance?.planId ?? null,
    revision: null,
    shardCount: change.shardCount,
    diffs: [],
    subject: null,
    namespaces: [],
  };
}

function ofListed(change: ListedChange): ChangeRow {
  return {
    id: change.id,
    kind: change.kind,
    actor: change.actor,
    reason: change.reason,
    ticket: change.changeTicket,
    forced: change.forced,
    committedAt: change.committedAt,
    planId: change.rebalance?.planId ?? null,
    revision: change.lastRevision,
    shardCount: change.shardCount,
    diffs: [],
    subject: change.configuration?.nodeId ?? change.configuration?.namespace ?? null,
    namespaces: change.namespaces,
  };
}
