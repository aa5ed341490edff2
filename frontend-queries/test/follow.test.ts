import { describe, expect, test } from "vitest";

import { MeshError, followShards } from "../src/index.js";
import type { Cursor, FollowEvent, MeshTransport, Revision, SubscriptionSink } from "../src/index.js";
import type { ShardList, ShardStream } from "../src/follow.js";

type Shard = { shardId: string };
type Diff = { revision: string };
type Event = FollowEvent<Shard, Diff>;

const revision = (value: number): Revision => String(value) as Revision;
const cursor = (value: number | string): Cursor => `c${value}` as Cursor;

const page = (ids: string[], at: number, next: string | null = null): ShardList<Shard> => ({
  shards: {
    revision: revision(at),
    cursor: cursor(at),
    pageInfo: { hasNextPage: next !== null, endCursor: next },
    nodes: ids.map((shardId) => ({ shardId })),
  },
});

const batch = (...revisions: number[]): ShardStream<Diff> => ({
  shardDiffs: {
    cursor: cursor(revisions.at(-1) ?? 0),
    revision: revision(revisions.at(-1) ?? 0),
    caughtUp: true,
    diffs: revisions.map((each) => ({ revision: revision(each) })),
  },
});

/** A server in memory: answers lists from a queue, and holds what was subscribed. */
class Server implements MeshTransport {
  readonly requests: unknown[] = [];
  readonly subscriptions: { after: unknown; sink: SubscriptionSink<any>; ended: boolean }[] = [];
  #subscribed: (() => void) | undefined;

  constructor(private readonly answers: (ShardList<Shard> | Error)[]) {}

  async request(_document: unknown, variables: unknown): Promise<any> {
    this.requests.push(variables);
    const answer = this.answers.shift();
    if (answer === undefined) throw new Error("nothing more was to be requested");
    if (answer instanceof Error) throw answer;
    return answer;
  }

  subscribe(_document: unknown, variables: any, sink: SubscriptionSink<any>): () => void {
    const subscription = { after: variables.after, sink, ended: false };
    this.subscriptions.push(subscription);
    this.#subscribed?.();
    return () => {
      subscription.ended = true;
    };
  }

  async subscription(index: number): Promise<SubscriptionSink<any>> {
    while (this.subscriptions.length <= index) {
      await new Promise<void>((resolve) => {
        this.#subscribed = resolve;
      });
    }
    return this.subscriptions[index]!.sink;
  }
}

function following(server: Server, options: object = {}) {
  const follower = followShards<Shard, Diff>({ transport: server, firstPauseMs: 1, longestPauseMs: 2, ...options });
  const events = follower[Symbol.asyncIterator]();
  const next = async (): Promise<Event> => (await events.next()).value as Event;
  const until = async (type: Event["type"]): Promise<any> => {
    for (;;) {
      const event = await next();
      if (event.type === type) return event;
    }
  };
  return { follower, events, next, until };
}

describe("followShards", () => {
  test("reads all pages at the revision of the first, then follows after the cursor of the first", async () => {
    const server = new Server([page(["a"], 7, "p1"), page(["b"], 7)]);
    const { next } = following(server, { namespace: "orders" });
    expect(await next()).toEqual({ type: "listing" });
    expect(await next()).toMatchObject({ type: "page", shards: [{ shardId: "a" }], isLast: false });
    expect(await next()).toMatchObject({ type: "page", shards: [{ shardId: "b" }], isLast: true });
    expect(await next()).toEqual({ type: "listed", revision: "7", cursor: "c7" });
    const opened = next();
    (await server.subscription(0)).opened?.();
    expect(await opened).toEqual({ type: "open" });
    expect(server.requests).toEqual([
      { filter: { namespace: "orders" }, first: 500, after: null, asOf: null },
      { filter: { namespace: "orders" }, first: 500, after: "p1", asOf: { revision: "7" } },
    ]);
    expect(server.subscriptions[0]?.after).toBe("c7");
  });

  test("reads pages as they are now where they need not be exact, and still follows after the first", async () => {
    const server = new Server([page(["a"], 7, "p1"), page(["b"], 9)]);
    const { until } = following(server, { exact: false });
    expect(await until("listed")).toMatchObject({ revision: "7", cursor: "c7" });
    expect(server.requests).toMatchObject([{ asOf: null }, { after: "p1", asOf: null }]);
  });

  test("resumes after the last batch that was dealt with, and hands out each diff once", async () => {
    const server = new Server([page([], 7)]);
    const { until, next } = following(server);
    const first = until("batch");
    const sink = await server.subscription(0);
    sink.next(batch(8, 9));
    sink.next(batch(10));
    sink.error(new MeshError("gone", "CONNECTION_LOST"));
    expect((await first).diffs).toEqual([{ revision: "8" }, { revision: "9" }]);
    expect(await next()).toMatchObject({ type: "batch", diffs: [{ revision: "10" }] });
    expect(await next()).toMatchObject({ type: "lost", attempt: 1 });
    const again = until("batch");
    const second = await server.subscription(1);
    expect(server.subscriptions[1]?.after).toBe("c10");
    second.next(batch(11));
    expect((await again).diffs).toEqual([{ revision: "11" }]);
    expect(server.requests).toHaveLength(1);
  });

  test.each(["COMPACTED", "EPOCH_MISMATCH"])("reads the list anew after %s, and says why", async (code) => {
    const server = new Server([page(["a"], 7), page(["b"], 20)]);
    const { until, next } = following(server);
    const lost = until("listing").then(() => until("listing"));
    (await server.subscription(0)).error(new MeshError("kept from 15", code));
    expect(await lost).toMatchObject({ type: "listing", error: { code } });
    expect(await next()).toMatchObject({ type: "page", shards: [{ shardId: "b" }] });
    void until("batch");
    await server.subscription(1);
    expect(server.subscriptions.map(({ after }) => after)).toEqual(["c7", "c20"]);
    expect(server.subscriptions[0]?.ended).toBe(true);
  });

  test("pauses before it reads a list anew for the second time in a row", async () => {
    const server = new Server([page([], 7), page([], 8), page([], 9)]);
    const { until } = following(server);
    const paused = until("lost");
    (await server.subscription(0)).error(new MeshError("compacted", "COMPACTED"));
    (await server.subscription(1)).error(new MeshError("compacted", "COMPACTED"));
    expect(await paused).toMatchObject({ error: { code: "COMPACTED" } });
    void until("batch");
    await server.subscription(2);
    expect(server.requests).toHaveLength(3);
  });

  test("reads the list anew when a page of it can no longer be read at its revision", async () => {
    const server = new Server([page(["a"], 7, "p1"), new MeshError("compacted", "COMPACTED"), page(["b"], 20)]);
    const { next } = following(server);
    const types = [];
    for (let count = 0; count < 5; count += 1) types.push((await next()).type);
    expect(types).toEqual(["listing", "page", "listing", "page", "listed"]);
  });

  test("tries again what a server that is overloaded refused, no sooner than it says", async () => {
    const server = new Server([new MeshError("busy", "OVERLOADED", { retryAfter: 0.02 }), page([], 7)]);
    const { until } = following(server);
    const before = Date.now();
    const lost = await until("lost");
    expect(lost.retryAt - before).toBeGreaterThanOrEqual(20);
    await until("listed");
  });

  test("throws what does not go away by itself", async () => {
    const server = new Server([page([], 7)]);
    const { until } = following(server);
    const failed = expect(until("batch")).rejects.toMatchObject({ code: "FORBIDDEN" });
    (await server.subscription(0)).error(new MeshError("no", "FORBIDDEN", { scope: "mesh.read" }));
    await failed;
  });

  test("gives up a connection on which nothing comes", async () => {
    const server = new Server([page([], 7)]);
    const { until } = following(server, { silenceMs: 5 });
    expect(await until("lost")).toMatchObject({ error: { code: "CONNECTION_LOST" } });
    expect(server.subscriptions[0]?.ended).toBe(true);
  });

  test("gives up a connection that brings more than is taken, and resumes where it was", async () => {
    const server = new Server([page([], 7)]);
    const { until, next } = following(server);
    const first = until("batch");
    const sink = await server.subscription(0);
    for (let each = 8; each < 8 + 300; each += 1) sink.next(batch(each));
    await first;
    let last = 8;
    for (let event = await next(); event.type === "batch"; event = await next()) last = Number(event.revision);
    void next();
    await server.subscription(1);
    expect(server.subscriptions[1]?.after).toBe(`c${last}`);
    expect(last).toBeLessThan(8 + 300);
  });

  test("ends a pause at once where it is to", async () => {
    const server = new Server([page([], 7)]);
    const { follower, until } = following(server, { firstPauseMs: 60_000, longestPauseMs: 60_000 });
    const lost = until("lost");
    (await server.subscription(0)).error(new MeshError("gone", "CONNECTION_LOST"));
    await lost;
    void until("batch");
    setTimeout(() => follower.retryNow());
    await server.subscription(1);
  });

  test("is done once its signal is aborted, and ends the subscription", async () => {
    const controller = new AbortController();
    const server = new Server([page([], 7)]);
    const { until, events } = following(server, { signal: controller.signal });
    await until("listed");
    const done = events.next();
    await server.subscription(0);
    controller.abort();
    expect(await done).toEqual({ done: true, value: undefined });
    expect(server.subscriptions[0]?.ended).toBe(true);
  });

  test("goes on after a cursor without a list", async () => {
    const server = new Server([]);
    const { until } = following(server, { after: cursor(3) });
    void until("batch");
    await server.subscription(0);
    expect(server.subscriptions[0]?.after).toBe("c3");
  });
});
