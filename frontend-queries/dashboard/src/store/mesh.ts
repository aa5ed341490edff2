/**
 * The shards of the mesh in typed arrays, outside React: a row a shard, changed by pages of a list and by diffs.
 *
 * Rows are never moved: a deleted shard leaves a free row. Names are numbered in the order they are first seen. React is
 * told at most four times a second, what paints once a frame.
 */
import type { FollowMeshSubscription, FreezeCalendarQuery, MeshOverviewQuery, ShardOnMapFragment } from "@omnirelay/mesh-queries/trusted";

export type MeshNode = MeshOverviewQuery["nodes"]["nodes"][number];
export type MeshNamespace = MeshOverviewQuery["namespaces"]["nodes"][number];
export type MeshFreezes = FreezeCalendarQuery["namespaces"]["nodes"][number]["freezesBetween"];
export type MeshDiff = FollowMeshSubscription["shardDiffs"]["diffs"][number];
export type ShardStatus = ShardOnMapFragment["status"];

export const STATUSES: readonly ShardStatus[] = ["ACTIVE", "DRAINING", "PAUSED", "DISABLED"];

/** Of a row that is free. */
export const NONE = 0xffff;

const FIRST_ROWS = 1024;

/** Names, numbered from 0. */
class Names {
  readonly list: string[] = [];
  readonly #numbers = new Map<string, number>();

  number(name: string): number {
    let found = this.#numbers.get(name);
    if (found === undefined) {
      found = this.list.length;
      this.list.push(name);
      this.#numbers.set(name, found);
    }
    return found;
  }

  find(name: string): number | undefined {
    return this.#numbers.get(name);
  }
}

export class MeshStore {
  /** How many rows are in use or free; the arrays may be longer. */
  rows = 0;
  /** How many shards there are. */
  size = 0;
  readonly namespaceNames = new Names();
  readonly nodeNames = new Names();
  ids: string[] = [];
  namespace = new Uint16Array(FIRST_ROWS);
  owner = new Uint16Array(FIRST_ROWS);
  status = new Uint8Array(FIRST_ROWS);
  pinned = new Uint8Array(FIRST_ROWS);
  load = new Float32Array(FIRST_ROWS);
  revision = new Float64Array(FIRST_ROWS);
  /** When its owner changed while this page was open, as performance.now() has it; else 0. */
  movedAt = new Float64Array(FIRST_ROWS);

  /** By id, of all that are registered; with how they stand. */
  nodes = new Map<string, MeshNode>();
  namespaces = new Map<string, MeshNamespace>();
  /** By namespace, those of the next day. */
  freezes = new Map<string, MeshFreezes>();

  /** Counts up with each change of any shard, and with each change of nodes or namespaces. */
  changes = 0;
  frameChanges = 0;
  /** Counts up where all was read anew. */
  epoch = 0;
  /** Called with each change of a shard: its row (of a deleted one, the one it had), its owner before and after. */
  onChange: ((row: number, before: number, after: number) => void) | undefined;

  #byKey: Map<string, number>[] = [];
  #free: number[] = [];
  readonly #listeners = new Set<() => void>();

  /** Forget all shards: a list begins. */
  clear(): void {
    this.rows = 0;
    this.size = 0;
    this.ids = [];
    this.#byKey = [];
    this.#free = [];
    this.epoch += 1;
    this.changes += 1;
  }

  setOverview(nodes: readonly MeshNode[], namespaces: readonly MeshNamespace[], frozen: FreezeCalendarQuery["namespaces"]["nodes"]): void {
    this.nodes = new Map(nodes.map((node) => [node.nodeId, node]));
    this.namespaces = new Map(namespaces.map((namespace) => [namespace.name, namespace]));
    this.freezes = new Map(frozen.map(({ name, freezesBetween }) => [name, freezesBetween]));
    for (const { nodeId } of nodes) this.nodeNames.number(nodeId);
    for (const { name } of namespaces) this.namespaceNames.number(name);
    this.changes += 1;
    this.#notify();
  }

  /** A page of a list. */
  add(shards: readonly ShardOnMapFragment[]): void {
    for (const shard of shards) this.#put(shard, 0);
    this.changes += 1;
  }

  /** In the order they came; `now` is performance.now(). */
  apply(diffs: readonly MeshDiff[], now: number): void {
    for (const diff of diffs) {
      if (diff.current) this.#put(diff.current, now);
      else this.#remove(diff.namespace, diff.shardId);
    }
    if (diffs.length > 0) this.changes += 1;
  }

  find(namespace: string, shardId: string): number | undefined {
    const number = this.namespaceNames.find(namespace);
    return number === undefined ? undefined : this.#byKey[number]?.get(shardId);
  }

  /** Called by whatever feeds the store once it has done so; at most four times a second. */
  publish(): void {
    this.#notify();
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  readonly snapshot = (): number => this.frameChanges;

  #notify(): void {
    this.frameChanges = this.changes;
    for (const listener of this.#listeners) listener();
  }

  #put(shard: ShardOnMapFragment, now: number): void {
    const namespace = this.namespaceNames.number(shard.namespace);
    const owner = this.nodeNames.number(shard.ownerNodeId);
    const keys = (this.#byKey[namespace] ??= new Map());
    let row = keys.get(shard.shardId);
    const revision = Number(shard.revision);
    let before = NONE;
    if (row === undefined) {
      row = this.#free.pop() ?? this.rows++;
      if (row >= this.namespace.length) this.#grow();
      keys.set(shard.shardId, row);
      this.ids[row] = shard.shardId;
      this.namespace[row] = namespace;
      this.owner[row] = owner;
      this.movedAt[row] = now;
      this.size += 1;
    } else {
      if (revision < (this.revision[row] ?? 0)) return;
      before = this.owner[row] ?? NONE;
      if (before !== owner) {
        this.owner[row] = owner;
        this.movedAt[row] = now;
      }
    }
    this.status[row] = STATUSES.indexOf(shard.status);
    this.pinned[row] = shard.pinned ? 1 : 0;
    this.load[row] = shard.capacityHint;
    this.revision[row] = revision;
    this.onChange?.(row, before, owner);
  }

  #remove(namespace: string, shardId: string): void {
    const number = this.namespaceNames.find(namespace);
    const row = number === undefined ? undefined : this.#byKey[number]?.get(shardId);
    if (row === undefined || number === undefined) return;
    this.#byKey[number]?.delete(shardId);
    const before = this.owner[row] ?? NONE;
    this.owner[row] = NONE;
    this.size -= 1;
    this.onChange?.(row, before, NONE);
    this.#free.push(row);
  }

  #grow(): void {
    const length = this.namespace.length * 2;
    const longer = <T extends Uint8Array | Uint16Array | Float32Array | Float64Array>(from: T): T => {
      const to = new (from.constructor as new (size: number) => T)(length);
      to.set(from as never);
      return to;
    };
    this.namespace = longer(this.namespace) as typeof this.namespace;
    this.owner = longer(this.owner) as typeof this.owner;
    this.status = longer(this.status) as typeof this.status;
    this.pinned = longer(this.pinned) as typeof this.pinned;
    this.load = longer(this.load) as typeof this.load;
    this.revision = longer(this.revision) as typeof this.revision;
    this.movedAt = longer(this.movedAt) as typeof this.movedAt;
  }
}

/** What a node owns, of the namespaces that are shown. */
export interface NodeTotals {
  shards: number;
  load: number;
  pinned: number;
}

export interface Totals {
  shards: number;
  load: number;
  pinned: number;
  /** By the number of the node. */
  nodes: NodeTotals[];
}

/** One pass over the rows; 100,000 take about a millisecond. `only` is the number of a namespace. */
export function totalsOf(store: MeshStore, only?: number): Totals {
  const nodes = store.nodeNames.list.map((): NodeTotals => ({ shards: 0, load: 0, pinned: 0 }));
  const totals: Totals = { shards: 0, load: 0, pinned: 0, nodes };
  const { owner, namespace, load, pinned } = store;
  for (let row = 0; row < store.rows; row += 1) {
    const number = owner[row] as number;
    if (number === NONE || (only !== undefined && namespace[row] !== only)) continue;
    const node = nodes[number] as NodeTotals;
    node.shards += 1;
    node.load += load[row] as number;
    node.pinned += pinned[row] as number;
    totals.shards += 1;
    totals.load += load[row] as number;
    totals.pinned += pinned[row] as number;
  }
  return totals;
}
