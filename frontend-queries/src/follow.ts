/** A list of shards that stays current: read, followed, resumed, and read anew where it cannot be resumed. */
import type { MeshDocument } from "./documents.js";
import { MeshError, POSITION_LOST, fromUnknown } from "./errors.js";
import { FollowShards, ListShards } from "./generated/trusted.js";
import type { FollowShardsSubscription, ListShardsQuery, ShardFilter } from "./generated/trusted.js";
import type { Cursor, Revision } from "./scalars.js";
import type { MeshTransport } from "./transports.js";

/** What a document to list with must select; `nodes` may hold anything. */
export interface ShardList<Shard> {
  shards: {
    revision: Revision;
    cursor: Cursor;
    pageInfo: { hasNextPage: boolean; endCursor: string | null };
    nodes: Shard[];
  };
}

export interface ShardListVariables {
  filter?: ShardFilter | null;
  first?: number | null;
  after?: string | null;
  asOf?: { revision: Revision } | null;
}

/** What a document to follow with must select; `diffs` may hold anything. */
export interface ShardStream<Diff> {
  shardDiffs: { cursor: Cursor; revision: Revision; caughtUp: boolean; diffs: Diff[] };
}

export interface ShardStreamVariables {
  namespace?: string | null;
  filter?: ShardFilter | null;
  after?: Cursor | null;
}

/**
 * In order: `listing`, a `page` or more, `listed`; then `open`, and a `batch` for each that comes, bookmarks without
 * diffs among them. `lost` whenever the connection is, then `open` again. `listing` again where the position is no
 * longer served: forget what was listed.
 */
export type FollowEvent<Shard, Diff> =
  /** `error` is why the list is read anew; undefined the first time. */
  | { readonly type: "listing"; readonly error?: MeshError }
  | { readonly type: "page"; readonly shards: readonly Shard[]; readonly revision: Revision; readonly isLast: boolean }
  | { readonly type: "listed"; readonly revision: Revision; readonly cursor: Cursor }
  | { readonly type: "open" }
  | {
      readonly type: "batch";
      readonly diffs: readonly Diff[];
      readonly revision: Revision;
      readonly cursor: Cursor;
      readonly caughtUp: boolean;
    }
  /** `attempt` counts failures in a row from 1; it is tried again at `retryAt`, as Date.now() has it. */
  | { readonly type: "lost"; readonly error: MeshError; readonly attempt: number; readonly retryAt: number };

export interface FollowOptions<Shard, Diff> {
  transport: MeshTransport;
  /** Where both are given, `filter` applies to the list as `namespace` does. */
  namespace?: string;
  filter?: Omit<ShardFilter, "namespace">;
  /** 1 to 500 shards a page; 500 by default. */
  pageSize?: number;
  /**
   * Whether all pages of a list are exact at the revision of the first; true by default. Pages that need not be are
   * answered from memory, several times as fast: what changed while they were read may then be in them already, and its
   * diff still comes. A caller that takes no record older than the one it has, by `revision`, ends up with the same.
   */
  exact?: boolean;
  /** Go on after this cursor, of a list that the caller has, instead of listing first. */
  after?: Cursor;
  /** What to list and follow with; by default ListShards and FollowShards, with every field. */
  documents?: {
    list: MeshDocument<ShardList<Shard>, ShardListVariables>;
    follow: MeshDocument<ShardStream<Diff>, ShardStreamVariables>;
  };
  /** Ends the following: the iterator is done. */
  signal?: AbortSignal;
  /** A connection on which nothing came for so long is given up; servers send a bookmark every 10 s. 25,000 ms. */
  silenceMs?: number;
  /** The first pause after a failure, doubled with each, up to `longestPauseMs`; half of it is jitter. */
  firstPauseMs?: number;
  longestPauseMs?: number;
}

export type ListedShard = ListShardsQuery["shards"]["nodes"][number];
export type FollowedDiff = FollowShardsSubscription["shardDiffs"]["diffs"][number];

/** To be iterated once. */
export interface Follower<Shard, Diff> extends AsyncIterable<FollowEvent<Shard, Diff>> {
  /** End a pause between attempts, such as when the browser is online again. */
  retryNow(): void;
  /** End the connection there is and open another, such as after the token has changed. */
  reconnect(): void;
}

const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 15_000;
const SILENCE_MS = 25_000;
const PAGE_SIZE = 500;

/** Batches that wait for the caller. With more the connection is given up, and resumed once they are dealt with. */
const MAX_WAITING = 256;

/**
 * List shards, then follow every change of them, each exactly once and in order.
 *
 * A batch counts as dealt with when the next event is requested; what a lost connection is resumed after is the cursor
 * of the last such batch. All pages of a list are exact at one revision, unless `exact` is false. Where the position is compacted or of another
 * epoch, the list is read anew. Throws the MeshError of what does not go away by itself, such as a token that is refused.
 */
export function followShards<Shard = ListedShard, Diff = FollowedDiff>(
  options: FollowOptions<Shard, Diff>,
): Follower<Shard, Diff> {
  const pause = new Pause(options.firstPauseMs ?? FIRST_PAUSE_MS, options.longestPauseMs ?? LONGEST_PAUSE_MS);
  let connection: Connection<Diff> | undefined;
  const opened = (next: Connection<Diff> | undefined): void => {
    connection = next;
  };
  return {
    [Symbol.asyncIterator]: () => follow(options, pause, opened),
    retryNow: () => pause.end(),
    reconnect() {
      connection?.fail(new MeshError("the connection is opened anew", "CONNECTION_LOST"));
      pause.end();
    },
  };
}

async function* follow<Shard, Diff>(
  options: FollowOptions<Shard, Diff>,
  pause: Pause,
  opened: (connection: Connection<Diff> | undefined) => void,
): AsyncGenerator<FollowEvent<Shard, Diff>> {
  const { signal } = options;
  let cursor = options.after;
  let lost: MeshError | undefined;
  while (!signal?.aborted) {
    try {
      if (cursor === undefined) {
        yield lost === undefined ? { type: "listing" } : { type: "listing", error: lost };
        cursor = yield* list(options);
      }
      const connection = new Connection(options, cursor);
      opened(connection);
      try {
        for await (const batch of connection) {
          if (batch === "open") {
            yield { type: "open" };
            continue;
          }
          pause.reset();
          yield { type: "batch", ...batch };
          cursor = batch.cursor;
        }
      } finally {
        connection.close();
        opened(undefined);
      }
    } catch (cause) {
      if (signal?.aborted) return;
      const error = fromUnknown(cause);
      if (POSITION_LOST.has(error.code)) {
        // The first time at once; a server that refuses each list anew is not asked without a pause.
        cursor = undefined;
        lost = error;
        if (pause.failures === 0) {
          pause.failures += 1;
          continue;
        }
      } else if (!error.isTransient && error.extensions["close"] !== 4403) throw error;
      const ms = pause.next(error.retryAfterMs);
      yield { type: "lost", error, attempt: pause.failures, retryAt: Date.now() + ms };
      await pause.wait(ms, signal);
    }
  }
}

/** Reads all pages; returns the cursor to follow after. */
async function* list<Shard, Diff>(
  options: FollowOptions<Shard, Diff>,
): AsyncGenerator<FollowEvent<Shard, Diff>, Cursor> {
  const { transport, signal, namespace } = options;
  const document = (options.documents?.list ?? ListShards) as MeshDocument<ShardList<Shard>, ShardListVariables>;
  const filter = { ...options.filter, ...(namespace === undefined ? {} : { namespace }) };
  let after: string | null = null;
  let first: { revision: Revision; cursor: Cursor } | undefined;
  for (;;) {
    const asOf = first === undefined || options.exact === false ? null : { revision: first.revision };
    const variables: ShardListVariables = { filter, first: options.pageSize ?? PAGE_SIZE, after, asOf };
    const { shards }: ShardList<Shard> = await transport.request(document, variables, signal);
    first ??= { revision: shards.revision, cursor: shards.cursor };
    const isLast = !shards.pageInfo.hasNextPage;
    yield { type: "page", shards: shards.nodes, revision: first.revision, isLast };
    if (isLast) break;
    after = shards.pageInfo.endCursor;
  }
  yield { type: "listed", ...first };
  return first.cursor;
}

interface Batch<Diff> {
  diffs: Diff[];
  revision: Revision;
  cursor: Cursor;
  caughtUp: boolean;
}

/** One subscription as an iterable; ends by throwing what it failed with. */
class Connection<Diff> implements AsyncIterable<Batch<Diff> | "open"> {
  readonly #received: (Batch<Diff> | "open")[] = [];
  readonly #unsubscribe: () => void;
  readonly #silenceMs: number;
  readonly #aborted: () => void;
  #signal: AbortSignal | undefined;
  #failure: MeshError | undefined;
  #isOpen = false;
  #wake: (() => void) | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(options: FollowOptions<unknown, Diff>, after: Cursor) {
    const { transport, namespace, filter, signal } = options;
    const document = (options.documents?.follow ?? FollowShards) as MeshDocument<ShardStream<Diff>, ShardStreamVariables>;
    this.#silenceMs = options.silenceMs ?? SILENCE_MS;
    this.#signal = signal;
    this.#aborted = () => this.fail(new MeshError("the following was ended", "CONNECTION_LOST"));
    signal?.addEventListener("abort", this.#aborted);
    this.#listen();
    const variables: ShardStreamVariables = {
      after,
      ...(namespace === undefined ? {} : { namespace }),
      ...(filter === undefined ? {} : { filter }),
    };
    this.#unsubscribe = transport.subscribe(document, variables, {
      opened: () => this.#opened(),
      next: ({ shardDiffs }) => {
        this.#opened();
        this.#listen();
        if (this.#failure !== undefined) return;
        this.#received.push(shardDiffs);
        if (this.#received.length > MAX_WAITING) {
          this.#unsubscribe();
          this.fail(new MeshError("changes came faster than they were taken", "CONNECTION_LOST"));
        }
        this.#wake?.();
      },
      error: (error) => this.fail(error),
      complete: () => this.fail(new MeshError("the server ended the stream", "CONNECTION_LOST")),
    });
    if (signal?.aborted) this.#aborted();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Batch<Diff> | "open"> {
    for (;;) {
      const next = this.#received.shift();
      if (next !== undefined) {
        yield next;
      } else if (this.#failure !== undefined) {
        throw this.#failure;
      } else {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
        this.#wake = undefined;
      }
    }
  }

  /** What was received before is still handed out. */
  fail(error: MeshError): void {
    this.#failure ??= error;
    clearTimeout(this.#timer);
    this.#wake?.();
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#signal?.removeEventListener("abort", this.#aborted);
    this.#unsubscribe();
  }

  #opened(): void {
    if (this.#isOpen) return;
    this.#isOpen = true;
    this.#listen();
    this.#received.push("open");
    this.#wake?.();
  }

  #listen(): void {
    clearTimeout(this.#timer);
    if (this.#failure !== undefined) return;
    const silence = new MeshError(`nothing came for ${Math.round(this.#silenceMs / 1000)} s`, "CONNECTION_LOST");
    this.#timer = setTimeout(() => this.fail(silence), this.#silenceMs);
  }
}

/** Pauses that grow with each failure in a row. */
class Pause {
  failures = 0;
  #end: (() => void) | undefined;

  constructor(
    private readonly firstMs: number,
    private readonly longestMs: number,
  ) {}

  reset(): void {
    this.failures = 0;
  }

  /** Milliseconds, no fewer than the server would have it. */
  next(atLeastMs = 0): number {
    const bound = Math.min(this.longestMs, this.firstMs * 2 ** Math.min(this.failures, 16));
    this.failures += 1;
    return Math.max(atLeastMs, (bound * (1 + Math.random())) / 2);
  }

  async wait(ms: number, signal?: AbortSignal): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#end = () => {
        clearTimeout(timer);
        resolve();
      };
      signal?.addEventListener("abort", this.#end, { once: true });
    });
    if (this.#end !== undefined) signal?.removeEventListener("abort", this.#end);
    this.#end = undefined;
  }

  end(): void {
    this.#end?.();
  }
}
