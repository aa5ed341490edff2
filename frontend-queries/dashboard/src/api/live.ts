/** Feeds the stores: what there is, then every change, for as long as the page is open. What the bar shows is `connection`. */
import { POSITION_LOST, followShards, fromUnknown } from "@omnirelay/mesh-queries";
import type { Cursor, Follower, MeshError } from "@omnirelay/mesh-queries";
import { FollowMesh, FreezeCalendar, ListChanges, MeshOverview, MeshShards, ShardHistory, WatchChanges } from "@omnirelay/mesh-queries/trusted";
import type { MeshOverviewQuery, ShardHistoryQuery, ShardOnMapFragment } from "@omnirelay/mesh-queries/trusted";

import { Value } from "../lib/external.js";
import { serverAhead } from "../lib/now.js";
import { token } from "../lib/settings.js";
import { ChangeLog } from "../store/changes.js";
import { MeshStore } from "../store/mesh.js";
import type { MeshDiff } from "../store/mesh.js";
import { isOutdated, transport } from "./client.js";

export interface Connection {
  /**
   * `live` also while nothing is heard; `isUnsure` then. `lost`: tried again at `retryAt`. `refused`: not tried again
   * before there is another token. `over`: not tried again.
   */
  readonly phase: "connecting" | "listing" | "live" | "lost" | "refused" | "over";
  /** Of the last shard change that is shown; empty before the first list. */
  readonly revision: string;
  /** Whether more is known to have been committed than is shown. */
  readonly isBehind: boolean;
  /** When the server was last heard of, as Date.now() has it; 0 before. */
  readonly heardAt: number;
  readonly retryAt: number;
  readonly error: MeshError | null;
  /** Whether all shards were listed, and not only a part of them. */
  readonly isListed: boolean;
  readonly listed: number;
  /** How many shards are to be listed, as far as is known. */
  readonly expected: number;
  /** Why the list was last read anew, until that is dismissed. */
  readonly relisted: { readonly code: string; readonly revision: string } | null;
}

const FIRST: Connection = {
  phase: "connecting",
  revision: "",
  isBehind: false,
  heardAt: 0,
  retryAt: 0,
  error: null,
  isListed: false,
  listed: 0,
  expected: 0,
  relisted: null,
};

export const connection = new Value<Connection>(FIRST);
export const mesh = new MeshStore();
export const changeLog = new ChangeLog();

/** Who asks, and what the token may do; null before that is known. */
export const viewer = new Value<MeshOverviewQuery["viewer"] | null>(null);

/** What history reaches back to; null before that is known. */
export const oldest = new Value<{ readonly revision: string; readonly at: string | null } | null>(null);

/** How many diffs came in each of the last seconds, the newest last. */
export const rate = new Value(0);

const PUBLISH_MS = 250;
const OVERVIEW_MS = 30_000;
const WATCH_AGAIN_MS = 1_000;
const CHANGES_A_PAGE = 50;

/** The overview has the freezes of so long from now on, recurring ones included. */
const FREEZES_AHEAD_MS = 86_400_000;
const DIFFS_A_SLICE = 200;

let follower: Follower<ShardOnMapFragment, MeshDiff> | undefined;
let cursor: Cursor | undefined;
let arrived: number[] = [];
let wakeOnToken: (() => void) | undefined;

/** The newest changes, and after them the shards of those that were listed without, one request at a time. */
let listing: Promise<void> = Promise.resolve();
let naming: Promise<void> = Promise.resolve();
const named = new Set<string>();

const update = (changed: Partial<Connection>): void => connection.set({ ...connection.get(), ...changed });

/** Once, when the page opens. */
export function start(): void {
  setInterval(publish, PUBLISH_MS);
  setInterval(() => void readOverview(), OVERVIEW_MS);
  addEventListener("online", () => retryNow());
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return;
    retryNow();
    void readOverview();
  });
  token.subscribe(() => {
    wakeOnToken?.();
    follower?.reconnect();
    endWatching?.();
    void readOverview();
  });
  void readOverview();
  listing = readChanges();
  void watchChanges();
  void followForever();
}

export const retryNow = (): void => follower?.retryNow();

export const dismissRelisted = (): void => update({ relisted: null });

async function followForever(): Promise<void> {
  for (;;) {
    try {
      await followOnce();
    } catch (cause) {
      const error = fromUnknown(cause);
      const isRefused = error.code === "UNAUTHENTICATED" || error.code === "FORBIDDEN";
      update({ phase: isRefused ? "refused" : "over", error });
      // Until there is another token: asking again with the same would be refused again.
      await new Promise<void>((resolve) => {
        wakeOnToken = resolve;
      });
      wakeOnToken = undefined;
    }
  }
}

async function followOnce(): Promise<void> {
  follower = followShards<ShardOnMapFragment, MeshDiff>({
    transport,
    exact: false, // the store takes no record that is older than the one it has
    after: cursor, // of what is shown already, where another token goes on
    documents: {
      list: MeshShards,
      follow: FollowMesh,
    },
  });
  let relist: MeshError | undefined;
  for await (const event of follower) {
    switch (event.type) {
      case "listing":
        relist = event.error;
        mesh.clear();
        cursor = undefined;
        update({ phase: "listing", isListed: false, listed: 0, error: null });
        break;
      case "page":
        mesh.add(event.shards);
        update({ listed: mesh.size, heardAt: Date.now(), revision: event.revision });
        if (event.isLast) publish();
        await nextTask();
        break;
      case "listed":
        mesh.publish();
        update({ isListed: true });
        cursor = event.cursor;
        // Of a store that was restored or replaced, what the ticker has may never have been.
        if (relist !== undefined && relist.code !== "COMPACTED") {
          changeLog.clear();
          named.clear();
          listing = readChanges();
        }
        if (relist !== undefined) update({ relisted: { code: relist.code, revision: event.revision } });
        break;
      case "open":
        update({ phase: "live", error: null, heardAt: Date.now() });
        break;
      case "batch":
        for (let first = 0; first < event.diffs.length; first += DIFFS_A_SLICE) {
          const slice = event.diffs.slice(first, first + DIFFS_A_SLICE);
          mesh.apply(slice, performance.now());
          changeLog.addDiffs(slice);
          if (first + DIFFS_A_SLICE < event.diffs.length) await nextTask();
        }
        cursor = event.cursor;
        if (event.diffs.length > 0) arrived.push(Date.now(), event.diffs.length);
        update({ phase: "live", revision: event.revision, isBehind: !event.caughtUp, heardAt: Date.now(), error: null });
        break;
      case "lost":
        update({ phase: "lost", error: event.error, retryAt: event.retryAt });
        break;
    }
  }
}

/** Lets the browser paint and answer keys between two pieces of work. */
const nextTask = (): Promise<void> =>
  new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => resolve();
    port2.postMessage(null);
  });

let published = -1;

function publish(): void {
  if (mesh.changes !== published) {
    published = mesh.changes;
    mesh.publish();
  }
  changeLog.publish();
  const since = Date.now() - 5_000;
  while (arrived.length > 0 && (arrived[0] as number) < since) arrived = arrived.slice(2);
  let diffs = 0;
  for (let index = 1; index < arrived.length; index += 2) diffs += arrived[index] as number;
  rate.set(diffs / 5);
}

let overviewRuns = false;

/** Who asks, nodes and namespaces: after each change of them, and from time to time. */
export async function readOverview(): Promise<void> {
  if (overviewRuns || (document.hidden && mesh.nodes.size > 0)) return;
  overviewRuns = true;
  try {
    const now = Date.now() + serverAhead.get();
    const [{ nodes, namespaces, head, ...found }, freezes] = await Promise.all([
      transport.request(MeshOverview, {}),
      transport.request(FreezeCalendar, { first: 500, from: new Date(now).toISOString(), to: new Date(now + FREEZES_AHEAD_MS).toISOString() }),
    ]);
    mesh.setOverview(nodes.nodes, namespaces.nodes, freezes.namespaces.nodes);
    if (JSON.stringify(found.viewer) !== JSON.stringify(viewer.get())) viewer.set(found.viewer);
    oldest.set({ revision: head.oldestRevision, at: head.oldestAt });
    serverAhead.set(Date.parse(head.serverTime) - Date.now());
    update({ expected: namespaces.nodes.reduce((sum, { shardCount }) => sum + shardCount, 0) });
  } catch {
    // The follower finds out as well, and says so.
  } finally {
    overviewRuns = false;
  }
}

/** The kinds of changes that change no shard, so that no diff carries them. */
const OTHER_KINDS = [
  "CONFIGURE_NAMESPACE",
  "REGISTER_NODE",
  "UPDATE_NODE",
  "DRAIN_NODE",
  "PLAN_REBALANCE",
  "APPROVE_PLAN",
  "REJECT_PLAN",
  "STOP_PLAN",
  "ROLLBACK_CHANGE",
  "COMPACT_HISTORY",
] as const;

let endWatching: (() => void) | undefined;

/** Changes of nodes, namespaces and plans, as long as the page is open; before them, the newest of all kinds. */
async function watchChanges(): Promise<void> {
  let after: string | null = null;
  for (let isFirst = true; ; isFirst = false) {
    await new Promise<void>((resolve) => {
      const stop = transport.subscribe(WatchChanges, { filter: { kinds: [...OTHER_KINDS] }, after: after as Cursor | null }, {
        opened() {
          if (isFirst) return;
          void readOverview();
          if (after === null) listing = readChanges();
        },
        next({ changes }) {
          after = changes.cursor;
          changeLog.addListed(changes.changes);
          if (changes.changes.some(({ configuration }) => configuration !== null)) void readOverview();
        },
        error({ code }) {
          if (POSITION_LOST.has(code)) after = null;
          resolve();
        },
        complete: resolve,
      });
      endWatching = () => {
        stop();
        resolve();
      };
    });
    if (isOutdated.get()) return;
    await new Promise((resolve) => setTimeout(resolve, WATCH_AGAIN_MS));
    while (["lost", "refused", "over"].includes(connection.get().phase)) await changeOf(connection);
  }
}

const changeOf = <T>(value: Value<T>): Promise<void> =>
  new Promise((resolve) => {
    const stop = value.subscribe(() => {
      stop();
      resolve();
    });
  });

/** What a row of the ticker shows of a row of history. */
export const ofHistory = (row: ShardHistoryQuery["shardHistory"]["nodes"][number]): MeshDiff => row as unknown as MeshDiff;

/** What was committed before the page was opened. */
async function readChanges(): Promise<void> {
  try {
    const { changes } = await transport.request(ListChanges, { first: CHANGES_A_PAGE });
    changeLog.addListed(changes.nodes);
    const { shardHistory } = await transport.request(ShardHistory, { first: CHANGES_A_PAGE });
    changeLog.complete(shardHistory.nodes.map(ofHistory));
  } catch {
    // As above.
  }
}

/** Reads which shard a change is of, once, where it is of one and the page of history did not reach back to it. */
export function nameShard(changeId: string): void {
  if (named.has(changeId)) return;
  named.add(changeId);
  naming = naming.then(async () => {
    await listing;
    if (!changeLog.isUnnamed(changeId)) return;
    try {
      const { shardHistory } = await transport.request(ShardHistory, { filter: { changeId }, first: 1 });
      changeLog.complete(shardHistory.nodes.map(ofHistory));
    } catch {
      named.delete(changeId); // Asked again where it is shown again.
    }
  });
}
